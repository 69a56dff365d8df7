"""What makes accounts less safe than they could be: asked by `check_accounts`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from lib import addresses, env
from users.models import MfaDevice, User
from users.services import encryption

_SECRETS = (
    "SECRET_KEY",
    "USERS_TOKEN_SECRET",
    "USERS_ACCESS_TOKEN_SECRET",
    "USERS_REFRESH_TOKEN_SECRET",
    "USERS_VERIFICATION_TOKEN_SECRET",
    "USERS_FORGOT_PASSWORD_TOKEN_SECRET",
)


@dataclass(frozen=True)
class Finding:
    """`code` is stable; `message` names settings and people, never a value."""

    code: str
    message: str


def findings() -> list[Finding]:
    """All there are, settings first."""
    return [*_settings(), *_addresses(), *_people(), *_spellings()]


def _settings() -> Iterator[Finding]:
    for name in _SECRETS:
        value = getattr(settings, name)
        if not value:
            continue
        try:
            env.strong(name, value)
        except ImproperlyConfigured as error:
            yield Finding("weak-secret", str(error))
    if settings.USERS_TOKEN_SECRET == settings.SECRET_KEY:
        yield Finding("shared-secret", "USERS_TOKEN_SECRET is SECRET_KEY: give tokens a secret of their own.")
    for name in ("USERS_RETURN_VERIFICATION_TOKENS", "USERS_RETURN_FORGOT_PASSWORD_TOKEN"):
        if getattr(settings, name):
            yield Finding("secrets-in-answers", f"{name} returns secrets in answers; it is for tests.")
    if settings.DEBUG:
        yield Finding("debug", "DEBUG shows error pages with details and allows weak secrets.")
    if not settings.USERS_IP_LIMITS:
        yield Finding("no-ip-limits", "USERS_IP_LIMITS=0: nothing limits the tries of one IP address here.")
    database = Path(str(connection.settings_dict["NAME"]))
    if connection.vendor == "sqlite" and database.is_file() and database.stat().st_mode & 0o077:
        yield Finding("open-database", f"Other users of this machine can read {database.name}: chmod 600.")
    if settings.USERS_STAFF_MFA != "required":
        yield Finding("staff-mfa-optional", "USERS_STAFF_MFA=optional lets staff in with a password alone.")


def _addresses() -> Iterator[Finding]:
    for name in ("APP_URL", "BASE_URL"):
        parts = urlsplit(getattr(settings, name))
        is_local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if parts.scheme != "https" and not is_local:
            yield Finding("plain-http", f"{name} is not https: links in mails can be read on the way.")
    if settings.USERS_ACCESS_TOKEN_VIA_COOKIE and not settings.USERS_ACCESS_TOKEN_COOKIE_SECURE:
        yield Finding("insecure-cookie", "USERS_ACCESS_TOKEN_COOKIE_SECURE=0 sends the cookie over plain http.")
    if not settings.SESSION_COOKIE_SECURE:
        yield Finding("insecure-admin-cookie", "The admin's cookies travel over plain http.")
    if any(network.endswith("/0") for network in settings.TRUSTED_PROXIES):
        yield Finding("trusts-everybody", "TRUSTED_PROXIES holds a network of everybody: addresses can be forged.")
    rp_id = settings.USERS_WEBAUTHN_RP_ID
    for origin in settings.USERS_WEBAUTHN_ORIGINS:
        host = urlsplit(origin).hostname
        if host and host != rp_id and not host.endswith(f".{rp_id}"):
            yield Finding("passkeys-elsewhere", f"Passkeys of {rp_id} cannot be used at {host}: USERS_WEBAUTHN_RP_ID.")


def _spellings() -> Iterator[Finding]:
    """What older releases kept otherwise than `lib.addresses` spells it, and the migration had to leave."""
    for email in User.objects.order_by("email").values_list("email", flat=True).iterator():
        try:
            wanted = addresses.canonical(email)
        except ValueError as error:
            yield Finding("address-unreadable", f"{email} stays as it is and can only be typed so: it {error}.")
            continue
        if wanted != email:
            yield Finding("address-twin", f"{email} is the mailbox of {wanted}, and an account of its own.")


def _people() -> Iterator[Finding]:
    with_factor = MfaDevice.objects.filter(confirmed_at__isnull=False).values("user_id")
    without = User.objects.filter(is_staff=True, is_active=True).exclude(pk__in=with_factor).order_by("email")
    for email in without.values_list("email", flat=True)[:50]:
        yield Finding("staff-without-factor", f"{email} is staff and has no second factor.")
    if not User.objects.filter(is_superuser=True, is_active=True).exists():
        yield Finding("no-superuser", "There is no active superuser: `create_admin` makes one.")
    unreadable = encryption.rotate_all(dry_run=True)["unreadable"]
    if unreadable:
        yield Finding("unreadable-factors", f"{unreadable} secrets of authenticator apps can be read with no key.")
