"""Secrets that must be read again, encrypted at rest: those of authenticator apps, and those that sign webhooks.

`cryptography`, 6 MiB of a process, is loaded by the first of them.
"""

from __future__ import annotations

import base64
import hmac
from functools import cache
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import Model

from lib import db

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet


@cache
def derive(secret: str, purpose: str) -> bytes:
    """32 bytes for one purpose: HKDF-SHA256 without a salt, whose output is one block (RFC 5869)."""
    extracted = hmac.digest(bytes(32), secret.encode(), "sha256")
    return hmac.digest(extracted, b"switchboard " + purpose.encode() + b"\x01", "sha256")


@cache
def _fernet(secrets: tuple[str, ...]) -> MultiFernet:
    from cryptography.fernet import Fernet, MultiFernet

    keys = [derive(value, "encryption") for value in secrets]
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
    from cryptography.fernet import InvalidToken

    try:
        return _current().decrypt(sealed.encode()).decode()
    except (InvalidToken, ValueError):
        return None


def rotate(model: type[Model], column: str, *, dry_run: bool = False) -> dict[str, int]:
    """Encrypt all values of a column with the first key: `{"resealed", "unreadable"}`."""
    from cryptography.fernet import InvalidToken

    counts = {"resealed": 0, "unreadable": 0}
    for pk, sealed in db.in_order(model._default_manager.exclude(**{column: ""}), "pk", column):
        try:
            rotated = _current().rotate(sealed.encode()).decode()
        except (InvalidToken, ValueError):
            counts["unreadable"] += 1
            continue
        counts["resealed"] += 1
        if not dry_run:
            # Only over the value that was read: what was set up meanwhile has its own.
            model._default_manager.filter(pk=pk, **{column: sealed}).update(**{column: rotated})
    return counts
