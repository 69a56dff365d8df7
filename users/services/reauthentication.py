"""A signed-in user authenticates again before a sensitive change: by password, code or passkey."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from lib.actors import Actor
from lib.errors import ProductError
from users.models import User
from users.services import hashing, passkeys, second_factors, sessions, sign_in


def begin(user: User, *, actor: Actor) -> sign_in.Attempt:
    """Count a try at the own password like one at sign-in: compare with `encoded`, then call `check`.

    Raises PASSWORD_WRONG (slug `login_paused`, Retry-After) during a pause; TOO_MANY_REQUESTS (429).
    """
    try:
        return sign_in.begin(email=user.email, actor=actor)
    except sign_in.Paused as pause:
        raise ProductError("PASSWORD_WRONG", pause.message, slug=pause.slug, retry_after=pause.retry_after) from None


def check(user: User, attempt: sign_in.Attempt, checked: hashing.Checked, *, why: str) -> None:
    """Note what the comparison with the own password came to; `why` is the audit log's reason for a wrong one.

    Raises PASSWORD_WRONG.
    """
    if attempt.user is None or attempt.user.pk != user.pk or not checked.is_right:
        sign_in.note_failure(attempt, why=why)
        raise wrong()
    sign_in.note_success(attempt)


def by_password(user: User, attempt: sign_in.Attempt, checked: hashing.Checked) -> datetime:
    """The proof from a comparison: when it was given; PASSWORD_WRONG."""
    check(user, attempt, checked, why="wrong_at_reauthentication")
    return _note(user, ("pwd",), attempt.actor)


def wrong() -> ProductError:
    return ProductError("PASSWORD_WRONG", "The password is wrong.")


def by_code(user: User, *, code: str, actor: Actor) -> datetime:
    """The proof from a code of the app (digits) or a recovery code, which is spent; MFA_BAD_CODE."""
    method = second_factors.TOTP if "".join(code.split()).isdigit() else second_factors.RECOVERY
    amr = second_factors.check_code(user, method=method, code=code, actor=actor)
    return _note(user, (amr,), actor)


def by_passkey(user: User, *, ceremony: str, credential: Any, actor: Actor) -> datetime:
    """The proof from a passkey of the person's; PASSKEY_REJECTED."""
    passkeys.check(ceremony=ceremony, credential=credential, actor=actor, user=user)
    return _note(user, (second_factors.AMR[second_factors.WEBAUTHN],), actor)


def _note(user: User, amr: Sequence[str], actor: Actor) -> datetime:
    if user.session_id is None:
        raise ValueError("a proof belongs to a session")
    return sessions.note_proof(user.session_id, amr=amr, actor=actor)
