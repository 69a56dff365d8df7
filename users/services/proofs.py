"""One-time tokens that come back by a mailed link: made, spent once, made void."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from users.models import OneTimeToken, User
from users.services import tokens


def issue(user: User, purpose: OneTimeToken.Purpose, *, email: str, lasts: timedelta, **payload: str) -> OneTimeToken:
    """An open row; the mail that brings its token derives it while it is rendered."""
    return OneTimeToken.objects.create(
        user=user,
        purpose=purpose,
        email=email,
        key_id=tokens.one_time_key_id(purpose),
        payload=payload,
        expires_at=timezone.now() + lasts,
    )


def spend(token: str, purpose: OneTimeToken.Purpose) -> tuple[OneTimeToken, User] | None:
    """The row of a token and its person, locked, the token used up; None for anything not open.

    Call it in the transaction of what the token is good for: of several calls at once one gets the row.
    """
    row_id = tokens.one_time_id(token)
    rows = OneTimeToken.open(timezone.now()).filter(pk=row_id, purpose=purpose) if row_id else None
    row = rows.first() if rows is not None else None
    if rows is None or row is None or not tokens.is_one_time_token(token, row):
        return None
    # The person first, as everywhere: two that lock in other orders wait for each other.
    user = User.objects.select_for_update(of=("self",)).filter(one_time_tokens=row).first()
    if user is None or not rows.update(used_at=timezone.now()):
        return None
    return row, user


def void(user: User, *purposes: str, since: datetime | None = None) -> None:
    """Nothing open of these purposes (made at `since` or later) is good any more."""
    rows = OneTimeToken.objects.filter(user=user, purpose__in=purposes, used_at=None)
    (rows.filter(created_at__gte=since) if since else rows).update(used_at=timezone.now())
