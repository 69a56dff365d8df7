"""Signing in: the password, then a code; for those who have no factor yet, setting one up; later, a fresh proof."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import LoginView, redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from lib.actors import Actor
from lib.errors import ProductError
from users.models import OneTimeToken, User
from users.services import factors, sessions
from users.staff_site import gate, waiting
from users.staff_site.forms import AppCodeForm, CodeForm, ProofForm, method_of
from users.staff_site.pages import THEN, next_url, page, to_start, with_next

if TYPE_CHECKING:
    from users.staff_site.site import StaffSite


def passkey_url(name: str, wanted: str, user: User | None = None) -> str:
    """Where a passkey is sent to; empty where none can be used, or where `user` has none."""
    has_one = user is None or factors.WEBAUTHN in factors.methods(user)
    return with_next(name, wanted) if gate.offers_passkeys() and has_one else ""


# --- First step -------------------------------------------------------------------------------------------------------


class SignInView(LoginView):
    """The password. Django's sign-in follows at once only where nothing more has to be proved."""

    def form_valid(self, form: Any) -> HttpResponse:
        user: User = form.get_user()
        wanted = self.get_success_url()
        if settings.USERS_STAFF_MFA != "required" and waiting.sign_in_alone(self.request, user):
            return HttpResponseRedirect(wanted)
        waiting.begin(self.request, user)
        has_factor = factors.has_factor(user)
        return HttpResponseRedirect(with_next("admin:login_code" if has_factor else "admin:enrol_factor", wanted))


@never_cache
def sign_in(request: HttpRequest, *, site: StaffSite, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    if request.method == "GET" and site.has_permission(request):
        return HttpResponseRedirect(reverse("admin:index"))
    if request.method == "GET" and site.is_staff(request):
        return onward(request, next_url(request))
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": _("Log in"),
        "subtitle": None,
        "app_path": request.get_full_path(),
        "username": request.user.get_username(),
        "passkey_url": passkey_url("admin:login_passkey", next_url(request)),
        **(extra_context or {}),
    }
    if REDIRECT_FIELD_NAME not in request.GET and REDIRECT_FIELD_NAME not in request.POST:
        context.setdefault(REDIRECT_FIELD_NAME, reverse("admin:index"))
    request.current_app = site.name
    view = SignInView.as_view(
        extra_context=context, authentication_form=site.login_form, template_name="admin/login.html"
    )
    response = cast(HttpResponse, view(request))
    form = (getattr(response, "context_data", None) or {}).get("form")
    if wait := getattr(form, "retry_after", None):
        response["Retry-After"] = str(wait)
    return response


# --- Second step ------------------------------------------------------------------------------------------------------


@never_cache
def code(request: HttpRequest, *, site: StaffSite) -> HttpResponse:
    """A code of the app or a recovery code, for a half sign-in."""
    row = waiting.current(request)
    if row is None:
        return to_start(request)
    user = cast(User, row.user)
    if not factors.has_factor(user):
        return HttpResponseRedirect(with_next("admin:enrol_factor", next_url(request)))

    def check(given: str) -> bool:
        return waiting.finish_by_code(request, row, method=method_of(given), code=given)

    form = CodeForm(request.POST if request.method == "POST" else None, check=check)
    if form.is_valid():
        return HttpResponseRedirect(next_url(request))
    is_over = waiting.current(request) is None  # the code that starts a pause ends what was waiting for one
    return page(
        request,
        site,
        "code",
        _("Second factor"),
        form=form,
        is_over=is_over,
        email=user.email,
        passkey_url=passkey_url("admin:login_code_passkey", next_url(request), user),
    )


# --- The first factor -------------------------------------------------------------------------------------------------


def enrolling(request: HttpRequest, *, site: StaffSite) -> tuple[OneTimeToken | None, User] | HttpResponse:
    """Who may set a first factor up: by a half sign-in, or in a session that has proved too little. Else the way on."""
    row = waiting.current(request)
    user = row.user if row else request.user if site.is_staff(request) else None
    if not isinstance(user, User):
        return to_start(request)
    if factors.has_factor(user):
        return HttpResponseRedirect(with_next("admin:login_code" if row else "admin:second_factor", next_url(request)))
    if row is None and not gate.is_fresh(request):
        return site.ask_proof(request, back_url=with_next("admin:enrol_factor", next_url(request)))
    return row, user


@never_cache
def enrol(request: HttpRequest, *, site: StaffSite) -> HttpResponse:
    """Set a first factor up: an authenticator app here, a passkey by the address the page names."""
    found = enrolling(request, site=site)
    if isinstance(found, HttpResponse):
        return found
    row, user = found
    if row and "later" in request.POST and settings.USERS_STAFF_MFA != "required":
        return _without(request, row)
    keep = None if row else user.session_id
    # Looked up before the code is checked: it is what a wrong code shows again.
    enrolment = waiting.new_app(request, user)
    form = AppCodeForm(
        request.POST if request.method == "POST" else None,
        check=lambda given: waiting.confirm_app(request, user, code=given, keep=keep, is_first=True),
    )
    if form.is_valid():
        has_enrolled(request, row, user, amr="otp")
        return recovery_codes(request, site, codes=form.answer, back_url=next_url(request))
    may_wait = row is not None and settings.USERS_STAFF_MFA != "required"
    title = _("Set up a second factor")
    url = passkey_url("admin:enrol_passkey", next_url(request))
    return app_page(request, site, form, enrolment, title=title, may_wait=may_wait, is_first=True, passkey_url=url)


def app_page(
    request: HttpRequest, site: StaffSite, form: AppCodeForm, app: factors.Enrolment, **more: Any
) -> HttpResponse:
    """The QR code, the same secret in groups for those who type it, and the field for the first code."""
    groups = [app.secret[start : start + 4] for start in range(0, len(app.secret), 4)]
    return page(request, site, "app", form=form, svg=app.svg, groups=groups, email=app.device.user.email, **more)


def _without(request: HttpRequest, row: OneTimeToken) -> HttpResponse:
    try:
        waiting.finish(request, row, amr=("pwd",))
    except ProductError:
        return to_start(request)
    return HttpResponseRedirect(next_url(request))


def has_enrolled(request: HttpRequest, row: OneTimeToken | None, user: User, *, amr: str) -> None:
    """The first factor is in use, proved in the way `amr` names: sign in, or go on in the session there is."""
    if row:
        # Over in this very moment: the codes have to be shown all the same, and the way on leads to the start.
        with suppress(ProductError):
            waiting.finish(request, row, amr=("pwd", amr))
    elif user.session_id:
        sessions.note_proof(user.session_id, amr=(amr,), actor=Actor.of(request, "admin"))


def recovery_codes(request: HttpRequest, site: StaffSite, *, codes: list[str], back_url: str) -> HttpResponse:
    """The codes, this once; where there are none to show, straight on."""
    if not codes:
        return HttpResponseRedirect(back_url)
    return page(request, site, "recovery_codes", _("Recovery codes"), codes=codes, back_url=back_url)


# --- Once more --------------------------------------------------------------------------------------------------------


def onward(request: HttpRequest, wanted: str) -> HttpResponse:
    """Where a session has to go that has proved too little: to a code, or to a first factor."""
    user = cast(User, request.user)
    return HttpResponseRedirect(
        with_next("admin:reauthenticate" if factors.has_factor(user) else "admin:enrol_factor", wanted)
    )


@never_cache
@sensitive_post_parameters("password", "code")
def reauthenticate(request: HttpRequest, *, site: StaffSite) -> HttpResponse:
    """The password or a code, of whoever is signed in; then back to where it was asked for."""
    user = request.user
    if not isinstance(user, User) or not site.is_staff(request) or user.session_id is None:
        return redirect_to_login(next_url(request), reverse("admin:login"))
    has_factor = factors.has_factor(user)
    form = ProofForm(
        request.POST if request.method == "POST" else None,
        request=request,
        # What is missing then is the second factor: the password would lead back here.
        asks_password=gate.is_enough(request) or not has_factor,
        asks_code=has_factor,
    )
    if form.is_valid():
        return proved_again(request)
    url = passkey_url("admin:reauthenticate_passkey", next_url(request), user)
    return page(request, site, "reauthenticate", _("Is it you?"), form=form, email=user.email, passkey_url=url)


def proved_again(request: HttpRequest) -> HttpResponse:
    """Back to where the proof was asked for, with what is to be said there."""
    if then := request.session.pop(THEN, ""):
        messages.info(request, then)
    return HttpResponseRedirect(next_url(request))
