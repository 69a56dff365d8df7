"""The link in a mail that ends mail of its category without signing in, and the way back."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils.crypto import constant_time_compare, salted_hmac

from lib.addresses import normal_email
from lib.errors import ProductError
from notifications import registry
from notifications.models import Message, Suppression
from notifications.registry import EMAIL
from notifications.services import preferences, recipients
from notifications.services.suppressions import suppress

_MAC_LENGTH = 18


@dataclass(frozen=True, slots=True)
class Link:
    """The address and category of an unsubscribe token."""

    address: str
    category: str


def unsubscribe_url(address: str, category: str) -> str:
    """Where mail of this category to this address is ended; good for ever."""
    return f"{settings.BASE_URL}/api/notifications/unsubscribe/{token(address, category)}"


def list_unsubscribe_headers(message: Message) -> dict[str, str]:
    """What lets a mail program offer the button (RFC 2369, RFC 8058); nothing for what is always sent."""
    if registry.get(message.type).required:
        return {}
    ways = [f"<{unsubscribe_url(message.to_address, message.category)}>"]
    if settings.NOTIFICATIONS_UNSUBSCRIBE_MAILTO:
        mailto = quote(settings.NOTIFICATIONS_UNSUBSCRIBE_MAILTO, safe="@")
        ways.append(f"<mailto:{mailto}?subject=unsubscribe%20{quote(message.category)}>")
    return {"List-Unsubscribe": ", ".join(ways), "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def token(address: str, category: str) -> str:
    return _token(address, category, settings.SECRET_KEY)


def read(given: str) -> Link:
    """The content of the token; ProductError 404 `UNSUBSCRIBE_BAD_TOKEN` unless it was made here."""
    try:
        padded = given.encode("ascii") + b"=" * (-len(given) % 4)
        category, _, address = urlsafe_b64decode(padded)[_MAC_LENGTH:].decode().partition(":")
    except (ValueError, binascii.Error):
        category = address = ""
    # The links in old mails stay valid when the key is changed.
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    if not any(constant_time_compare(_token(address, category, secret), given) for secret in secrets):
        raise ProductError("UNSUBSCRIBE_BAD_TOKEN", "This link is not complete.", status=404)
    return Link(address, category)


def language(link: Link) -> str:
    """The language of the user with this address; empty when there is none, or it is unknown."""
    people = get_user_model()._default_manager.filter(email=link.address)
    return people.values_list("language", flat=True).first() or ""


def is_subscribed(link: Link) -> bool:
    """Whether mail of this category may go there, by the suppressions and the preferences."""
    scopes = Suppression.ALL, Suppression.OPTIONAL, link.category
    return not recipients.is_suppressed(link.address, *scopes) and not preferences.is_off(link.address, link.category)


@transaction.atomic
def unsubscribe(link: Link, *, source: str) -> None:
    """End mail of this category to this address; what is required goes on. A repeat changes nothing."""
    suppress(link.address, scope=link.category, reason=Suppression.Reason.UNSUBSCRIBE, source=source)
    preferences.set_by_address(link.address, link.category, enabled=False)


@transaction.atomic
def resubscribe(link: Link) -> bool:
    """Take that back. What staff or a complaint put on the list stays there; return whether mail may go there now."""
    Suppression.objects.filter(
        channel=EMAIL, address=link.address, scope=link.category, reason=Suppression.Reason.UNSUBSCRIBE
    ).delete()
    preferences.set_by_address(link.address, link.category, enabled=True)
    return is_subscribed(link)


def _token(address: str, category: str, secret: str | bytes) -> str:
    content = f"{category}:{normal_email(address)}"
    mac = salted_hmac("notifications.unsubscribe", content, secret=secret, algorithm="sha256").digest()
    return urlsafe_b64encode(mac[:_MAC_LENGTH] + content.encode()).rstrip(b"=").decode()
