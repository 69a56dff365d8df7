"""Counters shared by all workers: how often something may be tried, and for how long it pauses after that."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import BooleanField, DateTimeField, QuerySet, Subquery, Value
from django.db.models.expressions import RawSQL
from django.utils import timezone
from django.utils.translation import gettext as _

from lib import async_db, metrics
from lib.actors import Actor
from lib.addresses import normal_email
from lib.asgi import on_lane
from lib.db import batches, marks
from lib.errors import ProductError
from lib.net import caller_network
from users.models import AuditEvent, RateBucket, User
from users.services import audit, tokens

_MINUTE, _DAY = 60, 86400
_HALF = 16  # bytes
_TRIES = 5
#: No pause is longer.
_LONGEST_PAUSE = timedelta(minutes=64)
#: How many paused accounts are listed at most, and for how many one query asks.
_MOST_PAUSED, _AT_ONCE = 400, 200


HIT = metrics.Counter("switchboard_limits_hit_total", "Tries refused by a limit.", ("limit",))


@dataclass(frozen=True)
class Limit:
    """At most `max_count` tries in `window` seconds.

    With a `pause` (seconds) the try that reaches the limit starts it, each further one doubles it up to `doublings`
    times. With `slides` the count is forgotten `window` after the last try, else at the end of a fixed window.
    """

    scope: str
    max_count: int
    window: int
    pause: int = 0
    doublings: int = 0
    slides: bool = False

    def of(self, email: str, *more: str) -> Bucket:
        """The counter of an account (and what else narrows it). Keys of one account share their first half."""
        mac = tokens.subject_mac("rate", self.scope, normal_email(email), *more)
        return Bucket(self, _account(email) + mac[:_HALF])

    def of_thing(self, kind: str, value: str) -> Bucket:
        """The counter of something else: an `ip`, a `session`, a `user`."""
        return Bucket(self, tokens.subject_mac("rate", self.scope, kind, value))


@dataclass(frozen=True)
class Bucket:
    limit: Limit
    key: bytes


#: Wrong passwords for one account from one network; the account from anywhere, its known places aside.
LOGIN = Limit("login", 5, window=_DAY, pause=_MINUTE, doublings=6, slides=True)
LOGIN_ACCOUNT = Limit("login_account", 50, window=15 * _MINUTE, pause=15 * _MINUTE)
#: The account by one known program from anywhere: its cookie may have been stolen.
LOGIN_DEVICE = Limit("login_device", 50, window=15 * _MINUTE, pause=15 * _MINUTE)
#: Tries of one IP address for any account; all of an IPv6 network of one's own are one.
LOGIN_IP = Limit("login_ip", 100, window=5 * _MINUTE)
REGISTER_IP = Limit("register_ip", 100, window=5 * _MINUTE)
MAIL_IP = Limit("mail_ip", 30, window=10 * _MINUTE)
#: Mails of one kind to one address.
MAIL = (
    Limit("mail_minute", 3, window=_MINUTE),
    Limit("mail_ten_minutes", 5, window=10 * _MINUTE),
    Limit("mail_day", 20, window=_DAY),
)
#: Wrong registration codes for one address, whatever token they come with.
CODE = Limit("code", 20, window=_DAY)
#: Wrong codes of a second factor for one person.
FACTOR = Limit("factor", 5, window=_DAY, pause=_MINUTE, doublings=6, slides=True)
#: Passkey sign-ins begun from one IP address; apart from passwords, because pages may begin one unasked.
PASSKEY_IP = Limit("passkey_ip", 100, window=5 * _MINUTE)
#: API keys made or rotated for one owner, who is mailed about each.
API_KEY = Limit("api_key", 100, window=_DAY)
#: Refreshes of one session.
REFRESH = Limit("refresh", 120, window=5 * _MINUTE)

_PASSWORDS = (LOGIN.scope, LOGIN_ACCOUNT.scope, LOGIN_DEVICE.scope)
_PAUSING = (*_PASSWORDS, FACTOR.scope)

# By hand, because every sign-in, refresh and mail is counted (`make bench-accounts`), and the ORM knows no such upsert.
# Counting, forgetting and pausing in one atomic statement: parallel tries cannot pass a check that comes before it.
# A blocked bucket is left untouched and missing from the answer; where one is blocked at the outset, none is touched.
_RESERVE = """
INSERT INTO users_ratebucket AS b
  (key, scope, count, blocked_until, reset_at, max_count, pause, doublings, slides, at)
SELECT * FROM (VALUES {rows}) AS v
WHERE NOT EXISTS (SELECT 1 FROM users_ratebucket p WHERE p.key IN ({keys}) AND p.blocked_until > %s)
ON CONFLICT (key) DO UPDATE SET (count, blocked_until, reset_at, at) = (
  CASE WHEN b.reset_at <= excluded.at THEN 1 ELSE b.count + 1 END,
  CASE WHEN b.reset_at <= excluded.at THEN excluded.blocked_until
       WHEN b.count + 1 < b.max_count THEN 0
       WHEN b.pause = 0 THEN b.reset_at
       WHEN b.count + 1 - b.max_count < b.doublings THEN excluded.at + b.pause * (1 << (b.count + 1 - b.max_count))
       ELSE excluded.at + b.pause * (1 << b.doublings) END,
  CASE WHEN b.slides OR b.reset_at <= excluded.at THEN excluded.reset_at ELSE b.reset_at END,
  excluded.at)
WHERE b.blocked_until <= excluded.at
RETURNING key, blocked_until
"""
_ROW = "(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
#: The same where PostgreSQL prepares the statement: types are named that nothing else tells.
_TYPED_ROW = "(%s::bytea, %s, %s::int, %s::bigint, %s::bigint, %s::int, %s::bigint, %s::int, %s::boolean, %s::bigint)"
#: For one bucket as a part of a larger statement, which takes `values`: it gives a row when the try counts.
RESERVE_IN_WITH = _RESERVE.format(rows=_TYPED_ROW, keys="%s").replace("WHERE NOT", "WHERE {only_if} AND NOT")

# What the count that goes has blocked is open again; what others have filled meanwhile stays shut. The rows are locked
# in the order in which they are counted: an UPDATE takes them as they lie, and two could wait for each other.
_SETTLE = """
UPDATE users_ratebucket SET
  count = CASE WHEN key IN ({empty}) OR count < 1 THEN 0 ELSE count - 1 END,
  blocked_until = CASE WHEN key IN ({empty}) OR count <= max_count THEN 0 ELSE blocked_until END
WHERE key IN (SELECT key FROM users_ratebucket WHERE key IN ({keys}) {only_if} ORDER BY key {lock})
"""


@dataclass(frozen=True)
class Block:
    """Why a try was refused: the limit that ends last, in `seconds`.

    `since` is when its last counted try began, `failed_at` when the newest failure asked about was noted.
    """

    limit: Limit
    seconds: int
    since: datetime
    failed_at: datetime | None = None


def too_many(block: Block) -> ProductError:
    message = _("Too many requests; try again later.")
    return ProductError("TOO_MANY_REQUESTS", message, status=429, retry_after=block.seconds)


def of_ip(limit: Limit, ip: str) -> list[Bucket]:
    """The counter of an IP address; none where it is unknown, or with USERS_IP_LIMITS=0."""
    return [limit.of_thing("ip", caller_network(ip))] if settings.USERS_IP_LIMITS and ip else []


def count_ip(limit: Limit, ip: str) -> None:
    """Count a try of an IP address; TOO_MANY_REQUESTS (429)."""
    if block := reserve(*of_ip(limit, ip)):
        raise too_many(block)


def reserve(*buckets: Bucket) -> Block | None:
    """Count one try in every bucket, or in none. Return None when all allow it.

    Call it before the thing it guards, and outside any transaction that a failure of that thing rolls back: a wrong try
    stays counted. A mail and its count may share one, because both come to nothing together.
    """
    outcome = count_try(*buckets)
    return outcome if isinstance(outcome, Block) else None


def count_try(*buckets: Bucket, email: str = "") -> int | Block:
    """`reserve`, which returns how many seconds a failure of the counted try pauses what it counts for.

    A Block has the newest failed sign-in with the `email`, by which to know whether what led to it is over.
    """
    if not buckets:
        return 0
    ordered = _ordered(buckets)
    for _try in range(_TRIES):
        now = _milliseconds(timezone.now())
        rows = _reserve(ordered, now)
        if len(rows) == len(ordered):
            return _pause(rows, now)
        if block := _refused(ordered, rows, now, email):
            return block
        # What was in the way is gone: a try that came right has ended it.
    return Block(buckets[0].limit, 1, timezone.now())


async def acount_try(*buckets: Bucket, email: str) -> int | Block:
    """`count_try` on PostgreSQL, on the event loop while nothing is blocked."""
    ordered, now = _ordered(buckets), _milliseconds(timezone.now())
    rows = await async_db.fetch(_reserving(ordered, _TYPED_ROW), *values(*ordered, now=now))
    if len(rows) == len(ordered):
        return _pause(rows, now)

    def count_again() -> int | Block:
        return _refused(ordered, rows, now, email) or count_try(*buckets, email=email)

    return await on_lane(count_again)


def _ordered(buckets: Sequence[Bucket]) -> list[Bucket]:
    """Sorted, so that two statements never wait for each other's rows."""
    return sorted(buckets, key=lambda bucket: bucket.key)


def _reserving(ordered: Sequence[Bucket], row: str) -> str:
    return _RESERVE.format(rows=", ".join([row] * len(ordered)), keys=marks(ordered))


def _reserve(ordered: Sequence[Bucket], now: int) -> list[tuple[Any, ...]]:
    """Count one try in each; return key and end of the pause of those that allowed it."""
    with connection.cursor() as cursor:
        cursor.execute(_reserving(ordered, _ROW), values(*ordered, now=now))
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _pause(rows: Sequence[tuple[Any, ...]], now: int) -> int:
    return _seconds(max((until - now for _key, until in rows if until), default=0))


def _refused(ordered: Sequence[Bucket], rows: Sequence[tuple[Any, ...]], now: int, email: str) -> Block | None:
    """Take back what was counted beside a blocked one; what blocked, or None when that is over."""
    counted = {bytes(key) for key, _until in rows}
    settle(given_back=[bucket for bucket in ordered if bucket.key in counted])
    failures = AuditEvent.objects.filter(subject_mac=audit.subject(email), event="login.failed").order_by("-id")
    newest = Subquery(failures.values("at")[:1]) if email else Value(None, DateTimeField())
    # Of several blocks the one that ends last.
    limits = {bucket.key: bucket.limit for bucket in ordered}
    blocked = RateBucket.objects.filter(key__in=list(limits), blocked_until__gt=now).order_by("-blocked_until")
    found = blocked.annotate(failed_at=newest).values_list("blocked_until", "at", "key", "failed_at").first()
    if found is None:
        return None
    until, at, key, failed_at = found
    HIT.add(limits[bytes(key)].scope)
    return Block(limits[bytes(key)], _seconds(until - now), datetime.fromtimestamp(at / 1000, UTC), failed_at)


def values(*buckets: Bucket, now: int | None = None) -> list[Any]:
    """What counting one try in each takes."""
    now = _milliseconds(timezone.now()) if now is None else now
    given: list[Any] = []
    for key, limit in ((bucket.key, bucket.limit) for bucket in buckets):
        reset_at, pause = now + limit.window * 1000, limit.pause * 1000
        blocked_until = 0 if limit.max_count > 1 else now + pause if pause else reset_at
        given += (key, limit.scope, 1, blocked_until, reset_at)
        given += (limit.max_count, pause, limit.doublings, limit.slides, now)
    return [*given, *(bucket.key for bucket in buckets), now]


def _seconds(milliseconds: int) -> int:
    return max(0, math.ceil(milliseconds / 1000))


def left(bucket: Bucket) -> tuple[int, int]:
    """How many more tries the bucket allows, and after how many seconds it is empty again."""
    now = _milliseconds(timezone.now())
    found = RateBucket.objects.filter(pk=bucket.key).values_list("count", "reset_at").first()
    count, reset_at = found or (0, now)
    return max(0, bucket.limit.max_count - count), _seconds(reset_at - now)


def is_blocked(bucket: Bucket) -> bool:
    """Whether a try would be refused now; counts nothing."""
    return RateBucket.objects.filter(pk=bucket.key, blocked_until__gt=_milliseconds(timezone.now())).exists()


def settle(*, forgotten: Sequence[Bucket] = (), given_back: Sequence[Bucket] = ()) -> None:
    """Empty the first, whose person has shown who they are; take back one try of the others. By one statement."""
    if forgotten or given_back:
        with connection.cursor() as cursor:
            cursor.execute(*settling(forgotten=forgotten, given_back=given_back))


def settling(
    *, forgotten: Sequence[Bucket] = (), given_back: Sequence[Bucket] = (), only_if: str = ""
) -> tuple[str, list[bytes]]:
    """The statement of `settle` and what it takes; `only_if` begins with AND."""
    keys, empty = [bucket.key for bucket in (*forgotten, *given_back)], [bucket.key for bucket in forgotten]
    lock = "FOR UPDATE" if connection.features.has_select_for_update else ""
    sql = _SETTLE.format(empty=marks(empty) or "NULL", keys=marks(keys), only_if=only_if, lock=lock)
    return sql, [*empty, *empty, *keys]


@transaction.atomic
def end_pause(*emails: str, factors: bool = False) -> None:
    """Forget the wrong passwords for these accounts, from wherever they came; with `factors` the wrong codes, too.

    A mailed reset proves the mailbox and nothing of a second factor: it must not buy more guesses at its codes.
    """
    scopes = {*_PASSWORDS, CODE.scope, *([FACTOR.scope] if factors else [])}
    theirs = _of_accounts(map(_account, emails)).filter(scope__in=scopes)
    # Locked in the order in which they are counted, like everything that takes several.
    held = theirs.order_by("key").select_for_update().values_list("key", flat=True)
    RateBucket.objects.filter(key__in=list(held)).delete()


def is_paused(email: str) -> bool:
    """Whether signing in to this account is paused, from wherever."""
    return bool(paused([email]))


def paused(emails: Sequence[str]) -> set[str]:
    """Those of the addresses whose sign-in is paused from somewhere, by one query."""
    by_account = {_account(email): email for email in emails}
    if not by_account:
        return set()
    now = _milliseconds(timezone.now())
    blocked = _of_accounts(by_account).filter(scope__in=_PAUSING, blocked_until__gt=now)
    return {by_account[bytes(key)[:_HALF]] for key in blocked.values_list("key", flat=True)}


def paused_accounts() -> list[uuid.UUID]:
    """Ids of the accounts whose sign-in is paused now, the last ones paused first.

    Counters know accounts only by a MAC, so those are asked about whose wrong passwords or codes the trail has noted
    within the longest pause.
    """
    since = timezone.now() - _LONGEST_PAUSE
    noted = AuditEvent.objects.filter(
        event__in=("login.failed", "login.paused", "mfa.failed"), pk__gt=audit.first_id(since), user_id__isnull=False
    )
    newest = noted.order_by("-id").values_list("user_id", flat=True)[: 10 * _MOST_PAUSED]
    ids: list[Any] = list(dict.fromkeys(newest))
    by_email = dict(User.objects.filter(pk__in=ids[:_MOST_PAUSED]).values_list("email", "pk"))
    emails = list(by_email)
    found: set[str] = set()
    for some in batches(emails, _AT_ONCE):
        found |= paused(some)
    return [by_email[email] for email in found]


def _of_accounts(accounts: Iterable[bytes]) -> QuerySet[RateBucket]:
    """Their counters, each a range of the key. Spelled here: of hundreds the ORM makes as much work as the database."""
    ends = [account + half for account in accounts for half in (bytes(_HALF), b"\xff" * _HALF)]
    ranges = " OR ".join(["key BETWEEN %s AND %s"] * (len(ends) // 2))
    return RateBucket.objects.filter(RawSQL(ranges, ends, BooleanField()))  # noqa: S611


def _account(email: str) -> bytes:
    return tokens.subject_mac("account", normal_email(email))[:_HALF]


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def count_mail(actor: Actor) -> None:
    """Count a mail asked for from the caller's IP address, sent or not; TOO_MANY_REQUESTS (429)."""
    count_ip(MAIL_IP, actor.request.ip)


def may_mail(kind: str, email: str) -> bool:
    """Whether one more mail of this kind may go to the address; beyond it callers are answered alike."""
    return reserve(*(limit.of(kind, email) for limit in MAIL)) is None


def require_mail(kind: str, email: str, *, actor: Actor) -> None:
    """Count a mail that is asked for openly, by the same counters; TOO_MANY_REQUESTS (429)."""
    count_mail(actor)
    if block := reserve(*(limit.of(kind, email) for limit in MAIL)):
        raise too_many(block)
