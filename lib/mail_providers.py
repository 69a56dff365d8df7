"""The providers of mail that django-anymail knows, a row each: URL, what it takes, how its webhook calls are proved:
signed as the provider documents it, or by `user:password` (RFC 7617).
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
import re
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from lib.text import whole_number

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

#: What MailerSend signs its `webhook.test` with: the webhook, and so its secret, is made only after a 2xx to that.
MAILERSEND_PING_SECRET = "test_Am3L1GuOIc4blLUuHqAPxxwkZaJyEk8G"
#: Seconds between the signature of a Svix message and our clock (what Svix's own libraries allow).
SVIX_TOLERANCE = 300


# --- Signatures -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Webhook:
    """How a call is proved: by its signature, else by user:password."""

    is_signed: Callable[[HttpRequest, str], bool] | None = None
    #: The key that a secret holds, where not any text is one, and what the secret has to be.
    key: Callable[[str], Any] | None = None
    secret: str = ""


def trouble(provider: str, secret: str) -> str:
    """Why no call of this provider can ever be proved by this secret; empty when one can."""
    webhook = PROVIDERS[provider].webhook if provider in PROVIDERS else None
    if webhook is None:
        return f"No reports of {provider} are read: leave NOTIFICATIONS_WEBHOOK_SECRET empty."
    if _is_basic(secret) or (webhook.is_signed and not webhook.key):
        return ""
    if webhook.key:
        needs = f"{webhook.secret} with {provider}, or user:password"
        return "" if webhook.key(secret) else f"NOTIFICATIONS_WEBHOOK_SECRET must be {needs}."
    return f"NOTIFICATIONS_WEBHOOK_SECRET must be user:password with {provider}."


def is_genuine(provider: str, request: HttpRequest, secret: str) -> bool:
    webhook = PROVIDERS[provider].webhook
    if webhook is None or webhook.is_signed is None or (webhook.key and _is_basic(secret)):
        return _is_basic(secret) and _has_basic(request, secret)
    return webhook.is_signed(request, secret)


def is_ping(provider: str, request: HttpRequest) -> bool:
    """Whether this is the test call of MailerSend. Its secret is public, so nothing may depend on it."""
    if provider != "mailersend" or not _is_mailersend(request, MAILERSEND_PING_SECRET):
        return False
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and body.get("type") == "webhook.test"


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
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

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
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_der_public_key

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


# --- The table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider takes: nothing else is sent to it. The defaults are those of a mail server."""

    metadata: bool = False
    tags: bool = False
    custom_headers: bool = True
    keeps_message_id: bool = True
    keeps_date: bool = True
    #: How long it knows a message again by its uid, so that a second hand-over is not a second copy.
    remembers_for: timedelta = timedelta(0)


#: A setting, what it becomes by the value of an option (one of these, or what fits the pattern), and the default value.
Option = tuple[str, dict[str, str] | re.Pattern[str], str]

_TAGGED = Capabilities(metadata=True, tags=True, keeps_message_id=False, keeps_date=False)
_KEEPS_ID = replace(_TAGGED, keeps_message_id=True)
_BY_PASSWORD = Webhook()


@dataclass(frozen=True, slots=True)
class Provider:
    #: Of EMAIL_URL.
    example: str
    #: The settings that become of its key, of what stands after the key and a colon, and after the @ (in which text).
    key: str
    secret: str = ""
    host: str = ""
    host_as: str = "{}"
    options: Mapping[str, Option] = field(default_factory=dict)
    takes: Capabilities = _TAGGED
    #: None: its reports are not read.
    webhook: Webhook | None = None
    #: The name in django-anymail, where it is another.
    backend: str = ""


#: By the scheme of EMAIL_URL, which is what rows and metrics call it.
PROVIDERS = {
    "mailersend": Provider(
        "mailersend://TOKEN@",
        "MAILERSEND_API_TOKEN",
        takes=replace(_TAGGED, metadata=False, custom_headers=False),  # only Enterprise accounts have both
        webhook=Webhook(_is_mailersend),
    ),
    "mailgun": Provider(
        "mailgun://KEY@mg.example.org?region=eu",
        "MAILGUN_API_KEY",
        host="MAILGUN_SENDER_DOMAIN",
        options={
            "region": (
                "MAILGUN_API_URL",
                {"us": "https://api.mailgun.net/v3", "eu": "https://api.eu.mailgun.net/v3"},
                "us",
            )
        },
        takes=_KEEPS_ID,
        webhook=Webhook(_is_mailgun),
    ),
    "mailjet": Provider("mailjet://KEY:SECRET@", "MAILJET_API_KEY", secret="MAILJET_SECRET_KEY"),
    "mailtrap": Provider(
        "mailtrap://TOKEN@?sandbox=1234567",
        "MAILTRAP_API_TOKEN",
        options={"sandbox": ("MAILTRAP_SANDBOX_ID", re.compile("[0-9]{1,20}"), "")},
    ),
    "mandrill": Provider("mandrill://KEY@", "MANDRILL_API_KEY"),
    "postal": Provider(
        "postal://KEY@postal.example.org",
        "POSTAL_API_KEY",
        host="POSTAL_API_URL",
        host_as="https://{}",
        takes=replace(_TAGGED, metadata=False, tags=False),
    ),
    "postmark": Provider("postmark://TOKEN@", "POSTMARK_SERVER_TOKEN", takes=_KEEPS_ID, webhook=_BY_PASSWORD),
    "resend": Provider(
        "resend://KEY@",
        "RESEND_API_KEY",
        takes=replace(_TAGGED, remembers_for=timedelta(hours=24)),
        webhook=Webhook(_is_svix, _svix_key, "the signing secret of the webhook (whsec_…)"),
    ),
    "brevo": Provider(
        "brevo://KEY@",
        "BREVO_API_KEY",
        takes=replace(_TAGGED, remembers_for=timedelta(minutes=15)),
        webhook=_BY_PASSWORD,
    ),
    "scaleway": Provider(
        "scaleway://KEY@?project=ID&region=fr-par",
        "SCALEWAY_SECRET_KEY",
        options={
            "project": ("SCALEWAY_PROJECT_ID", re.compile("[0-9a-fA-F-]{1,64}"), ""),
            "region": ("SCALEWAY_REGION", re.compile("[a-z0-9-]{1,32}"), "fr-par"),
        },
    ),
    "sendgrid": Provider(
        "sendgrid://KEY@",
        "SENDGRID_API_KEY",
        takes=_KEEPS_ID,
        webhook=Webhook(_is_sendgrid, _sendgrid_key, "the verification key of the signed event webhook"),
    ),
    "sparkpost": Provider(
        "sparkpost://KEY@?region=eu&subaccount=12",
        "SPARKPOST_API_KEY",
        options={
            "region": (
                "SPARKPOST_API_URL",
                {"us": "https://api.sparkpost.com/api/v1", "eu": "https://api.eu.sparkpost.com/api/v1"},
                "us",
            ),
            "subaccount": ("SPARKPOST_SUBACCOUNT", re.compile("[0-9]{1,20}"), ""),
        },
    ),
    "unisender-go": Provider(
        "unisender-go://KEY@go1.unisender.ru",
        "UNISENDER_GO_API_KEY",
        host="UNISENDER_GO_API_URL",
        host_as="https://{}/ru/transactional/api/v1",
        backend="unisender_go",
    ),
    "ses": Provider(
        "ses://?region=eu-west-1 or ses://ID:SECRET@?region=eu-west-1",
        "",
        takes=replace(_TAGGED, keeps_date=True),
        webhook=_BY_PASSWORD,
        backend="amazon_ses",
    ),
}
