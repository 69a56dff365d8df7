"""Second factors of staff: the first one while signing in, the page for one's own later, and passkeys throughout."""

import json
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from lib.actors import Actor
from lib.errors import ProductError
from lib.text import is_storable
from users.models import FACTOR_NAME_MAX_LENGTH, MfaDevice, OneTimeToken, User
from users.services import passkeys, second_factors, sessions, sign_in
from users.staff_site import pages
from users.staff_site.forms import AppCodeForm
from users.staff_site.pages import next_url, page, passkey_url, read_id, recovery_codes, to_sign_in, with_next
from users.staff_site.sign_in import NEW_APP, current, finish, log_in

# --- The first factor -------------------------------------------------------------------------------------------------


def _enrolling(request: HttpRequest) -> tuple[OneTimeToken | None, User] | HttpResponse:
    """Who may set a first factor up: by a pending sign-in, or in a session that has proved too little."""
    row = current(request)
    user = row.user if row else request.user if pages.is_staff(request) else None
    if not isinstance(user, User):
        return to_sign_in(request)
    if second_factors.has_factor(user):
        return HttpResponseRedirect(with_next("admin:login_code" if row else "admin:second_factor", next_url(request)))
    if row is None and not pages.is_fresh(request):
        return pages.ask_proof(request, back_url=with_next("admin:enrol_factor", next_url(request)))
    return row, user


@never_cache
def enrol(request: HttpRequest) -> HttpResponse:
    """Set a first factor up: an authenticator app here, a passkey by the address the page names."""
    found = _enrolling(request)
    if isinstance(found, HttpResponse):
        return found
    row, user = found
    may_wait = row is not None and settings.USERS_STAFF_MFA != "required"
    if row and may_wait and "later" in request.POST:
        try:
            finish(request, row, amr=("pwd",))
        except ProductError:
            return to_sign_in(request)
        return HttpResponseRedirect(next_url(request))
    app, form = _new_app(request, user, keep=None if row else user.session_id, is_first=True)
    if form.is_valid():
        _has_enrolled(request, row, user, amr="otp")
        return recovery_codes(request, codes=form.answer, back_url=next_url(request))
    url = passkey_url("admin:enrol_passkey", next_url(request))
    title = _("Set up a second factor")
    return _app_page(request, app, title, form=form, may_wait=may_wait, is_first=True, passkey_url=url)


def _has_enrolled(request: HttpRequest, row: OneTimeToken | None, user: User, *, amr: str) -> None:
    """The first factor is in use, proved in the way `amr` names: sign in, or go on in the session there is."""
    if row:
        # Over in this very moment: the codes have to be shown all the same, and the way on leads to the start.
        with suppress(ProductError):
            finish(request, row, amr=("pwd", amr))
    elif user.session_id:
        sessions.note_proof(user, amr, actor=Actor.of(request, "admin"))


# --- An authenticator app being set up --------------------------------------------------------------------------------


def _new_app(
    request: HttpRequest, user: User, *, keep: uuid.UUID | None, is_first: bool = False
) -> tuple[second_factors.Enrolment, AppCodeForm]:
    """The app this browser is setting up, the same until it is confirmed, and the form that takes its first code.

    Never one begun elsewhere, where its secret is known. MFA_TOO_MANY.
    """
    own = MfaDevice.objects.filter(user=user, kind=second_factors.TOTP, confirmed_at=None).select_related("user")
    device = own.filter(pk__in=[read_id(request, NEW_APP)]).first()
    # Looked up before the code is checked: it is what a wrong code shows again.
    app = second_factors.enrolment(device) if device else second_factors.start_totp(user)
    app_id = app.device.pk
    request.session[NEW_APP] = app_id.hex

    def confirm(code: str) -> list[str]:
        actor = Actor.of(request, "admin").as_user(user)
        made = second_factors.confirm_totp(user, code=code, device_id=app_id, actor=actor, keep=keep, is_first=is_first)
        request.session.pop(NEW_APP, None)
        return made

    return app, AppCodeForm(request.POST if request.method == "POST" else None, check=confirm)


def _app_page(request: HttpRequest, app: second_factors.Enrolment, title: Any, **context: Any) -> HttpResponse:
    """The QR code, the same secret in groups for those who type it, and the field for the first code."""
    groups = [app.secret[start : start + 4] for start in range(0, len(app.secret), 4)]
    return page(request, "app", title, svg=app.svg, groups=groups, email=app.device.user.email, **context)


# --- The page for one's own factors; site.py asks for a fresh proof ---------------------------------------------------


def overview(request: HttpRequest) -> HttpResponse:
    devices, codes_left = second_factors.overview(cast(User, request.user))
    url = passkey_url("admin:second_factor_passkey", reverse("admin:second_factor"))
    title = _("Second factor")
    return page(request, "second_factor", title, devices=devices, codes_left=codes_left, passkey_url=url)


def add_app(request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    try:
        app, form = _new_app(request, user, keep=user.session_id)
    except ProductError as error:
        return _back(request, error)
    if form.is_valid():
        if user.session_id:
            sessions.note_proof(user, "otp", actor=Actor.of(request, "admin"))
        messages.success(request, _("The authenticator app is set up."))
        return recovery_codes(request, codes=form.answer, back_url=reverse("admin:second_factor"))
    return _app_page(request, app, _("Add an authenticator app"), form=form)


@require_POST
def remove(request: HttpRequest, *, device_id: uuid.UUID) -> HttpResponse:
    user = cast(User, request.user)
    try:
        second_factors.remove(user, device_id, actor=Actor.of(request, "admin"), keep=user.session_id)
    except ProductError as error:
        return _back(request, error)
    messages.success(request, _("The second factor is removed; you are signed out everywhere else."))
    return _back(request)


@require_POST
def new_codes(request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    try:
        codes = second_factors.new_recovery_codes(user, actor=Actor.of(request, "admin"), keep=user.session_id)
    except ProductError as error:
        return _back(request, error)
    return recovery_codes(request, codes=codes, back_url=reverse("admin:second_factor"))


def _back(request: HttpRequest, error: ProductError | None = None) -> HttpResponse:
    if error:
        messages.error(request, error.message)
    return HttpResponseRedirect(reverse("admin:second_factor"))


# --- Passkeys ---------------------------------------------------------------------------------------------------------

# Each address takes two POSTs: without a `credential` it answers the options of a ceremony, as JSON; with one it checks
# the authenticator's answer and leads on. Script: admin/passkeys.js.

Begin = Callable[[], passkeys.Ceremony]
#: Given the ceremony and the authenticator's answer.
Finish = Callable[[str, Any], HttpResponse]


@never_cache
def sign_in_by_passkey(request: HttpRequest) -> HttpResponse:
    """Sign in with a passkey and nothing else: it counts as both factors."""
    actor = Actor.anonymous(request, "admin")

    def begin() -> passkeys.Ceremony:
        passkeys.count_begin(actor)
        return passkeys.login_options()

    def then(ceremony: str, credential: Any) -> HttpResponse:
        device = passkeys.check(ceremony=ceremony, credential=credential, actor=actor)
        with transaction.atomic():
            # Asked again, and locked: neither a deactivation nor a removal since the check must be outrun.
            user = User.objects.select_for_update().filter(pk=device.user_id, is_active=True, is_staff=True).first()
            if user is None:
                raise ProductError(
                    "PASSKEY_REJECTED", str(_("This passkey does not belong to an active staff account."))
                )
            passkeys.require_kept(device)
            log_in(request, user, amr=("webauthn",))
        return HttpResponseRedirect(next_url(request))

    return _ceremony(request, begin, then, back="admin:login")


@never_cache
def second_step_by_passkey(request: HttpRequest) -> HttpResponse:
    row = current(request)
    if row is None:
        return to_sign_in(request)
    user = cast(User, row.user)

    def then(ceremony: str, credential: Any) -> HttpResponse:
        actor = Actor.anonymous(request, "admin")
        device = passkeys.check(ceremony=ceremony, credential=credential, actor=actor, user=user)
        finish(request, row, amr=("pwd", "webauthn"), passkey=device)
        return HttpResponseRedirect(next_url(request))

    return _ceremony(request, lambda: passkeys.login_options(user), then, back="admin:login_code")


@never_cache
def reauthenticate_by_passkey(request: HttpRequest) -> HttpResponse:
    user = request.user
    if not isinstance(user, User) or not pages.is_staff(request) or user.session_id is None:
        return to_sign_in(request)

    def then(ceremony: str, credential: Any) -> HttpResponse:
        actor = Actor.of(request, "admin")
        sign_in.reauthenticate_by_passkey(user, ceremony=ceremony, credential=credential, actor=actor)
        return HttpResponseRedirect(next_url(request))

    return _ceremony(request, lambda: passkeys.login_options(user), then, back="admin:reauthenticate")


@never_cache
def enrol_passkey(request: HttpRequest) -> HttpResponse:
    """A passkey as the first factor, for those the admin opens to by it."""
    found = _enrolling(request)
    if isinstance(found, HttpResponse):
        return found
    row, user = found

    def then(codes: list[str]) -> HttpResponse:
        _has_enrolled(request, row, user, amr="webauthn")
        return recovery_codes(request, codes=codes, back_url=next_url(request))

    keep = None if row else user.session_id
    return _register(request, user, then, keep=keep, is_first=True, back="admin:enrol_factor")


def add_passkey(request: HttpRequest) -> HttpResponse:
    """A new passkey of one's own."""
    user = cast(User, request.user)

    def then(codes: list[str]) -> HttpResponse:
        messages.success(request, _("The passkey is set up."))
        return recovery_codes(request, codes=codes, back_url=reverse("admin:second_factor"))

    return _register(request, user, then, keep=user.session_id, is_first=False, back="admin:second_factor")


def _register(
    request: HttpRequest,
    user: User,
    then: Callable[[list[str]], HttpResponse],
    *,
    keep: uuid.UUID | None,
    is_first: bool,
    back: str,
) -> HttpResponse:
    name = request.POST.get("name", "").strip()[:FACTOR_NAME_MAX_LENGTH]

    def begin() -> passkeys.Ceremony:
        return passkeys.registration_options(user, name=name if is_storable(name) else "")

    def register(ceremony: str, credential: Any) -> HttpResponse:
        actor = Actor.of(request, "admin").as_user(user)
        given: dict[str, Any] = {"ceremony": ceremony, "credential": credential}
        return then(passkeys.register(user, **given, actor=actor, keep=keep, is_first=is_first))

    return _ceremony(request, begin, register, back=back)


def _ceremony(request: HttpRequest, begin: Begin, then: Finish, *, back: str) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    given = request.POST.get("credential", "")
    try:
        if given:
            credential = None  # which no ceremony takes
            with suppress(ValueError, RecursionError):
                credential = json.loads(given)
            return then(request.POST.get("ceremony", ""), credential)
        ceremony, options = begin()
    except ProductError as error:
        if given:
            messages.error(request, error.message)
            return HttpResponseRedirect(with_next(back, next_url(request)))
        headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
        return JsonResponse({"message": error.message}, status=error.status, headers=headers)
    return JsonResponse({"ceremony": ceremony, "options": options})
