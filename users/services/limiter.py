"""Counters shared by all workers: how often something may be tried, and for how long it pauses after that."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

from django.db import connection
from django.db.models import F, Q
from django.utils import timezone

from users.models import RateBucket
from users.services import tokens

_MINUTE, _DAY = 60, 86400
_HALF = 16  # bytes
#: Milliseconds after which a try whose end was never noted is taken for lost.
_UNDER_WAY = 10_000


@dataclass(frozen=True)
class Limit:
    """At most `max_count` tries; times are seconds.

    With a `pause` the try that reaches the limit starts it, each further one doubles it up to `doublings` times, and
    the count is forgotten `window` after the last try. Without one, tries wait for the end of a fixed `window`.
    """

    scope: str
    max_count: int
    window: int
    pause: int = 0
    doublings: int = 0

    def of(self, email: str, *more: str) -> Bucket:
        """The counter of an account (and what else narrows it). Keys of one account share their first half."""
        return Bucket(self, _account(email) + tokens.subject_mac("rate", self.scope, email, *more)[:_HALF])


@dataclass(frozen=True)
class Bucket:
    limit: Limit
    key: bytes


#: Wrong passwords for one account from one network.
LOGIN = Limit("login", 5, window=_DAY, pause=_MINUTE, doublings=6)
#: Mails of one kind to one address.
MAIL = (
    Limit("mail_minute", 3, window=_MINUTE),
    Limit("mail_ten_minutes", 5, window=10 * _MINUTE),
    Limit("mail_day", 20, window=_DAY),
)

# Counting, forgetting and pausing in one atomic statement: parallel tries cannot pass a check that comes before it.
# A blocked bucket is left untouched and is missing from the answer.
_RESERVE = """
INSERT INTO users_ratebucket AS b
  (key, scope, count, failed, blocked_until, reset_at, max_count, pause, doublings, slides, at)
VALUES {rows}
ON CONFLICT (key) DO UPDATE SET (count, failed, blocked_until, reset_at, at) = (
  CASE WHEN b.reset_at <= excluded.at THEN 1 ELSE b.count + 1 END,
  CASE WHEN b.reset_at <= excluded.at THEN 0 ELSE b.failed END,
  CASE WHEN b.reset_at <= excluded.at THEN excluded.blocked_until
       WHEN b.count + 1 < b.max_count THEN 0
       WHEN b.pause = 0 THEN b.reset_at
       WHEN b.count + 1 - b.max_count < b.doublings THEN excluded.at + b.pause * (1 << (b.count + 1 - b.max_count))
       ELSE excluded.at + b.pause * (1 << b.doublings) END,
  CASE WHEN b.slides OR b.reset_at <= excluded.at THEN excluded.reset_at ELSE b.reset_at END,
  excluded.at)
WHERE b.blocked_until <= excluded.at
RETURNING key
"""
_ROW = "(%s, %s, %s, 0, %s, %s, %s, %s, %s, %s, %s)"


@dataclass(frozen=True)
class Block:
    """Why a try was refused: `seconds` until the last block ends.

    `may_clear`: tries that led to it are still under way, and one that succeeds ends it.
    """

    seconds: int
    may_clear: bool


def reserve(*buckets: Bucket) -> Block | None:
    """Count one try in every bucket, or in none. Return None when all allow it.

    Call it outside any transaction, before the thing it guards: the count must outlive the refusal.
    """
    now = _milliseconds(timezone.now())
    # Sorted, so that two statements never wait for each other's rows.
    ordered = sorted(buckets, key=lambda bucket: bucket.key)
    values: list[Any] = [value for bucket in ordered for value in _row(bucket, now)]
    with connection.cursor() as cursor:
        cursor.execute(_RESERVE.format(rows=", ".join([_ROW] * len(ordered))), values)
        allowed = {bytes(key) for (key,) in cursor.fetchall()}
    refused = [bucket.key for bucket in ordered if bucket.key not in allowed]
    if not refused:
        return None
    _give_back(allowed)
    blocks = list(RateBucket.objects.filter(key__in=refused).values_list("blocked_until", "at", "count", "failed"))
    left = max((end - now for end, *_ in blocks), default=0)
    under_way = any(failed < count and now - at < _UNDER_WAY for _, at, count, failed in blocks)
    # A block that is gone by now was ended by a try that came right.
    has_cleared = len(blocks) < len(refused)
    return Block(max(1, math.ceil(left / 1000)), under_way or has_cleared)


def is_blocked(bucket: Bucket) -> bool:
    """Whether a try would be refused now; counts nothing."""
    return RateBucket.objects.filter(pk=bucket.key, blocked_until__gt=_milliseconds(timezone.now())).exists()


def forget(*buckets: Bucket) -> None:
    """Empty the buckets: the person has shown who they are."""
    with connection.cursor() as cursor:
        # By hand: every sign-in does it, and the ORM looks for rows to cascade to first.
        marks = ", ".join(["%s"] * len(buckets))
        cursor.execute(f"DELETE FROM users_ratebucket WHERE key IN ({marks})", [bucket.key for bucket in buckets])  # noqa: S608


def give_back(*buckets: Bucket) -> None:
    """The counted try was never made."""
    _give_back([bucket.key for bucket in buckets])


def _give_back(keys: Collection[bytes]) -> None:
    # Whoever could count was not blocked, so a block that stands now came from the count that goes.
    RateBucket.objects.filter(key__in=keys).update(count=F("count") - 1, blocked_until=0)


def note_failure(bucket: Bucket) -> None:
    """The try that was counted came to nothing."""
    RateBucket.objects.filter(pk=bucket.key).update(failed=F("failed") + 1)


def lift_pause(email: str) -> None:
    """Forget the wrong passwords for an account, from wherever they came."""
    RateBucket.objects.filter(_range(_account(email)), scope=LOGIN.scope).delete()


def is_paused(email: str) -> bool:
    """Whether signing in to this account is paused, from wherever."""
    return bool(paused([email]))


def paused(emails: Sequence[str]) -> set[str]:
    """Those of the addresses whose sign-in is paused from somewhere, by one query."""
    by_account = {_account(email): email for email in emails}
    if not by_account:
        return set()
    ranges = [_range(account) for account in by_account]
    blocked = RateBucket.objects.filter(
        reduce(or_, ranges), scope=LOGIN.scope, blocked_until__gt=_milliseconds(timezone.now())
    )
    return {by_account[bytes(key)[:_HALF]] for key in blocked.values_list("key", flat=True)}


def _range(account: bytes) -> Q:
    return Q(key__gte=account + bytes(_HALF), key__lte=account + b"\xff" * _HALF)


def _account(email: str) -> bytes:
    return tokens.subject_mac("account", email)[:_HALF]


def _row(bucket: Bucket, now: int) -> tuple[object, ...]:
    limit = bucket.limit
    reset_at, pause = now + limit.window * 1000, limit.pause * 1000
    blocked_until = 0 if limit.max_count > 1 else now + pause if pause else reset_at
    return (
        *(bucket.key, limit.scope, 1, blocked_until, reset_at),
        *(limit.max_count, pause, limit.doublings, bool(pause), now),
    )


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
