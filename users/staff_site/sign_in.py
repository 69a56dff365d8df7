"""Signing in to the admin: the password, then a code; later, a fresh proof; and choosing a password.

While the second factor is still to come, the browser's Django session holds the id of a OneTimeToken and nothing else;
the row dies with its time, a new password, a deactivation and a pause after wrong codes.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

from django.conf import settings
from django.contrib import admin
from django.contrib.auth import REDIRECT_FIELD_NAME, login, update_session_auth_hash
from django.contrib.auth.views import LoginView, PasswordChangeView, redirect_to_login
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse, reverse_lazy
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from lib.actors import Actor
from lib.errors import ProductError
from users.models import MfaDevice, OneTimeToken, User
from users.services import hashing, passwords, second_factors, sign_in
from users.staff_site import carried, pages
from users.staff_site.forms import ChangePasswordForm, ChoosePasswordForm, CodeForm, ProofForm, SignInForm, method_of
from users.staff_site.pages import next_url, page, passkey_url, read_id, to_sign_in, with_next

#: What the Django session keeps: the pending sign-in, the app being set up, the invitation that was opened.
_PENDING, NEW_APP, _INVITATION = "users.half_signed_in", "users.new_app", "users.enrol"
#: Time to install an app, for those who have no factor yet; a code is typed in `sign_in.PENDING_LIFETIME`.
ENROL_LIFETIME = timedelta(minutes=15)


def start(request: HttpRequest, user: User) -> None:
    """Remember that the password of this user was right."""
    lifetime = sign_in.PENDING_LIFETIME if second_factors.has_factor(user) else ENROL_LIFETIME
    row = sign_in.start_pending(user, Actor.anonymous(request, "admin"), lifetime=lifetime)
    # A session key planted in this browser is left with an empty session.
    request.session.cycle_key()
    request.session.pop(NEW_APP, None)
    request.session[_PENDING] = row.pk.hex


def current(request: HttpRequest) -> OneTimeToken | None:
    """The pending sign-in of this browser, while it is good; its `user` is loaded."""
    row = sign_in.find_pending_by_id(read_id(request, _PENDING))
    return row if row and row.user and row.user.is_staff else None


def finish(request: HttpRequest, row: OneTimeToken, *, amr: Sequence[str], passkey: MfaDevice | None = None) -> None:
    """Spend the pending sign-in and sign its user in; MFA_BAD_CODE when it is over, PASSKEY_REJECTED, MFA_REQUIRED."""
    with transaction.atomic():
        user = sign_in.spend_pending(row, passkey=passkey)
        # Adding a factor locks the user, too: it is there by now, or will end the session that opens here.
        if set(amr) == {"pwd"} and second_factors.has_factor(user):
            raise ProductError("MFA_REQUIRED", str(_("There is a second factor by now: sign in with it.")))
        request.session.pop(_PENDING, None)
        request.session.pop(NEW_APP, None)
        log_in(request, user, amr=amr)


def log_in(request: HttpRequest, user: User, *, amr: Sequence[str]) -> None:
    """Django's sign-in; the UserSession that it opens keeps what was proved."""
    request.proved = tuple(amr)  # type: ignore[attr-defined]
    login(request, user)


class SignInView(LoginView):
    """The password. Django's sign-in follows at once only where nothing more has to be proved."""

    def form_valid(self, form: Any) -> HttpResponse:
        user: User = form.get_user()
        wanted = self.get_success_url()
        if settings.USERS_STAFF_MFA != "required":
            as_compared = User.objects.select_for_update().filter(pk=user.pk, password=user.password)
            with transaction.atomic():
                # As in `finish`: neither a change of the account nor a factor that comes meanwhile is outrun.
                is_fit = as_compared.filter(is_active=True, is_staff=True).first() is not None
                if is_fit and not second_factors.has_factor(user):
                    log_in(self.request, user, amr=("pwd",))
                    return HttpResponseRedirect(wanted)
        start(self.request, user)
        has_factor = second_factors.has_factor(user)
        return HttpResponseRedirect(with_next("admin:login_code" if has_factor else "admin:enrol_factor", wanted))


@never_cache
def by_password(request: HttpRequest, *, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    if request.method == "GET" and pages.is_staff(request):
        if pages.is_enough(request):
            return HttpResponseRedirect(reverse("admin:index"))
        return pages.to_missing_factor(request, next_url(request))
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": _("Log in"),
        "subtitle": None,
        "app_path": request.get_full_path(),
        "username": request.user.get_username(),
        "passkey_url": passkey_url("admin:login_passkey", next_url(request)),
        **(extra_context or {}),
    }
    if REDIRECT_FIELD_NAME not in request.GET and REDIRECT_FIELD_NAME not in request.POST:
        context.setdefault(REDIRECT_FIELD_NAME, reverse("admin:index"))
    request.current_app = admin.site.name
    view = SignInView.as_view(extra_context=context, authentication_form=SignInForm, template_name="admin/login.html")
    response = cast(HttpResponse, view(request))
    form = (getattr(response, "context_data", None) or {}).get("form")
    if wait := getattr(form, "retry_after", None):
        response["Retry-After"] = str(wait)
    return response


@never_cache
def by_code(request: HttpRequest) -> HttpResponse:
    """A code of the app or a recovery code, for a pending sign-in."""
    row = current(request)
    if row is None:
        return to_sign_in(request)
    user = cast(User, row.user)
    if not second_factors.has_factor(user):
        return HttpResponseRedirect(with_next("admin:enrol_factor", next_url(request)))

    def then(amr: Sequence[str]) -> bool:
        finish(request, row, amr=amr)
        return True

    def check(given: str) -> bool:
        actor = Actor.anonymous(request, "admin")
        return sign_in.prove(row, method=method_of(given), code=given, actor=actor, then=then)

    form = CodeForm(request.POST if request.method == "POST" else None, check=check)
    if form.is_valid():
        return HttpResponseRedirect(next_url(request))
    is_over = current(request) is None  # the code that starts a pause ends what was waiting for one
    url = passkey_url("admin:login_code_passkey", next_url(request), user)
    return page(request, "code", _("Second factor"), form=form, is_over=is_over, email=user.email, passkey_url=url)


@never_cache
@sensitive_post_parameters("password", "code")
def reauthenticate(request: HttpRequest) -> HttpResponse:
    """The password or a code of the signed-in user; then back to where it was asked for."""
    user = request.user
    if not isinstance(user, User) or not pages.is_staff(request) or user.session_id is None:
        return redirect_to_login(next_url(request), reverse("admin:login"))
    has_factor = second_factors.has_factor(user)
    form = ProofForm(
        request.POST if request.method == "POST" else None,
        request=request,
        # What is missing then is the second factor: the password would lead back here.
        asks_password=pages.is_enough(request) or not has_factor,
        asks_code=has_factor,
    )
    if form.is_valid():
        return HttpResponseRedirect(next_url(request))
    url = passkey_url("admin:reauthenticate_passkey", next_url(request), user)
    return page(
        request,
        "reauthenticate",
        _("Is it you?"),
        form=form,
        email=user.email,
        passkey_url=url,
        action=carried.text(request),
    )


# --- Passwords: changing one's own, choosing a first one by the link that `create_admin` prints -----------------------


class ChangePasswordView(PasswordChangeView):
    form_class = ChangePasswordForm
    success_url = reverse_lazy("admin:password_change_done")

    def get_form(self, form_class: Any = None) -> Any:
        form = super().get_form(form_class)
        form.request = self.request  # type: ignore[attr-defined]
        return form

    def form_valid(self, form: Any) -> HttpResponse:
        try:
            encoded = hashing.make(form.cleaned_data["new_password1"])
        except ProductError as error:
            form.add_error(None, error.message)
            return self.form_invalid(form)
        actor, keep = Actor.of(self.request, "admin"), form.user.session_id
        if user := passwords.change(form.user, password_hash=encoded, actor=actor, keep=keep):
            # Django's session knows the old hash; the UserSession goes on.
            update_session_auth_hash(self.request, user)
        return HttpResponseRedirect(self.get_success_url())


@never_cache
def open_invitation(request: HttpRequest, *, token: str) -> HttpResponse:
    """The link leads at once to an address without its token, which no Referer and no history can give away."""
    try:
        row = passwords.check_invitation(token)
    except ProductError as error:
        return _over(request, error.message)
    request.session.cycle_key()
    request.session[_INVITATION] = row.pk.hex
    return HttpResponseRedirect(reverse("admin:enrol_password"))


@never_cache
@sensitive_post_parameters("password", "again")
def choose_password(request: HttpRequest) -> HttpResponse:
    """Choose the password; the second factor follows as in any sign-in."""
    row = passwords.find_invitation(read_id(request, _INVITATION))
    if row is None:
        return _over(request, _("The link is wrong, has been used or has expired."))
    form = ChoosePasswordForm(request.POST if request.method == "POST" else None, user=cast(User, row.user))
    if form.is_valid():
        try:
            encoded = hashing.make(form.cleaned_data["password"])
            user = passwords.redeem_invitation(row, password_hash=encoded, actor=Actor.of(request, "admin"))
        except ProductError as error:
            if error.code != "BUSY":
                return _over(request, error.message)
            form.retry_after = error.retry_after
            form.add_error(None, error.message)
        else:
            request.session.pop(_INVITATION, None)
            start(request, user)
            has_factor = second_factors.has_factor(user)
            return HttpResponseRedirect(reverse("admin:login_code" if has_factor else "admin:enrol_factor"))
    return page(request, "password", _("Choose a password"), form=form, email=row.email)


def _over(request: HttpRequest, message: Any) -> HttpResponse:
    return page(request, "over", _("This link is over"), status=410, message=message)
