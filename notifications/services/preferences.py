"""Which categories users want to get, over which channel, and the link in a mail that ends one without signing in."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.translation import gettext_lazy as _

from lib.addresses import normal_email
from lib.errors import ProductError
from notifications import registry
from notifications.models import Message, Preference, Suppression
from notifications.registry import CHANNELS, EMAIL
from notifications.services import recipients

if TYPE_CHECKING:
    from users.models import User

_ALWAYS = _("Part of having an account: always sent.")
_BLOCKED = _("Mail of this kind to your address is blocked; our support can lift that.")
_MAC_LENGTH = 18

Reason = Suppression.Reason


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether a user gets a category over a channel; `why` it cannot be changed, if it cannot."""

    enabled: bool
    why: Any = ""


#: By category, then channel.
Choices = dict[str, dict[str, Choice]]


def choices(user: User) -> Choices:
    """Every category with the channels that its types use."""
    chosen = {(row.category, row.channel): row.enabled for row in Preference.objects.filter(user=user)}
    lasts = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    listed: dict[str, set[str]] = {}
    optional = Suppression.objects.filter(lasts, channel=EMAIL, address=normal_email(user.email))
    for scope, reason in optional.exclude(scope=Suppression.ALL).values_list("scope", "reason"):
        listed.setdefault(scope, set()).add(reason)

    def choice(category: str, channel: str, *, is_fixed: bool) -> Choice:
        if is_fixed:
            return Choice(True, _ALWAYS)
        wanted = chosen.get((category, channel), True)
        reasons = listed.get(category, set()) if channel == EMAIL else set()
        # An unsubscription is as good as a switch; what others put on the list only staff take off.
        if channel == EMAIL and (Suppression.OPTIONAL in listed or reasons - {Reason.UNSUBSCRIBE}):
            return Choice(False, _BLOCKED)
        return Choice(wanted and not reasons)

    return {
        category: {channel: choice(category, channel, is_fixed=is_fixed) for channel, is_fixed in channels.items()}
        for category, channels in _offered().items()
    }


def _offered() -> dict[str, dict[str, bool]]:
    """The channels of each category that a type uses, and whether they are fixed: no type there may be switched off."""
    found: dict[str, dict[str, bool]] = {}
    for category in registry.categories():
        kinds = [kind for kind in registry.declared_types() if kind.category == category.code]
        used = [channel for channel in CHANNELS if any(channel in kind.channels for kind in kinds)]
        if category.is_fixed and not used:
            used = [EMAIL]
        if used:
            found[category.code] = {
                channel: all(kind.required for kind in kinds if channel in kind.channels) for channel in used
            }
    return found


@transaction.atomic
def choose(user: User, wanted: Mapping[tuple[str, str], bool]) -> Choices:
    """Write what is wanted of each (category, channel), all or nothing. Switching mail on ends an unsubscription.

    Raises: PREFERENCE_UNKNOWN, PREFERENCE_FIXED (400).
    """
    offered = choices(user)
    for category, channel in wanted:
        if channel not in offered.get(category, {}):
            raise ProductError("PREFERENCE_UNKNOWN", "There is no such category, or it does not use this channel.")
        if offered[category][channel].why:
            raise ProductError("PREFERENCE_FIXED", "This cannot be switched.")
    rows = [
        # Sorted, so that two of these at once do not deadlock.
        Preference(user=user, category=category, channel=channel, enabled=enabled)
        for (category, channel), enabled in sorted(wanted.items())
    ]
    Preference.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["user", "category", "channel"], update_fields=["enabled"]
    )
    switched_on = [category for (category, channel), enabled in wanted.items() if enabled and channel == EMAIL]
    _unsubscriptions(user.email).filter(scope__in=switched_on).delete()
    return choices(user)


# --- Unsubscribing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
    """The address and category of an unsubscribe token."""

    address: str
    category: str


def unsubscribe_url(address: str, category: str) -> str:
    """Where mail of this category to this address is ended; good for ever."""
    token = _token(address, category, settings.SECRET_KEY)
    return f"{settings.BASE_URL}/api/notifications/unsubscribe/{token}"


def list_unsubscribe_headers(message: Message) -> dict[str, str]:
    """What lets a mail program offer the button (RFC 2369, RFC 8058); nothing for what is always sent."""
    if registry.get(message.type).required:
        return {}
    ways = [f"<{unsubscribe_url(message.to_address, message.category)}>"]
    if settings.NOTIFICATIONS_UNSUBSCRIBE_MAILTO:
        mailto = quote(settings.NOTIFICATIONS_UNSUBSCRIBE_MAILTO, safe="@")
        ways.append(f"<mailto:{mailto}?subject=unsubscribe%20{quote(message.category)}>")
    return {"List-Unsubscribe": ", ".join(ways), "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def read_link(token: str) -> Link:
    """The content of a token. Raises: UNSUBSCRIBE_BAD_TOKEN (404) unless it was made here."""
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        category, _, address = urlsafe_b64decode(padded)[_MAC_LENGTH:].decode().partition(":")
    except (ValueError, binascii.Error):
        category = address = ""
    # The links in old mails stay valid when the key is changed.
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    if not any(constant_time_compare(_token(address, category, secret), token) for secret in secrets):
        raise ProductError("UNSUBSCRIBE_BAD_TOKEN", "This link is not complete.", status=404)
    return Link(address, category)


def language(link: Link) -> str:
    """The language of the user with this address; empty when there is none, or it is unknown."""
    people = get_user_model()._default_manager.filter(email=link.address)
    return people.values_list("language", flat=True).first() or ""


def is_subscribed(link: Link) -> bool:
    """Whether mail of this category may go there, by the suppressions and the preferences."""
    if recipients.is_suppressed(link.address, Suppression.ALL, Suppression.OPTIONAL, link.category):
        return False
    off = Preference.objects.filter(category=link.category, channel=EMAIL, enabled=False)
    return not off.filter(user__email=normal_email(link.address)).exists()


@transaction.atomic
def unsubscribe(link: Link, *, source: str) -> None:
    """End mail of this category to this address; what is required goes on. A repeat changes nothing."""
    recipients.suppress(link.address, scope=link.category, reason=Reason.UNSUBSCRIBE, source=source)
    _set(link, enabled=False)


@transaction.atomic
def resubscribe(link: Link) -> bool:
    """Take that back. What staff or a complaint put on the list stays there; return whether mail may go there now."""
    _unsubscriptions(link.address).filter(scope=link.category).delete()
    _set(link, enabled=True)
    return is_subscribed(link)


def _set(link: Link, *, enabled: bool) -> None:
    """Note the choice for the user with this address, if there is one."""
    if user := get_user_model()._default_manager.filter(email=normal_email(link.address)).first():
        values = {"enabled": enabled}
        Preference.objects.update_or_create(user=user, category=link.category, channel=EMAIL, defaults=values)


def _unsubscriptions(address: str) -> Any:
    return Suppression.objects.filter(channel=EMAIL, address=normal_email(address), reason=Reason.UNSUBSCRIBE)


def _token(address: str, category: str, secret: str | bytes) -> str:
    content = f"{category}:{normal_email(address)}"
    mac = salted_hmac("notifications.unsubscribe", content, secret=secret, algorithm="sha256").digest()
    return urlsafe_b64encode(mac[:_MAC_LENGTH] + content.encode()).rstrip(b"=").decode()
