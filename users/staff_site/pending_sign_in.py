"""A pending sign-in: the password was right, the second factor is still to come.

The browser's Django session holds the id of a OneTimeToken and nothing else; the row dies with its time, a new
password, a deactivation and a pause after wrong codes.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from django.contrib.auth import login
from django.db import transaction
from django.http import HttpRequest

from lib.actors import Actor
from lib.errors import ProductError
from users.models import MfaDevice, OneTimeToken, User
from users.services import pending_sign_in, second_factors

_PENDING, _APP = "users.half_signed_in", "users.new_app"
#: Time to install an app, for those who have no factor yet; a code is typed in `pending_sign_in.LIFETIME`.
ENROL_LIFETIME = timedelta(minutes=15)


def start(request: HttpRequest, user: User) -> None:
    """Remember that the password of this user was right."""
    lifetime = pending_sign_in.LIFETIME if second_factors.has_factor(user) else ENROL_LIFETIME
    row = pending_sign_in.start(user, Actor.anonymous(request, "admin"), lifetime=lifetime)
    # A session key planted in this browser is left with an empty session.
    request.session.cycle_key()
    request.session.pop(_APP, None)
    request.session[_PENDING] = row.pk.hex


def current(request: HttpRequest) -> OneTimeToken | None:
    """The pending sign-in of this browser, while it is good; its `user` is loaded."""
    row_id = read_id(request, _PENDING)
    row = pending_sign_in.find_by_id(row_id) if row_id else None
    return row if row and row.user and row.user.is_staff else None


def finish_by_code(request: HttpRequest, row: OneTimeToken, *, method: str, code: str) -> bool:
    """Spend code and pending sign-in together and sign the user in. MFA_BAD_CODE; a pause has a Retry-After."""
    actor = Actor.anonymous(request, "admin")

    def then(amr: Sequence[str]) -> bool:
        finish(request, row, amr=amr)
        return True

    return pending_sign_in.prove(row, method=method, code=code, actor=actor, then=then)


def finish(request: HttpRequest, row: OneTimeToken, *, amr: Sequence[str], passkey: MfaDevice | None = None) -> None:
    """Spend the pending sign-in and sign its user in; MFA_BAD_CODE when it is over, PASSKEY_REJECTED, MFA_REQUIRED."""
    with transaction.atomic():
        user = pending_sign_in.spend(row, passkey=passkey)
        # Adding a factor locks the user, too: it is there by now, or will end the session that opens here.
        if set(amr) == {"pwd"} and second_factors.has_factor(user):
            raise ProductError("MFA_REQUIRED", "There is a second factor by now: sign in with it.")
        request.session.pop(_PENDING, None)
        request.session.pop(_APP, None)
        sign_in(request, user, amr=amr)


def sign_in_by_password(request: HttpRequest, user: User) -> bool:
    """Sign in by the password alone; False when there is a factor, or the account has changed since the comparison."""
    as_compared = User.objects.select_for_update().filter(pk=user.pk, password=user.password)
    with transaction.atomic():
        # As in `finish`: no factor that comes meanwhile is outrun.
        if not as_compared.filter(is_active=True, is_staff=True).first() or second_factors.has_factor(user):
            return False
        sign_in(request, user, amr=("pwd",))
    return True


def sign_in(request: HttpRequest, user: User, *, amr: Sequence[str]) -> None:
    """Django's sign-in; the UserSession that it opens keeps what was proved."""
    request.proved = tuple(amr)  # type: ignore[attr-defined]
    login(request, user)


def new_app(request: HttpRequest, user: User) -> second_factors.Enrolment:
    """The authenticator app this browser is setting up, the same until it is confirmed.

    Never one begun elsewhere, where its secret is known. MFA_TOO_MANY.
    """
    own = MfaDevice.objects.filter(user=user, kind=second_factors.TOTP, confirmed_at=None).select_related("user")
    device_id = read_id(request, _APP)
    device = own.filter(pk=device_id).first() if device_id else None
    enrolment = second_factors.enrolment(device) if device else second_factors.start_totp(user)
    request.session[_APP] = enrolment.device.pk.hex
    return enrolment


def confirm_app(
    request: HttpRequest, user: User, *, code: str, keep: uuid.UUID | None, is_first: bool = False
) -> list[str]:
    """Take the app being set up into use; return recovery codes where there were none. Raises as `confirm_totp`."""
    actor = Actor.of(request, "admin").as_user(user)
    app_id = read_id(request, _APP)
    codes = second_factors.confirm_totp(user, code=code, device_id=app_id, actor=actor, keep=keep, is_first=is_first)
    request.session.pop(_APP, None)
    return codes


def read_id(request: HttpRequest, key: str) -> uuid.UUID | None:
    with suppress(ValueError):
        return uuid.UUID(request.session.get(key, ""))
    return None
