"""What the pages of the sign-in share: their frame, and the redirects between them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from users.models import User
from users.services import second_factors
from users.staff_site import access

#: Where the Django session keeps the message that is shown after a fresh proof.
AFTER_PROOF = "users.then"


def page(request: HttpRequest, template: str, title: Any, *, status: int = 200, **context: Any) -> TemplateResponse:
    """A page of `templates/admin/sign_in/`; a form that has to wait gets a Retry-After."""
    request.current_app = admin.site.name
    frame = {**admin.site.each_context(request), "title": title, "next": next_url(request)}
    response = TemplateResponse(request, f"admin/sign_in/{template}.html", {**frame, **context}, status=status)
    if seconds := getattr(context.get("form"), "retry_after", None):
        response["Retry-After"] = str(seconds)
    return response


def recovery_codes(request: HttpRequest, *, codes: list[str], back_url: str) -> HttpResponse:
    """The codes, this once; where there are none to show, straight on."""
    if not codes:
        return HttpResponseRedirect(back_url)
    return page(request, "recovery_codes", _("Recovery codes"), codes=codes, back_url=back_url)


def new_app(request: HttpRequest, app: second_factors.Enrolment, **context: Any) -> HttpResponse:
    """The QR code, the same secret in groups for those who type it, and the field for the first code."""
    groups = [app.secret[start : start + 4] for start in range(0, len(app.secret), 4)]
    return page(request, "app", svg=app.svg, groups=groups, email=app.device.user.email, **context)


# --- Where to go ------------------------------------------------------------------------------------------------------


def next_url(request: HttpRequest) -> str:
    """Where the user wanted to go; the overview when that is another site."""
    wanted = request.GET.get(REDIRECT_FIELD_NAME, "")
    is_ours = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if is_ours else reverse("admin:index")


def with_next(name: str, wanted: str) -> str:
    return f"{reverse(name)}?{urlencode({REDIRECT_FIELD_NAME: wanted})}"


def passkey_url(name: str, wanted: str, user: User | None = None) -> str:
    """Where a passkey is sent to; empty where none can be used, or where `user` has none."""
    has_one = user is None or second_factors.WEBAUTHN in second_factors.methods(user)
    return with_next(name, wanted) if access.offers_passkeys() and has_one else ""


def to_sign_in(request: HttpRequest) -> HttpResponse:
    """Back to the password: the pending sign-in is over, or there was none."""
    messages.error(request, _("The sign-in has expired. Start again with your password."))
    return HttpResponseRedirect(with_next("admin:login", next_url(request)))


def to_missing_factor(request: HttpRequest, wanted: str) -> HttpResponse:
    """Where a session has to go that has proved too little: to a code, or to a first factor."""
    has_factor = isinstance(request.user, User) and second_factors.has_factor(request.user)
    return HttpResponseRedirect(with_next("admin:reauthenticate" if has_factor else "admin:enrol_factor", wanted))


def ask_proof(request: HttpRequest, *, back_url: str, then: str = "") -> HttpResponse:
    """To the page that asks for a fresh proof, and from there back; `then` is shown after that."""
    if then:
        request.session[AFTER_PROOF] = then
    messages.info(request, _("This is a sensitive change: prove once more that it is you."))
    return HttpResponseRedirect(with_next("admin:reauthenticate", back_url))


def after_proof(request: HttpRequest) -> HttpResponse:
    """Back to where the proof was asked for, with the message kept for it."""
    if then := request.session.pop(AFTER_PROOF, ""):
        messages.info(request, then)
    return HttpResponseRedirect(next_url(request))
