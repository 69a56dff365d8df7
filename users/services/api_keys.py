"""API keys: made, rotated and revoked; and who a call with one comes from.

A key is `sbk_` and 43 + 6 characters of base 62: 256 random bits, and the CRC-32 of what stands before it, by which
scanners for leaked secrets know one (`sbk_[0-9A-Za-z]{49}`). The database holds the SHA-256 of the whole. It is good
for the API alone, within its scopes, and never for more than its owner may.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any
from zlib import crc32

from django.contrib.auth.models import Group
from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from lib import async_db
from lib.actors import Actor
from lib.errors import ProductError
from lib.text import is_storable, remember
from users.models import SERVICE_DOMAIN, ActingKey, ApiKey, ServiceAccount, User
from users.services import audit, key_scopes, rate_limits, security_mails, sessions, staff

PREFIX = "sbk_"
#: How long a key lasts unless its maker chooses, how long at most, and how many live ones a user may have.
DAYS, MOST_DAYS, LIMIT = 90, 3650, 50
#: How long the old key goes on beside the one that replaces it: by default, at most.
OVERLAP_HOURS, MOST_OVERLAP_HOURS = 24, 7 * 24
_NETWORKS = 20
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_USED_EVERY = timedelta(minutes=1)


def _base62(number: int, length: int) -> str:
    digits = ""
    for _each in range(length):
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return digits


def new_secret() -> str:
    body = PREFIX + _base62(secrets.randbits(256), 43)
    return body + _checksum(body)


def is_key(text: str) -> bool:
    """Whether this can be a key at all; the check sum of a mistyped one is wrong."""
    return len(text) == 53 and text.startswith(PREFIX) and text.isascii() and text[47:] == _checksum(text[:47])


def _checksum(body: str) -> str:
    return _base62(crc32(body.encode()), 6)


def _hash(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


# --- Making and ending them -------------------------------------------------------------------------------------------


@transaction.atomic
def create(
    owner: User,
    *,
    actor: Actor,
    name: str,
    scopes: Iterable[str],
    expires_at: datetime | None = None,
    lasts_for_ever: bool = False,
    networks: Sequence[str] = (),
) -> tuple[ApiKey, str]:
    """A key of the owner and its secret, which is not kept. Without `expires_at` it ends after 90 days.

    People make keys for themselves, superusers for service accounts.

    Raises:
        KEY_INVALID (422): name, scopes, end or networks; the message says which.
        KEY_LIMIT (409): the owner has 50 live ones.
        TOO_MANY_REQUESTS (429): over 100 a day were made for the owner.
        USER_INACTIVE (400): the owner is deactivated.
        SUPERUSERS_ONLY (403): somebody else's key.
        REAUTHENTICATION_REQUIRED (403): the last proof is too old, or a key asks for it.
    """
    _hold(owner)
    _require_owner(owner, actor)
    now = timezone.now()
    name = " ".join(name.split())
    if not (0 < len(name) <= 100 and name.isprintable() and is_storable(name)):
        raise _invalid(_("A key has a name of at most 100 characters."))
    wanted = sorted(set(scopes))
    if not wanted:
        raise _invalid(_("Choose scopes."))
    if refused := set(wanted).difference(key_scopes.offered(owner)):
        raise _invalid(_("The owner cannot give the scope %(scope)s.") % {"scope": min(refused)[:40]})
    _require_factor(actor, scopes=" ".join(wanted))
    if expires_at is None and not lasts_for_ever:
        expires_at = now + timedelta(days=DAYS)
    if expires_at is not None and not now < expires_at <= now + timedelta(days=MOST_DAYS):
        raise _invalid(_("A key ends between now and ten years from now."))
    _require_room(owner, LIMIT)
    fields = {"name": name, "scopes": " ".join(wanted), "networks": _networks(networks), "expires_at": expires_at}
    key, secret = _store(owner, actor=actor, **fields)
    audit.record("api_key.created", actor=actor, user=owner, scopes=wanted, **_noted(key))
    return key, secret


def _hold(owner: User) -> None:
    """Two calls for an owner at once come one after the other, and what signs them out before or after all of it."""
    row = User.objects.select_for_update().only("pk", "is_active").get(pk=owner.pk)
    if not row.is_active:
        # A key that slept would wake with the account.
        raise ProductError("USER_INACTIVE", _("The account is deactivated; activate it first."))


def _require_room(owner: User, limit: int) -> None:
    if ApiKey.objects.live(timezone.now()).filter(user=owner).count() >= limit:
        raise ProductError(
            "KEY_LIMIT", _("There are %(limit)d keys already: revoke one.") % {"limit": limit}, status=409
        )


def _store(owner: User, *, actor: Actor, **fields: Any) -> tuple[ApiKey, str]:
    if actor.user is not None and (block := rate_limits.reserve(rate_limits.API_KEY.of_thing("user", owner.pk.hex))):
        raise rate_limits.too_many(block)
    secret = new_secret()
    row = ApiKey(user=owner, prefix=secret[:12], hash=_hash(secret), created_by=actor.label, **fields)
    row.save(force_insert=True)
    if not owner.is_service_account:
        security_mails.api_key_created(owner, name=row.name, scopes=row.scopes.split(), info=actor.request)
    return row, secret


@transaction.atomic
def rotate(key: ApiKey, *, actor: Actor, overlap_hours: int = OVERLAP_HOURS) -> tuple[ApiKey, str]:
    """A new key with the name, scopes, networks and life of this one, which ends `overlap_hours` from now; and its
    secret.

    Each of as many as there may be can have its successor beside it.

    Raises: KEY_ENDED (409), KEY_INVALID (422), and what `create` raises.
    """
    _hold(key.user)
    _require_owner(key.user, actor)
    if not 0 <= overlap_hours <= MOST_OVERLAP_HOURS:
        raise _invalid(_("The overlap has 0 to %(most)d hours.") % {"most": MOST_OVERLAP_HOURS})
    now = timezone.now()
    old = ApiKey.objects.select_for_update().get(pk=key.pk)
    if not old.is_live(now):
        raise ProductError("KEY_ENDED", _("This key has ended: make another one."), status=409)
    _require_factor(actor, scopes=old.scopes)
    _require_room(key.user, 2 * LIMIT)
    life = None if old.expires_at is None else now + (old.expires_at - old.created_at)
    fields = {"name": old.name, "scopes": old.scopes, "networks": old.networks, "expires_at": life}
    made, secret = _store(key.user, actor=actor, **fields)
    ends_at = now + timedelta(hours=overlap_hours)
    old.expires_at = min(old.expires_at, ends_at) if old.expires_at else ends_at
    old.save(update_fields=["expires_at"])
    noted = {**_noted(made), "kind": f"{old.prefix} → {made.prefix}"}
    audit.record("api_key.rotated", actor=actor, user=key.user, **noted)
    return made, secret


@transaction.atomic
def revoke(key: ApiKey, *, actor: Actor) -> bool:
    """End a key for good, at once and everywhere; return whether it was live.

    Raises: PERMISSION_MISSING, ADMINS_ONLY, SUPERUSERS_ONLY (403) for the keys of others.
    """
    if actor.user is not None and actor.user.pk != key.user_id:
        if not actor.user.has_perm("users.revoke_apikey"):
            raise ProductError("PERMISSION_MISSING", _("You may only revoke keys of your own."), status=403)
        staff.require_reach(key.user, actor=actor)
    now = timezone.now()
    if not ApiKey.objects.live(now).filter(pk=key.pk).update(revoked_at=now):
        return False
    audit.record("api_key.revoked", actor=actor, user=key.user, **_noted(key))
    return True


def _noted(key: ApiKey) -> dict[str, Any]:
    """What the audit log keeps: how it begins, and what staff call theirs. No words of strangers."""
    return {"kind": key.prefix, "name": key.name if key.user.is_staff else f"{key.prefix}…"}


def own(user: User) -> list[ApiKey]:
    """The keys of a person that are live, newest first."""
    return list(ApiKey.objects.live(timezone.now()).filter(user=user).order_by("-created_at"))


def find_own(user: User, key_id: uuid.UUID | None) -> ApiKey:
    """A live key of theirs. Raises: KEY_UNKNOWN (404)."""
    key = ApiKey.objects.live(timezone.now()).select_related("user").filter(user=user, pk__in=[key_id]).first()
    if key is None:
        raise ProductError("KEY_UNKNOWN", _("No such key."), status=404, detail="Not Found")
    return key


def _require_owner(owner: User, actor: Actor) -> None:
    """One's own, or a service account's by superusers; proved lately, and never by a key."""
    if actor.user is None:
        return
    if actor.request.api_key:
        raise ProductError("REAUTHENTICATION_REQUIRED", _("A key makes no keys: sign in for it."), status=403)
    if actor.user.pk != owner.pk and not (actor.user.is_superuser and owner.is_service_account):
        raise ProductError("SUPERUSERS_ONLY", _("Only superusers make keys of service accounts."), status=403)
    sessions.require_fresh(actor.request.session_id)


def _require_factor(actor: Actor, *, scopes: str) -> None:
    """Of who is to hold what only staff may do."""
    if actor.user is not None and key_scopes.permissions(scopes) and not actor.user.may_act_as_staff():
        raise ProductError("SECOND_FACTOR_REQUIRED", _("Staff sign in with a second factor."), status=403)


def _invalid(message: str) -> ProductError:
    return ProductError("KEY_INVALID", message, status=422)


def _networks(given: Sequence[str]) -> str:
    try:
        found = sorted({_network(text.strip()) for text in given})
    except ValueError:
        raise _invalid(_("A network is an address or a range, such as 192.0.2.0/24.")) from None
    if len(found) > _NETWORKS:
        raise _invalid(_("A key has at most %(most)d networks.") % {"most": _NETWORKS})
    return " ".join(found)


def _network(text: str) -> str:
    """As `lib.net.client_ip` spells addresses: without zone, mapped IPv4 unwrapped. Raises: ValueError."""
    if "%" in text:
        raise ValueError(text)
    found = ipaddress.ip_network(text, strict=False)
    mapped = getattr(found.network_address, "ipv4_mapped", None)
    bits = found.prefixlen - 96
    return str(ipaddress.ip_network((mapped, bits)) if mapped is not None and bits >= 0 else found)


# --- Service accounts -------------------------------------------------------------------------------------------------


@transaction.atomic
def create_service_account(
    *, name: str, description: str = "", groups: Iterable[Group], actor: Actor
) -> ServiceAccount:
    """An account for a program, with the rights of its groups. It has no password and no mailbox.

    Raises:
        SERVICE_ACCOUNT_INVALID (422): its name or description.
        SERVICE_ACCOUNT_EXISTS (409): one has this name.
        SUPERUSERS_ONLY, REAUTHENTICATION_REQUIRED (403).
    """
    if actor.user is not None and not actor.user.is_superuser:
        raise ProductError("SUPERUSERS_ONLY", _("Only superusers give and take rights."), status=403)
    staff.require_proof(actor)
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name, re.ASCII):
        message = _("A name has 1 to 63 lower-case letters, digits and hyphens.")
        raise ProductError("SERVICE_ACCOUNT_INVALID", message, status=422)
    if len(description) > 200 or not is_storable(description):
        message = _("A description has at most 200 characters.")
        raise ProductError("SERVICE_ACCOUNT_INVALID", message, status=422)
    now = timezone.now()
    try:
        with transaction.atomic():
            user = User(email=f"{name}@{SERVICE_DOMAIN}", first_name=name, is_staff=True, email_verified_at=now)
            user.created_by = user.updated_by = actor.label
            user.set_unusable_password()
            user.save(force_insert=True)
            account = ServiceAccount.objects.create(user=user, name=name, description=description)
    except IntegrityError as error:
        message = _("There is a service account of this name.")
        raise ProductError("SERVICE_ACCOUNT_EXISTS", message, status=409) from error
    user.groups.set(groups)
    about = {"name": name, "groups": sorted(user.groups.values_list("name", flat=True))}
    audit.record("service_account.created", actor=actor, user=user, **about)
    return account


# --- Who calls --------------------------------------------------------------------------------------------------------

# By hand like the question that each call with an access token asks (sessions.py).
_LIVE = """
SELECT k.id, k.prefix, k.scopes, k.networks, k.last_used_at IS NULL OR k.last_used_at < %s,
  u.is_superuser, u.id, u.email, u.first_name, u.last_name, u.is_staff
FROM users_apikey k JOIN users_user u ON u.id = k.user_id
WHERE k.hash = %s AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > %s) AND u.is_active
"""
_USED = "UPDATE users_apikey SET last_used_at = %s, last_used_ip = %s WHERE id = %s"
#: In the order of the model's fields, which is what from_db goes by.
_USER_FIELDS = ("is_superuser", "id", "email", "first_name", "last_name", "is_active", "is_staff")


# A program shows the same key again and again.
@remember(maxsize=1024)
def _sought(secret: str) -> bytes | None:
    return _hash(secret) if is_key(secret) else None


async def authenticate(secret: str, *, ip: str) -> User | None:
    """The owner of a live key used from one of its networks, by one query; None for anything else.

    `api_key` and `granted` are set, `session_id` is not.
    """
    if (hashed := _sought(secret)) is None:
        return None
    now = timezone.now()
    rows = await async_db.fetch(_LIVE, now - _USED_EVERY, hashed, now)
    if not rows:
        return None
    key_id, prefix, scopes, networks, is_stale, is_superuser, user_id, *names, is_staff = rows[0]
    if networks and not _is_inside(ip, networks):
        return None
    # As SQLite keeps them, ids are texts.
    key_id, user_id = (each if isinstance(each, uuid.UUID) else uuid.UUID(each) for each in (key_id, user_id))
    if is_stale:
        await async_db.fetch(_USED, now, ip, key_id)
    user = User.from_db(DEFAULT_DB_ALIAS, _USER_FIELDS, (is_superuser, user_id, *names, True, is_staff))
    user.api_key, user.granted = ActingKey(key_id, prefix, scopes), key_scopes.permissions(scopes)
    return user


@lru_cache(maxsize=1024)
def _is_inside(ip: str, networks: str) -> bool:
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network) for network in networks.split())
