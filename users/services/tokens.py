"""Keys and the secrets made with them. What can be derived is never stored: a dump of the database opens nothing."""

import base64
import binascii
import hmac
import json
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.utils import timezone

from lib.actors import RequestInfo
from lib.encryption import derive
from users.models import OneTimeToken, Registration, User

AUDIENCE = "users:ACCESS_TOKEN"
#: Seconds that the clock of the host which made a token may be ahead of ours.
CLOCK_LEEWAY = 60
_CLAIMS = ["user_id", "email", "first_name", "aud", "exp", "sid", "iat", "jti", "iss"]
_MAC_LENGTH = 24


@dataclass(frozen=True)
class Key:
    value: bytes

    @property
    def id(self) -> str:
        return sha256(b"key-id|" + self.value).hexdigest()[:8]

    def mac(self, *parts: bytes) -> bytes:
        return hmac.new(self.value, b"|".join(parts), sha256).digest()


def keys(purpose: str, explicit: str = "") -> tuple[Key, ...]:
    """The keys of one purpose: the first writes, all are read. `explicit` is used as given."""
    secrets = (settings.USERS_TOKEN_SECRET, *settings.USERS_TOKEN_SECRET_FALLBACKS)
    derived = tuple(Key(derive(value, purpose)) for value in secrets)
    return (Key(explicit.encode()), *derived) if explicit else derived


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


# --- Access tokens ----------------------------------------------------------------------------------------------------

_JWT_HEAD = _base64url(b'{"alg":"HS256","typ":"at+jwt"}')


@dataclass(frozen=True)
class Access:
    """The claims an access token proves."""

    user_id: uuid.UUID
    session_id: uuid.UUID


def make_access(user: User, session_id: uuid.UUID, now: datetime) -> str:
    """A JWT (RFC 7519, HS256, `typ: at+jwt`) that a browser may decode for `user_id`, `email`, `first_name`, `exp`."""
    claims = {
        "user_id": user.pk.hex,
        "email": user.email,
        "first_name": user.first_name,
        "aud": AUDIENCE,
        "exp": int(now.timestamp()) + settings.USERS_ACCESS_TOKEN_EXPIRE_SECONDS,
        "sid": session_id.hex,
        "iat": int(now.timestamp()),
        "jti": secrets.token_hex(8),
        "iss": settings.USERS_TOKEN_ISSUER,
    }
    # By hand (RFC 7515, 7.1): PyJWT takes six times as long, and every sign-in and refresh waits for it.
    signed = f"{_JWT_HEAD}.{_base64url(json.dumps(claims, separators=(',', ':')).encode())}"
    key = keys("access", settings.USERS_ACCESS_TOKEN_SECRET)[0]
    return f"{signed}.{_base64url(key.mac(signed.encode()))}"


def read_access(token: str) -> Access | None:
    """What a token proves, or None for anything forged, expired or malformed."""
    import jwt

    for key in keys("access", settings.USERS_ACCESS_TOKEN_SECRET):
        try:
            access, ends_at = _decode(token, key, settings.USERS_TOKEN_ISSUER)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            continue
        return access if timezone.now().timestamp() < ends_at else None
    return None


# A client shows the same token again and again, and a signature that was good stays good.
@lru_cache(maxsize=1024)
def _decode(token: str, key: Key, issuer: str) -> tuple[Access, float]:
    """What the token proves, and until when."""
    import jwt

    wanted: dict[str, Any] = {"audience": AUDIENCE, "issuer": issuer}
    # When it was made is read below: by PyJWT, a second's leeway would be one for its end, too.
    options: Any = {"require": _CLAIMS, "verify_iat": False}
    claims = jwt.decode(token, key.value, algorithms=["HS256"], options=options, **wanted)
    if float(claims["iat"]) > timezone.now().timestamp() + CLOCK_LEEWAY:
        raise jwt.ImmatureSignatureError("not yet valid")
    return Access(uuid.UUID(claims["user_id"]), uuid.UUID(claims["sid"])), float(claims["exp"])


# --- Refresh tokens ---------------------------------------------------------------------------------------------------

_REFRESH_PREFIX = "rt_"


def new_refresh() -> str:
    return _REFRESH_PREFIX + _base64url(secrets.token_bytes(32))


def refresh_hash(token: str) -> bytes:
    return sha256(token.encode()).digest()


def refresh_successors(token: str) -> list[str]:
    """The one token that may follow this one, per key: every caller who presents `token` computes the same."""
    macs = (key.mac(b"refresh", token.encode()) for key in keys("refresh", settings.USERS_REFRESH_TOKEN_SECRET))
    return [_REFRESH_PREFIX + _base64url(mac) for mac in macs]


# --- One-time tokens and codes ----------------------------------------------------------------------------------------


def _one_time_keys(purpose: str) -> tuple[Key, ...]:
    verify, reset = settings.USERS_VERIFICATION_TOKEN_SECRET, settings.USERS_FORGOT_PASSWORD_TOKEN_SECRET
    return keys(purpose, {"verify": verify, "reset": reset}.get(purpose, ""))


def one_time_key_id(purpose: str) -> str:
    """The id of the key that writes now; a row keeps it, so that rotated keys go on reading."""
    return _one_time_keys(purpose)[0].id


def _key_of(row: OneTimeToken) -> Key | None:
    return next((key for key in _one_time_keys(row.purpose) if key.id == row.key_id), None)


def one_time_token(row: OneTimeToken) -> str | None:
    """The token of a row: base64url of its id and a MAC. None when the row's key is gone."""
    if not (key := _key_of(row)):
        return None
    mac = key.mac(b"token", row.purpose.encode(), row.id.bytes, bytes(row.nonce))
    return _base64url(row.id.bytes + mac[:_MAC_LENGTH])


def one_time_id(token: str) -> uuid.UUID | None:
    """The row a token names, nothing proved yet."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return uuid.UUID(bytes=raw[:16]) if len(raw) == 16 + _MAC_LENGTH else None


def issue(
    user: User | None,
    purpose: OneTimeToken.Purpose,
    *,
    lasts: timedelta,
    email: str = "",
    payload: dict[str, str] | None = None,
    registration: Registration | None = None,
) -> OneTimeToken:
    """An open row; the mail that brings its token derives it while it is rendered."""
    row = OneTimeToken(user=user, purpose=purpose, email=email, registration=registration, payload=payload or {})
    row.key_id, row.expires_at = one_time_key_id(purpose), timezone.now() + lasts
    row.save(force_insert=True)
    return row


def find(token: str, purpose: OneTimeToken.Purpose) -> OneTimeToken | None:
    """The row of a token, with its `user`, still unspent; None for anything not open."""
    row_id = one_time_id(token)
    row = OneTimeToken.open(timezone.now()).filter(pk__in=[row_id], purpose=purpose).select_related("user").first()
    return row if row and is_one_time_token(token, row) else None


def spend(token: str, purpose: OneTimeToken.Purpose) -> tuple[OneTimeToken, User] | None:
    """The row of a token and its person, locked, the token used up; None for anything not open.

    Call it in the transaction of what the token is good for: of several calls at once one gets the row.
    """
    row = find(token, purpose)
    if row is None:
        return None
    # The person first, as everywhere: two that lock in other orders wait for each other.
    user = User.objects.select_for_update(of=("self",)).filter(one_time_tokens=row).first()
    return (row, user) if user is not None and use_up(row) else None


def use_up(row: OneTimeToken) -> bool:
    """Whether this call is the one that used the row up."""
    now = timezone.now()
    return bool(OneTimeToken.open(now).filter(pk=row.pk).update(used_at=now))


def void(user: User, *purposes: str, since: datetime | None = None) -> None:
    """Nothing open of these purposes (made at `since` or later) is good any more."""
    rows = OneTimeToken.objects.filter(user=user, purpose__in=purposes, used_at=None)
    (rows.filter(created_at__gte=since) if since else rows).update(used_at=timezone.now())


def registration_token(registration_id: uuid.UUID) -> str:
    """What proves later who made a pending registration: base64url of its id and a MAC."""
    return _registration_tokens(registration_id)[0]


def registration_id(token: str) -> uuid.UUID | None:
    """The pending registration a token proves, made with any of the keys; None for anything else."""
    found = one_time_id(token)
    made = _registration_tokens(found) if found else []
    return found if any(is_same(expected, token) for expected in made) else None


def _registration_tokens(of: uuid.UUID) -> list[str]:
    return [_base64url(of.bytes + key.mac(of.bytes)[:_MAC_LENGTH]) for key in keys("registration")]


def is_one_time_token(token: str, row: OneTimeToken) -> bool:
    return is_same(one_time_token(row) or "", token)


def challenge(row: OneTimeToken) -> bytes | None:
    """The 32 bytes a passkey is asked to sign (WebAuthn, 13.4.3). None when the row's key is gone."""
    key = _key_of(row)
    return key.mac(b"challenge", row.id.bytes, bytes(row.nonce)) if key else None


def registration_code(row: OneTimeToken) -> str | None:
    """Six digits, 100000 to 999999, another with each `code_serial`. None when the row's key is gone."""
    if not (key := _key_of(row)):
        return None
    mac = key.mac(b"code", row.id.bytes, bytes(row.nonce), str(row.code_serial).encode())
    return str(100000 + int.from_bytes(mac[:8], "big") % 900000)


def decoy_token(purpose: str, email: str, now: datetime) -> str:
    """A token of the right form that opens nothing; the same for a day that begins at an hour of the address's own."""
    key = _one_time_keys(purpose)[0]
    begins = int.from_bytes(key.mac(b"decoy hour", email.encode())[:4], "big")
    day = int(now.timestamp() + begins) // 86400
    mac = key.mac(b"decoy", email.encode(), str(day).encode())
    row_id = uuid.UUID(bytes=mac[:16], version=4)
    return _base64url(row_id.bytes + key.mac(b"decoy more", mac)[:_MAC_LENGTH])


#: Seconds, the most a browser keeps.
DEVICE_MAX_AGE = 400 * 86400


def device_cookie(email: str) -> str:
    """The cookie a sign-in leaves, another value each time: a program that holds it is known to this account.

    It opens nothing. Without it the owner is mailed about each further sign-in. It exempts from the pause of an account
    that strangers' wrong passwords led to (device cookies, as the OWASP describes them); its own wrong passwords are
    counted by network as ever, and over all networks by cookie.
    """
    nonce = secrets.token_bytes(12)
    return base64.urlsafe_b64encode(nonce + keys("device")[0].mac(email.encode(), nonce)[:24]).decode()


def known_device(value: str, email: str) -> str:
    """What this program is known by, when a sign-in of this account left the cookie's value; else empty."""
    try:
        raw = base64.urlsafe_b64decode(value) if len(value) <= 64 else b""
    except ValueError:
        return ""
    nonce, mac = raw[:12], raw[12:]
    is_ours = any(hmac.compare_digest(key.mac(email.encode(), nonce)[:24], mac) for key in keys("device"))
    return nonce.hex() if is_ours else ""


# --- Addresses and networks -------------------------------------------------------------------------------------------


def subject_mac(*parts: str) -> bytes:
    """32 bytes that stand for an address or a network where the clear text need not be kept."""
    return subject_macs(*parts)[0]


def subject_macs(*parts: str) -> list[bytes]:
    """`subject_mac` with every key: what was written before a rotation is found by one of them."""
    return [key.mac(*(part.encode() for part in parts)) for key in keys("subject")]


def network_macs(info: RequestInfo) -> list[str]:
    """Stand for one program in one network, one for each key; the first is the one that is written."""
    return [mac.hex() for mac in subject_macs("place", info.network, info.user_agent)]


def is_same(expected: str, given: str) -> bool:
    """Compare in constant time; two empty strings are not the same secret."""
    return bool(expected) and hmac.compare_digest(expected.encode(), given.encode())


def fingerprint(encoded: str) -> str:
    """A short MAC of a stored password hash, by which `is_fingerprint` recognises it."""
    return _fingerprints(encoded)[0]


def is_fingerprint(given: str, encoded: str) -> bool:
    """Whether `given` was made of this stored hash, with any of the keys."""
    return any(is_same(expected, given) for expected in _fingerprints(encoded))


def _fingerprints(encoded: str) -> list[str]:
    return [key.mac(b"hash", encoded.encode()).hex()[:16] for key in keys("subject")]
