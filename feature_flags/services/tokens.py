"""Tokens: the secret is shown once, the database holds its hash."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.db import transaction
from django.utils import timezone

from feature_flags.flag_document import InvalidFlag, Problem
from feature_flags.models import FlagRevision, FlagToken
from feature_flags.services import storage
from lib.actors import Actor
from lib.net import is_origin, spelled
from lib.text import is_storable

Action = FlagRevision.Action
_PREFIXES = {FlagToken.Kind.SERVER: "sbs_", FlagToken.Kind.FRONTEND: "sbf_"}


def secret_hash(secret: str) -> bytes:
    return sha256(secret.encode(errors="replace")).digest()


@transaction.atomic
def create_token(
    name: str,
    *,
    kind: str,
    actor: Actor,
    reason: str = "",
    allowed_origins: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> tuple[FlagToken, str]:
    """A new token and its secret, which is stored as a hash only.

    `allowed_origins` (`https://app.example.org`) limits browsers; empty allows any.

    Raises: FLAG_INVALID (400).
    """
    origins = [spelled(origin.strip()) for origin in allowed_origins]
    name = name.strip()
    problems = []
    if not name or len(name) > 100 or not is_storable(name):
        problems.append(Problem(("name",), "A name has 1 to 100 characters."))
    if kind not in FlagToken.Kind.values:
        problems.append(Problem(("kind",), "Choose server or frontend."))
    if bad := [origin for origin in origins if not is_origin(origin)]:
        problems.append(Problem(("allowed_origins",), f"“{bad[0]}” is no origin like https://app.example.org."))
    if expires_at is not None and expires_at <= timezone.now():
        problems.append(Problem(("expires_at",), "This time is over."))
    if problems:
        raise InvalidFlag(problems)
    secret = _PREFIXES[FlagToken.Kind(kind)] + secrets.token_urlsafe(32)
    token = FlagToken.objects.create(
        name=name,
        secret_hash=secret_hash(secret),
        prefix=secret[:8],
        kind=kind,
        allowed_origins=sorted(set(origins)),
        expires_at=expires_at,
        created_by=actor.label,
    )
    after = _document(token)
    storage.record([(token, Action.CREATE, dict.fromkeys(after), after)], actor=actor, reason=reason)
    storage.publish()
    return token, secret


@transaction.atomic
def revoke_token(token: FlagToken, *, actor: Actor, reason: str = "") -> bool:
    """End it, and the streams it has opened, for good; False when it was revoked already."""
    stored = FlagToken.objects.select_for_update().get(pk=token.pk)
    if stored.revoked_at:
        return False
    before = _document(stored)
    stored.revoked_at = timezone.now()
    stored.save(update_fields=["revoked_at"])
    storage.record([(stored, Action.REVOKE, before, _document(stored))], actor=actor, reason=reason)
    storage.publish()
    token.refresh_from_db()
    return True


def create_development_tokens() -> dict[str, str]:
    """A secret by kind, once: only where there is no token yet."""
    if FlagToken.objects.exists():
        return {}
    actor = Actor.command("migrate")
    return {str(kind): create_token("development", kind=kind, actor=actor)[1] for kind in FlagToken.Kind}


def _document(token: FlagToken) -> dict[str, Any]:
    return {
        "name": token.name,
        "prefix": token.prefix,
        "kind": str(token.kind),
        "allowed_origins": token.allowed_origins,
        "expires_at": token.expires_at.isoformat() if token.expires_at else None,
        "revoked_at": token.revoked_at.isoformat() if token.revoked_at else None,
    }
