"""Who may be written to: the allow-list, suppressions, preferences and rates; checked when queuing and when sending."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from lib import events
from lib.addresses import ascii_form, normal_email, valid_email
from lib.db import adapted, marks
from lib.errors import ProductError
from lib.text import is_storable
from notifications.models import Message, Preference, Suppression
from notifications.registry import EMAIL, NotificationType, Rate

if TYPE_CHECKING:
    from users.models import User

_LISTED = f"""
SELECT address, scope FROM {Suppression._meta.db_table}
WHERE address IN ({{}}) AND channel = %s AND (expires_at IS NULL OR expires_at > %s)
"""  # noqa: S608  (the table's name is our own)
#: A mailbox that does not exist today may be there next month.
DEAD_FOR = timedelta(days=30)


def refusal(
    kind: NotificationType,
    *,
    address: str,
    user_id: UUID | None,
    channel: str = EMAIL,
    known: Mapping[str, set[str]] | None = None,
    off: Collection[UUID] | None = None,
) -> str:
    """Why this type is not sent to this address, or an empty text; `known` is what `listed` gave for it, `off` what
    `switched_off` gave for its user.

    `not_allowed` (NOTIFICATIONS_ALLOW_TO), `suppressed` (the list; a required type only by scope `all`) or
    `preference` (switched off by the user; never a required type).
    """
    if channel == EMAIL:
        if not is_allowed(address):
            return "not_allowed"
        if barring_scopes(kind) & (listed([address]) if known is None else known).get(address, set()):
            return "suppressed"
    if kind.required or user_id is None:
        return ""
    return "preference" if user_id in (switched_off(kind, [user_id], channel=channel) if off is None else off) else ""


def refusals(kind: NotificationType, people: Sequence[User]) -> dict[UUID, str]:
    """Why this type is not mailed to each of these: as `refusal`, else `throttled`; those it is mailed to are left out.
    Three queries, however many they are."""
    if not people:
        return {}
    addresses = {person.pk: mail_address(person) for person in people}
    known, off = listed(list(addresses.values())), switched_off(kind, list(addresses), channel=EMAIL)
    full = throttled(kind, addresses.values())
    reasons = {
        pk: refusal(kind, address=address, user_id=pk, known=known, off=off) or ("throttled" if address in full else "")
        for pk, address in addresses.items()
    }
    return {pk: reason for pk, reason in reasons.items() if reason}


def switched_off(kind: NotificationType, user_ids: Sequence[UUID], *, channel: str) -> set[UUID]:
    """Those of these users who have switched its category off."""
    off = Preference.objects.filter(user__in=user_ids, category=kind.category, channel=channel, enabled=False)
    return set(off.values_list("user_id", flat=True))


def accounts(user_ids: set[UUID | None]) -> dict[UUID | None, User]:
    """Those of these users that there are; no query for none."""
    found: Any = get_user_model()._default_manager.in_bulk([pk for pk in user_ids if pk])
    return cast("dict[UUID | None, User]", found)


def unreachable(person: User) -> str:
    """Why nothing optional goes to an account: `inactive`, `unverified`, or an empty text."""
    if not person.is_active or getattr(person, "is_service_account", False):
        return "inactive"
    # An address that no one has proved to be theirs may be a stranger's.
    return "" if getattr(person, "is_verified", True) else "unverified"


def mail_address(person: User) -> str:
    return str(getattr(person, person.get_email_field_name()))


def barring_scopes(kind: NotificationType) -> set[str]:
    """Those of the list that keep this type from an address."""
    return {Suppression.ALL} if kind.required else {Suppression.ALL, Suppression.OPTIONAL, kind.category}


def throttled(kind: NotificationType, addresses: Collection[str], *, rates: Sequence[Rate] | None = None) -> set[str]:
    """Those of the addresses that have had as many of this type as its rates allow, or those given; one query."""
    rates, now = kind.throttle if rates is None else rates, timezone.now()
    if not rates:
        return set()
    since = now - max(rate.window for rate in rates)
    rows = Message.objects.filter(to_address__in=addresses, type=kind.code, created_at__gt=since)
    times: dict[str, list[datetime]] = {}
    for address, at in rows.exclude(state=Message.State.SUPPRESSED).values_list("to_address", "created_at"):
        times.setdefault(address, []).append(at)

    def is_full(rate: Rate, ats: list[datetime]) -> bool:
        return sum(at > now - rate.window for at in ats) >= rate.count

    return {address for address in addresses if any(is_full(rate, times.get(address, [])) for rate in rates)}


def is_throttled(kind: NotificationType, address: str, *, rates: Sequence[Rate] | None = None) -> bool:
    return bool(throttled(kind, [address], rates=rates))


def is_suppressed(address: str, *scopes: str) -> bool:
    """Whether the list holds this address for mail with one of these scopes, now."""
    return not listed([address]).get(address, set()).isdisjoint(scopes)


def listed(addresses: Sequence[str], *, channel: str = EMAIL) -> dict[str, set[str]]:
    """The scopes with which the list holds each of these addresses, now; those it does not hold are left out."""
    spellings = {address: normal_email(address) for address in addresses}
    with connection.cursor() as cursor:
        # Runs for every message; the ORM takes ten times as long (benchmarks/NOTIFICATIONS.md).
        normal = list(set(spellings.values()))
        cursor.execute(_LISTED.format(marks(normal)), adapted(*normal, channel, timezone.now()))
        found: dict[str, set[str]] = {}
        for address, scope in cursor.fetchall():
            found.setdefault(address, set()).add(scope)
    return {address: found[normal] for address, normal in spellings.items() if normal in found}


def is_allowed(address: str) -> bool:
    """Whether NOTIFICATIONS_ALLOW_TO is empty or names the address."""
    allowed: list[str] = settings.NOTIFICATIONS_ALLOW_TO
    readable = normal_email(address)
    spellings = (readable, ascii_form(readable))
    return not allowed or any(fnmatchcase(text, normal_email(one)) for one in allowed for text in spellings)


# --- The list of suppressions -----------------------------------------------------------------------------------------


@transaction.atomic
def suppress(
    address: str, *, scope: str, reason: str, source: str, expires_at: datetime | None = None, channel: str = EMAIL
) -> bool:
    """Write nothing more of this scope (`all`, `optional` or a category) to the address; without end unless given.

    False when it is listed for as long already, which stays as it is; only an unsubscription, which may be taken back,
    gives way to any other reason without end. Raises: SUPPRESSION_INVALID (400).
    """
    address = _checked(address, scope, channel)
    if reason not in Suppression.Reason.values:
        raise ProductError("SUPPRESSION_INVALID", _("The reason is none of those there are."))
    if not is_storable(source):
        raise ProductError("SUPPRESSION_INVALID", _("The source holds characters that cannot be stored."))
    values = {"reason": reason, "source": " ".join(source.split())[:200], "expires_at": expires_at}
    row, is_new = Suppression.objects.get_or_create(address=address, channel=channel, scope=scope, defaults=values)
    weaker = Q(expires_at__isnull=False) if expires_at is None else Q(expires_at__lt=expires_at)
    if expires_at is None and reason != Suppression.Reason.UNSUBSCRIBE:
        weaker |= Q(reason=Suppression.Reason.UNSUBSCRIBE)
    if not (is_new or Suppression.objects.filter(weaker, pk=row.pk).update(**values)):
        return False
    until = expires_at.isoformat(timespec="seconds").replace("+00:00", "Z") if expires_at else None
    about = {"address": address, "scope": scope, "reason": str(reason), "until": until}
    events.publish("address.suppressed", subject=f"address:{address}"[:200], **about)
    return True


def suppress_dead(address: str, *, source: str, channel: str = EMAIL) -> bool:
    """Write nothing at all to a mailbox that does not exist, for 30 days."""
    ends, reason = timezone.now() + DEAD_FOR, Suppression.Reason.BOUNCE
    return suppress(address, scope=Suppression.ALL, reason=reason, source=source, expires_at=ends, channel=channel)


def lift(address: str, *, scope: str, channel: str = EMAIL) -> bool:
    """Take the address off the list for this scope; return whether it was on it."""
    listed = Suppression.objects.filter(address=_checked(address, scope, channel), channel=channel, scope=scope)
    return bool(listed.delete()[0])


def _checked(address: str, scope: str, channel: str) -> str:
    """The normal spelling of an address. Raises: SUPPRESSION_INVALID (400), also for the scope and the channel."""
    if channel not in Message.Channel.values:
        raise ProductError("SUPPRESSION_INVALID", _("There is no such channel."))
    if not (scope.isascii() and scope.isidentifier() and len(scope) <= 50):
        raise ProductError("SUPPRESSION_INVALID", _("The scope is all, optional or the code of a category."))
    try:
        return valid_email(address)
    except ValueError as error:
        raise ProductError("SUPPRESSION_INVALID", _("The address %(error)s.") % {"error": error}) from None
