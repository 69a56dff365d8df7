"""The second step of a sign-in: what a right password hands out instead of tokens, and what redeems it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, cast

from django.db import transaction
from django.utils import timezone

from lib.actors import Actor
from lib.errors import ProductError
from users.models import MfaDevice, OneTimeToken, User
from users.services import audit, one_time_tokens, passkeys, rate_limits, second_factors, sessions, tokens

T = TypeVar("T")

_MFA_LOGIN = OneTimeToken.Purpose.MFA_LOGIN
LIFETIME = timedelta(minutes=5)


def start(user: User, actor: Actor, *, lifetime: timedelta = LIFETIME) -> OneTimeToken:
    """Remember that the password of this person was right; a new password makes it void."""
    password = tokens.fingerprint(user.password)
    row = one_time_tokens.issue(user, _MFA_LOGIN, email=user.email, lasts=lifetime, password=password)
    audit.record("login.factor_required", actor=actor, user=user)
    return row


def ask(user: User, actor: Actor) -> ProductError:
    """LOGIN_MFA_REQUIRED (403) with `mfa_token`, good for five minutes, and `methods`."""
    row = start(user, actor)
    return ProductError(
        "LOGIN_MFA_REQUIRED",
        "A second factor is needed.",
        status=403,
        extra={"mfa_token": tokens.one_time_token(row), "methods": second_factors.methods(user)},
    )


def find(token: str) -> OneTimeToken:
    """The open sign-in a token stands for, still unspent; MFA_BAD_CODE (slug `mfa_token_invalid`) otherwise."""
    row = one_time_tokens.find(token, _MFA_LOGIN)
    if row is None:
        raise _expired()
    return row


def find_by_id(row_id: uuid.UUID) -> OneTimeToken | None:
    """The open sign-in of this id, for a door that kept the id itself; None when its person may not go on."""
    found = OneTimeToken.open(timezone.now()).filter(pk=row_id, purpose=_MFA_LOGIN)
    row = found.select_related("user").first()
    return row if row and _is_unchanged(row, cast(User, row.user)) else None


def _is_unchanged(row: OneTimeToken, user: User) -> bool:
    return user.is_active and tokens.is_fingerprint(row.payload["password"], user.password)


def verify(*, token: str, method: str, code: str, actor: Actor) -> sessions.Opened:
    """Finish a sign-in with a code of `method` (`totp`, `recovery`); MFA_BAD_CODE. Call it outside a transaction."""
    row = find(token)
    return prove(row, method=method, code=code, actor=actor, then=partial(complete, row, actor=actor))


def prove(row: OneTimeToken, *, method: str, code: str, actor: Actor, then: Callable[..., T]) -> T:
    """`then(amr=...)`, when the code is right; MFA_BAD_CODE. Call it outside a transaction.

    The code and what waited for it are spent together: neither is lost to a parallel try with the same.
    """
    user = cast(User, row.user)
    counted = second_factors.count_try(user)
    with transaction.atomic():
        is_right = second_factors.spend(user, method=method, code=code, actor=actor)
        result = then(amr=("pwd", second_factors.AMR[method])) if is_right else None
    if result is None:
        raise second_factors.bad_code(user, counted, method=method, actor=actor)
    rate_limits.forget(rate_limits.FACTOR.of(user.email))
    return result


def verify_passkey(*, token: str, ceremony: str, credential: Any, actor: Actor) -> sessions.Opened:
    """Finish a sign-in with a passkey; MFA_BAD_CODE, PASSKEY_REJECTED."""
    row = find(token)
    device = passkeys.check(ceremony=ceremony, credential=credential, actor=actor, user=row.user)
    return complete(row, amr=("pwd", second_factors.AMR[second_factors.WEBAUTHN]), actor=actor, passkey=device)


@transaction.atomic
def complete(
    row: OneTimeToken, *, amr: tuple[str, ...], actor: Actor, passkey: MfaDevice | None = None
) -> sessions.Opened:
    """Spend the waiting sign-in, whose second factor is proved, and open the session; MFA_BAD_CODE."""
    return sessions.opened(spend(row, passkey=passkey), actor, timezone.now(), amr=amr)


def spend(row: OneTimeToken, *, passkey: MfaDevice | None = None) -> User:
    """Spend the waiting sign-in; return its person, locked. Call it in a transaction.

    MFA_BAD_CODE when it is over; PASSKEY_REJECTED when the `passkey` that was its second step is removed by now.
    """
    user = User.objects.select_for_update(of=("self",)).get(one_time_tokens=row)
    if passkey is not None:
        passkeys.require_kept(passkey)
    if not _is_unchanged(row, user) or not one_time_tokens.use_up(row):
        raise _expired()
    return user


def _expired() -> ProductError:
    message = "The sign-in has expired; start again with the password."
    return ProductError("MFA_BAD_CODE", message, slug="mfa_token_invalid")
