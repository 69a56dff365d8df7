"""What people change about themselves."""

from __future__ import annotations

from django.db import transaction

from users.models import User


@transaction.atomic
def rename(user: User, *, first_name: str | None = None, last_name: str | None = None, by: str) -> User:
    """Set the names given, keep the others; return the row as it is now."""
    row = User.objects.select_for_update().get(pk=user.pk)
    row.first_name = row.first_name if first_name is None else first_name
    row.last_name = row.last_name if last_name is None else last_name
    row.updated_by = by
    row.save(update_fields=["first_name", "last_name", "updated_by", "updated_at"])
    return row
