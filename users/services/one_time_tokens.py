"""One-time tokens: made, found by what comes back, spent once, made void."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from users.models import OneTimeToken, User
from users.services import tokens


def issue(
    user: User | None, purpose: OneTimeToken.Purpose, *, lasts: timedelta, email: str = "", **payload: str
) -> OneTimeToken:
    """An open row; the mail that brings its token derives it while it is rendered."""
    return OneTimeToken.objects.create(
        user=user,
        purpose=purpose,
        email=email,
        key_id=tokens.one_time_key_id(purpose),
        payload=payload,
        expires_at=timezone.now() + lasts,
    )


def find(token: str, purpose: OneTimeToken.Purpose) -> OneTimeToken | None:
    """The row of a token, with its `user`, still unspent; None for anything not open."""
    row_id = tokens.one_time_id(token)
    if row_id is None:
        return None
    row = OneTimeToken.open(timezone.now()).filter(pk=row_id, purpose=purpose).select_related("user").first()
    return row if row and tokens.is_one_time_token(token, row) else None


def spend(token: str, purpose: OneTimeToken.Purpose) -> tuple[OneTimeToken, User] | None:
    """The row of a token and its person, locked, the token used up; None for anything not open.

    Call it in the transaction of what the token is good for: of several calls at once one gets the row.
    """
    row = find(token, purpose)
    if row is None:
        return None
    # The person first, as everywhere: two that lock in other orders wait for each other.
    user = User.objects.select_for_update(of=("self",)).filter(one_time_tokens=row).first()
    return (row, user) if user is not None and use_up(row) else None


def use_up(row: OneTimeToken) -> bool:
    """Whether this call is the one that used the row up."""
    now = timezone.now()
    return bool(OneTimeToken.open(now).filter(pk=row.pk).update(used_at=now))


def void(user: User, *purposes: str, since: datetime | None = None) -> None:
    """Nothing open of these purposes (made at `since` or later) is good any more."""
    rows = OneTimeToken.objects.filter(user=user, purpose__in=purposes, used_at=None)
    (rows.filter(created_at__gte=since) if since else rows).update(used_at=timezone.now())
