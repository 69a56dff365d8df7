"""Secrets that must be read again (those of authenticator apps), encrypted at rest."""

from __future__ import annotations

import base64
from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from users.models import MfaDevice
from users.services import tokens


@cache
def _fernet(explicit: tuple[str, ...], secret: str, fallbacks: tuple[str, ...]) -> MultiFernet:
    values = explicit or (secret, *fallbacks)
    keys = [tokens.derive(value, "encryption") for value in values]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])


def _current() -> MultiFernet:
    """USERS_ENCRYPTION_KEYS, else keys derived from USERS_TOKEN_SECRET: the first writes, all read."""
    return _fernet(
        tuple(settings.USERS_ENCRYPTION_KEYS), settings.USERS_TOKEN_SECRET, tuple(settings.USERS_TOKEN_SECRET_FALLBACKS)
    )


def encrypt(value: str) -> str:
    """Encrypted with the first key (Fernet: AES-128-CBC with HMAC-SHA256)."""
    return _current().encrypt(value.encode()).decode()


def decrypt(sealed: str) -> str | None:
    """The value; None when none of the keys reads it."""
    try:
        return _current().decrypt(sealed.encode()).decode()
    except (InvalidToken, ValueError):
        return None


def rotate(sealed: str) -> str | None:
    """The same value under the first key; None when none of the keys reads it."""
    try:
        return _current().rotate(sealed.encode()).decode()
    except (InvalidToken, ValueError):
        return None


def rotate_all(*, dry_run: bool = False) -> dict[str, int]:
    """Encrypt the secrets of authenticator apps with the first key: `{"resealed", "unreadable"}`."""
    counts = {"resealed": 0, "unreadable": 0}
    for device in MfaDevice.objects.exclude(secret="").only("pk", "secret").iterator():
        rotated = rotate(device.secret)
        counts["unreadable" if rotated is None else "resealed"] += 1
        if rotated is not None and not dry_run:
            # Only over the value that was read: an app set up meanwhile has its own.
            MfaDevice.objects.filter(pk=device.pk, secret=device.secret).update(secret=rotated)
    return counts
