"""Links that end a category of mail for one address: nobody can make one for another address."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils.crypto import salted_hmac

if TYPE_CHECKING:
    from notifications.models import Message


def unsubscribe_url(address: str, category: str) -> str:
    payload = json.dumps([address, category], separators=(",", ":")).encode()
    signature = salted_hmac("notifications.unsubscribe", payload, algorithm="sha256").hexdigest()
    token = f"{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.{signature}"
    return f"{settings.BASE_URL}/api/notifications/unsubscribe/{token}"


def list_unsubscribe_headers(message: Message) -> dict[str, str]:
    """RFC 8058: mail programs show a button, and press it by one POST."""
    return {
        "List-Unsubscribe": f"<{unsubscribe_url(message.to_address, message.category)}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
