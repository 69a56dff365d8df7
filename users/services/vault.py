"""Secrets that must be read again (those of authenticator apps), encrypted at rest."""

from __future__ import annotations

import base64
from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from users.services import tokens


@cache
def _fernet(explicit: tuple[str, ...], secret: str, fallbacks: tuple[str, ...]) -> MultiFernet:
    values = explicit or (secret, *fallbacks)
    keys = [tokens.derive(value, "encryption") for value in values]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])


def _current() -> MultiFernet:
    """USERS_ENCRYPTION_KEYS, else keys derived from USERS_TOKEN_SECRET: the first writes, all read."""
    return _fernet(
        tuple(settings.USERS_ENCRYPTION_KEYS),
        settings.USERS_TOKEN_SECRET,
        tuple(settings.USERS_TOKEN_SECRET_FALLBACKS),
    )


def seal(value: str) -> str:
    """Encrypted with the first key (Fernet: AES-128-CBC with HMAC-SHA256)."""
    return _current().encrypt(value.encode()).decode()


def unseal(sealed: str) -> str | None:
    """The value; None when none of the keys reads it."""
    try:
        return _current().decrypt(sealed.encode()).decode()
    except (InvalidToken, ValueError):
        return None


def reseal(sealed: str) -> str | None:
    """The same value under the first key; None when none of the keys reads it."""
    try:
        return _current().rotate(sealed.encode()).decode()
    except (InvalidToken, ValueError):
        return None
