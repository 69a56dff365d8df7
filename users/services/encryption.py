"""Secrets that must be read again (those of authenticator apps), encrypted at rest."""

import base64
from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from users.models import MfaDevice
from users.services import tokens


@cache
def _fernet(secrets: tuple[str, ...]) -> MultiFernet:
    keys = [tokens.derive(value, "encryption") for value in secrets]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])


def _current() -> MultiFernet:
    """USERS_ENCRYPTION_KEYS, else keys derived from USERS_TOKEN_SECRET: the first writes, all read."""
    derived = (settings.USERS_TOKEN_SECRET, *settings.USERS_TOKEN_SECRET_FALLBACKS)
    return _fernet(tuple(settings.USERS_ENCRYPTION_KEYS) or derived)


def encrypt(value: str) -> str:
    """Encrypted with the first key (Fernet: AES-128-CBC with HMAC-SHA256)."""
    return _current().encrypt(value.encode()).decode()


def decrypt(sealed: str) -> str | None:
    """The value; None when none of the keys reads it."""
    try:
        return _current().decrypt(sealed.encode()).decode()
    except (InvalidToken, ValueError):
        return None


def rotate_all(*, dry_run: bool = False) -> dict[str, int]:
    """Encrypt the secrets of authenticator apps with the first key: `{"resealed", "unreadable"}`."""
    counts = {"resealed": 0, "unreadable": 0}
    for device in MfaDevice.objects.exclude(secret="").only("pk", "secret").iterator():
        try:
            rotated = _current().rotate(device.secret.encode()).decode()
        except (InvalidToken, ValueError):
            counts["unreadable"] += 1
            continue
        counts["resealed"] += 1
        if not dry_run:
            # Only over the value that was read: an app set up meanwhile has its own.
            MfaDevice.objects.filter(pk=device.pk, secret=device.secret).update(secret=rotated)
    return counts
