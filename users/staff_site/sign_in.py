"""Signing in to the admin: the password, then a code; later, a fresh proof."""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.contrib import admin
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import LoginView, redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from users.models import User
from users.services import second_factors
from users.staff_site import access, pending_sign_in
from users.staff_site.forms import CodeForm, ProofForm, SignInForm, method_of
from users.staff_site.pages import after_proof, next_url, page, passkey_url, to_missing_factor, to_sign_in, with_next

# --- First step -------------------------------------------------------------------------------------------------------


class SignInView(LoginView):
    """The password. Django's sign-in follows at once only where nothing more has to be proved."""

    def form_valid(self, form: Any) -> HttpResponse:
        user: User = form.get_user()
        wanted = self.get_success_url()
        if settings.USERS_STAFF_MFA != "required" and pending_sign_in.sign_in_by_password(self.request, user):
            return HttpResponseRedirect(wanted)
        pending_sign_in.start(self.request, user)
        has_factor = second_factors.has_factor(user)
        return HttpResponseRedirect(with_next("admin:login_code" if has_factor else "admin:enrol_factor", wanted))


@never_cache
def sign_in(request: HttpRequest, *, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    if request.method == "GET" and access.is_staff(request):
        if access.is_enough(request):
            return HttpResponseRedirect(reverse("admin:index"))
        return to_missing_factor(request, next_url(request))
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


# --- Second step ------------------------------------------------------------------------------------------------------


@never_cache
def code(request: HttpRequest) -> HttpResponse:
    """A code of the app or a recovery code, for a pending sign-in."""
    row = pending_sign_in.current(request)
    if row is None:
        return to_sign_in(request)
    user = cast(User, row.user)
    if not second_factors.has_factor(user):
        return HttpResponseRedirect(with_next("admin:enrol_factor", next_url(request)))

    def check(given: str) -> bool:
        return pending_sign_in.finish_by_code(request, row, method=method_of(given), code=given)

    form = CodeForm(request.POST if request.method == "POST" else None, check=check)
    if form.is_valid():
        return HttpResponseRedirect(next_url(request))
    is_over = pending_sign_in.current(request) is None  # the code that starts a pause ends what was waiting for one
    return page(
        request,
        "code",
        _("Second factor"),
        form=form,
        is_over=is_over,
        email=user.email,
        passkey_url=passkey_url("admin:login_code_passkey", next_url(request), user),
    )


# --- A fresh proof ----------------------------------------------------------------------------------------------------


@never_cache
@sensitive_post_parameters("password", "code")
def reauthenticate(request: HttpRequest) -> HttpResponse:
    """The password or a code of the signed-in user; then back to where it was asked for."""
    user = request.user
    if not isinstance(user, User) or not access.is_staff(request) or user.session_id is None:
        return redirect_to_login(next_url(request), reverse("admin:login"))
    has_factor = second_factors.has_factor(user)
    form = ProofForm(
        request.POST if request.method == "POST" else None,
        request=request,
        # What is missing then is the second factor: the password would lead back here.
        asks_password=access.is_enough(request) or not has_factor,
        asks_code=has_factor,
    )
    if form.is_valid():
        return after_proof(request)
    url = passkey_url("admin:reauthenticate_passkey", next_url(request), user)
    return page(request, "reauthenticate", _("Is it you?"), form=form, email=user.email, passkey_url=url)
