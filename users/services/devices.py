"""The cookie a sign-in leaves: a program that holds it for an account is known, wherever it calls from.

It opens nothing. Without it the owner is told of every further sign-in. It exempts from the pause of an account that
strangers' wrong passwords led to (device cookies, as the OWASP describes them); its own wrong passwords are counted by
network as ever, and over all networks by cookie.
"""

from __future__ import annotations

import base64
import hmac
import secrets

from users.services import tokens

COOKIE = "device"
MAX_AGE = 400 * 86400  # seconds, the most a browser keeps


def issue(email: str) -> str:
    """A value of the cookie for this account, another one each time."""
    nonce = secrets.token_bytes(12)
    return base64.urlsafe_b64encode(nonce + _mac(email, nonce, tokens.keys("device")[0])).decode()


def known(value: str, email: str) -> str:
    """What tells this program from others, when a sign-in of this account left the value; else empty."""
    try:
        raw = base64.urlsafe_b64decode(value) if len(value) <= 64 else b""
    except ValueError:
        return ""
    nonce, mac = raw[:12], raw[12:]
    is_ours = any(hmac.compare_digest(_mac(email, nonce, key), mac) for key in tokens.keys("device"))
    return nonce.hex() if is_ours else ""


def _mac(email: str, nonce: bytes, key: tokens.Key) -> bytes:
    return key.mac(email.encode(), nonce)[:24]
