"""Which member of staff may act on whose account: nobody reaches above themselves."""

from __future__ import annotations

from lib.actors import Actor
from lib.errors import ProductError
from users.models import User


def require(user: User, *, actor: Actor) -> None:
    """SUPERUSERS_ONLY, ADMINS_ONLY (403). Commands and the person themselves may; what they may is asked elsewhere."""
    if actor.user is None:
        return
    row = User.objects.only("is_staff", "is_superuser").get(pk=user.pk)
    if not actor.user.reaches(row):
        code, who = ("SUPERUSERS_ONLY", "superusers") if row.is_superuser else ("ADMINS_ONLY", "administrators")
        whom = "superusers" if row.is_superuser else "staff"
        raise ProductError(code, f"Only {who} act on accounts of {whom}.", status=403)


def require_superuser(actor: Actor) -> None:
    """Whoever could give rights away could give them to themselves; SUPERUSERS_ONLY (403)."""
    if actor.user is not None and not actor.user.is_superuser:
        raise ProductError("SUPERUSERS_ONLY", "Only superusers give and take rights.", status=403)
