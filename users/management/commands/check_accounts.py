from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import connection
from django.db.models import Exists, OuterRef

from lib import addresses, db, encryption, env
from users.management.commands._people import AccountCommand
from users.models import MfaDevice, User

_SECRETS = (
    "SECRET_KEY",
    "USERS_TOKEN_SECRET",
    "USERS_ACCESS_TOKEN_SECRET",
    "USERS_REFRESH_TOKEN_SECRET",
    "USERS_VERIFICATION_TOKEN_SECRET",
    "USERS_FORGOT_PASSWORD_TOKEN_SECRET",
)


#: A code that is stable, and a message that names settings and people, never a value.
Finding = tuple[str, str]


class Command(AccountCommand):
    help = "Look for what makes accounts less safe than they could be; exit 1 on findings."

    def handle(self, *args: Any, **options: Any) -> None:
        found = [*_settings(), *_people()]
        facts = {"findings": [{"code": code, "message": message} for code, message in found]}
        lines = [f"{code}: {message}" for code, message in found] or ["Nothing found."]
        self.say(options, facts, *lines)
        if found:
            raise CommandError(f"{len(found)} finding{'' if len(found) == 1 else 's'}.")


def _settings() -> Iterator[Finding]:
    for name in _SECRETS:
        value = getattr(settings, name)
        if not value:
            continue
        try:
            env.strong(name, value)
        except ImproperlyConfigured as error:
            yield "weak-secret", str(error)
    if settings.USERS_TOKEN_SECRET == settings.SECRET_KEY:
        yield "shared-secret", "USERS_TOKEN_SECRET is SECRET_KEY: give tokens a secret of their own."
    for name in ("USERS_RETURN_VERIFICATION_TOKENS", "USERS_RETURN_FORGOT_PASSWORD_TOKEN"):
        if getattr(settings, name):
            yield "secrets-in-answers", f"{name} returns secrets in answers; it is for tests."
    if settings.DEBUG:
        yield "debug", "DEBUG shows error pages with details and allows weak secrets."
    if not settings.USERS_IP_LIMITS:
        yield "no-ip-limits", "USERS_IP_LIMITS=0: nothing limits the tries of one IP address here."
    database = Path(str(connection.settings_dict["NAME"]))
    if connection.vendor == "sqlite" and database.is_file() and database.stat().st_mode & 0o077:
        yield "open-database", f"Other users of this machine can read {database.name}: chmod 600."
    if settings.USERS_STAFF_MFA != "required":
        yield "staff-mfa-optional", "USERS_STAFF_MFA=optional lets staff in with a password alone."
    for name in ("APP_URL", "BASE_URL"):
        parts = urlsplit(getattr(settings, name))
        is_local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if parts.scheme != "https" and not is_local:
            yield "plain-http", f"{name} is not https: links in mails can be read on the way."
    if settings.USERS_ACCESS_TOKEN_VIA_COOKIE and not settings.USERS_ACCESS_TOKEN_COOKIE_SECURE:
        yield "insecure-cookie", "USERS_ACCESS_TOKEN_COOKIE_SECURE=0 sends the cookie over plain http."
    if not settings.SESSION_COOKIE_SECURE:
        yield "insecure-admin-cookie", "The admin's cookies travel over plain http."
    if any(network.endswith("/0") for network in settings.TRUSTED_PROXIES):
        yield "trusts-everybody", "TRUSTED_PROXIES holds a network of everybody: addresses can be forged."
    rp_id = settings.USERS_WEBAUTHN_RP_ID
    for origin in settings.USERS_WEBAUTHN_ORIGINS:
        host = urlsplit(origin).hostname
        if host and host != rp_id and not host.endswith(f".{rp_id}"):
            yield "passkeys-elsewhere", f"Passkeys of {rp_id} cannot be used at {host}: USERS_WEBAUTHN_RP_ID."


def _people() -> Iterator[Finding]:
    confirmed = MfaDevice.objects.filter(user=OuterRef("pk"), confirmed_at__isnull=False)
    staff = User.objects.filter(is_staff=True, is_active=True, service_account=None)
    without = staff.filter(~Exists(confirmed)).order_by("email")
    for email in without.values_list("email", flat=True)[:50]:
        yield "staff-without-factor", f"{email} is staff and has no second factor."
    if not User.objects.filter(is_superuser=True, is_active=True, service_account=None).exists():
        yield "no-superuser", "There is no active superuser: `create_admin` makes one."
    unreadable = encryption.rotate(MfaDevice, "secret", dry_run=True)["unreadable"]
    if unreadable:
        yield "unreadable-factors", f"{unreadable} secrets of authenticator apps can be read with no key."
    # What older releases kept otherwise than `lib.addresses` spells it, and the migration had to leave.
    for (email,) in db.in_order(User.objects.all(), "email"):
        try:
            wanted = addresses.canonical(email)
        except ValueError as error:
            yield "address-unreadable", f"{email} stays as it is and can only be typed so: it {error}."
            continue
        if wanted != email:
            yield "address-twin", f"{email} is the mailbox of {wanted}, and an account of its own."
