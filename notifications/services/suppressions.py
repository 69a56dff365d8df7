"""The list of addresses that are not written to."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from lib.addresses import valid_email
from lib.errors import ProductError
from lib.text import is_storable
from notifications.models import Message, Suppression

#: A mailbox that does not exist today may be there next month.
DEAD_FOR = timedelta(days=30)


@transaction.atomic
def suppress(
    address: str, *, scope: str, reason: str, source: str, expires_at: datetime | None = None, channel: str = "email"
) -> bool:
    """Write nothing more of this scope (`all`, `optional` or a category) to the address; without end unless given.

    False when it is listed for as long already, which stays as it is; only an unsubscription, which may be taken back,
    gives way to any other reason without end. ProductError 400 `SUPPRESSION_INVALID` for values that cannot be.
    """
    address = _checked(address, scope, channel)
    if reason not in Suppression.Reason.values:
        raise _invalid("The reason is none of those there are.")
    if not is_storable(source):
        raise _invalid("The source holds characters that cannot be stored.")
    values = {"reason": reason, "source": " ".join(source.split())[:200], "expires_at": expires_at}
    row, is_new = Suppression.objects.get_or_create(address=address, channel=channel, scope=scope, defaults=values)
    if is_new:
        return True
    weaker = Q(expires_at__isnull=False) if expires_at is None else Q(expires_at__lt=expires_at)
    if expires_at is None and reason != Suppression.Reason.UNSUBSCRIBE:
        weaker |= Q(reason=Suppression.Reason.UNSUBSCRIBE)
    return bool(Suppression.objects.filter(weaker, pk=row.pk).update(**values))


def suppress_dead(address: str, *, source: str, channel: str = "email") -> bool:
    """Write nothing at all to a mailbox that does not exist, for 30 days."""
    return suppress(
        address,
        scope=Suppression.ALL,
        reason=Suppression.Reason.BOUNCE,
        source=source,
        expires_at=timezone.now() + DEAD_FOR,
        channel=channel,
    )


def lift(address: str, *, scope: str, channel: str = "email") -> bool:
    """Take the address off the list for this scope; return whether it was on it."""
    listed = Suppression.objects.filter(address=_checked(address, scope, channel), channel=channel, scope=scope)
    return bool(listed.delete()[0])


def _checked(address: str, scope: str, channel: str) -> str:
    """The normal spelling of an address."""
    if channel not in Message.Channel.values:
        raise _invalid("There is no such channel.")
    if not (scope.isascii() and scope.isidentifier() and len(scope) <= 50):
        raise _invalid("The scope is all, optional or the code of a category.")
    try:
        return valid_email(address)
    except ValueError as error:
        raise _invalid(f"The address {error}.") from None


def _invalid(message: str) -> ProductError:
    return ProductError("SUPPRESSION_INVALID", message)
