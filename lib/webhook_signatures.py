"""Verifying by its secret that a webhook call comes from the mail provider it claims to come from.

Each provider signs as its documentation describes, or is given `user:password` for its address (RFC 7617).
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
import time
from base64 import b64decode
from collections.abc import Callable
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from lib.text import whole_number

#: What MailerSend signs its `webhook.test` with: the webhook, and so its secret, is made only after a 2xx to that.
MAILERSEND_PING_SECRET = "test_Am3L1GuOIc4blLUuHqAPxxwkZaJyEk8G"
#: Whose reports are read; the settings know SES by this name.
PROVIDERS = frozenset({"brevo", "mailersend", "mailgun", "postmark", "resend", "sendgrid", "ses"})
#: Seconds between the signature of a Svix message and our clock (what Svix's own libraries allow).
SVIX_TOLERANCE = 300


def trouble(provider: str, secret: str) -> str:
    """Why no call of this provider can ever be proved by this secret; empty when one can."""
    if provider not in PROVIDERS:
        return f"No reports of {provider} are read: leave NOTIFICATIONS_WEBHOOK_SECRET empty."
    if provider in {"mailersend", "mailgun"} or _is_basic(secret):
        return ""
    if provider == "resend":
        needs = "the signing secret of the webhook (whsec_…)"
        return "" if _svix_key(secret) else _needs(provider, needs)
    if provider == "sendgrid":
        needs = "the verification key of the signed event webhook"
        return "" if _sendgrid_key(secret) else _needs(provider, needs)
    return f"NOTIFICATIONS_WEBHOOK_SECRET must be user:password with {provider}."


def is_genuine(provider: str, request: HttpRequest, secret: str) -> bool:
    check = _SIGNATURES.get(provider)
    if check is None or (_is_basic(secret) and provider in {"resend", "sendgrid"}):
        return _is_basic(secret) and _has_basic(request, secret)
    return check(request, secret)


def is_ping(provider: str, request: HttpRequest) -> bool:
    """Whether this is the test call of MailerSend. Its secret is public, so nothing may depend on it."""
    if provider != "mailersend" or not _is_mailersend(request, MAILERSEND_PING_SECRET):
        return False
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and body.get("type") == "webhook.test"


def _needs(provider: str, what: str) -> str:
    return f"NOTIFICATIONS_WEBHOOK_SECRET must be {what} with {provider}, or user:password."


def _is_basic(secret: str) -> bool:
    user, _, password = secret.partition(":")
    return bool(user and password)


def _has_basic(request: HttpRequest, secret: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    try:
        return scheme.lower() == "basic" and hmac.compare_digest(b64decode(given, validate=True), secret.encode())
    except ValueError:
        return False


def _is_mailersend(request: HttpRequest, secret: str) -> bool:
    return _is_hex_mac(request.headers.get("Signature", ""), secret, request.body)


def _is_mailgun(request: HttpRequest, secret: str) -> bool:
    """The signature stands in the body and covers its own time and token, so that a token proves one call."""
    try:
        signature = json.loads(request.body)["signature"]
        stamp, token, given = signature["timestamp"], signature["token"], signature["signature"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
    return isinstance(given, str) and _is_hex_mac(given, secret, f"{stamp}{token}".encode("utf-8", "replace"))


def _is_hex_mac(given: str, secret: str, content: bytes) -> bool:
    return constant_time_compare(_bytes(given), hmac.new(secret.encode(), content, hashlib.sha256).hexdigest())


def _is_svix(request: HttpRequest, secret: str) -> bool:
    """Standard Webhooks: `v1,<base64>` of the HMAC of `id.timestamp.body`, any of several."""
    key, headers = _svix_key(secret), request.headers
    name, stamp = headers.get("svix-id", ""), headers.get("svix-timestamp", "")
    sent_at = whole_number(stamp, digits=12)
    if not (key and name) or sent_at is None or abs(time.time() - sent_at) > SVIX_TOLERANCE:
        return False
    wanted = hmac.new(key, _bytes(f"{name}.{stamp}.") + request.body, hashlib.sha256).digest()
    found = False
    for each in headers.get("svix-signature", "").split(" "):
        version, _, given = each.partition(",")
        found |= version == "v1" and hmac.compare_digest(_decoded(given), wanted)
    return found


def _is_sendgrid(request: HttpRequest, secret: str) -> bool:
    """ECDSA over SHA-256 of the time and the body."""
    key = _sendgrid_key(secret)
    stamp = request.headers.get("X-Twilio-Email-Event-Webhook-Timestamp", "")
    given = _decoded(request.headers.get("X-Twilio-Email-Event-Webhook-Signature", ""))
    if not (key and stamp and given):
        return False
    try:
        key.verify(given, _bytes(stamp) + request.body, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _svix_key(secret: str) -> bytes:
    return _decoded(secret.removeprefix("whsec_"))


@lru_cache(maxsize=4)
def _sendgrid_key(secret: str) -> ec.EllipticCurvePublicKey | None:
    try:
        key = load_der_public_key(_decoded(secret))
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) else None


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


_SIGNATURES: dict[str, Callable[[HttpRequest, str], bool]] = {
    "mailersend": _is_mailersend,
    "mailgun": _is_mailgun,
    "resend": _is_svix,
    "sendgrid": _is_sendgrid,
}
