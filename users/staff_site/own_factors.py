"""The page on which staff look after their own second factors. Everything here asks for a fresh proof (site.py)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.errors import ProductError
from users.models import User
from users.services import factors, sessions
from users.staff_site import signing_in, waiting
from users.staff_site.forms import AppCodeForm
from users.staff_site.pages import page

if TYPE_CHECKING:
    from users.staff_site.site import StaffSite


def overview(request: HttpRequest, *, site: StaffSite) -> HttpResponse:
    user = cast(User, request.user)
    devices, codes_left = factors.overview(user)
    return page(
        request,
        site,
        "second_factor",
        _("Second factor"),
        devices=devices,
        codes_left=codes_left,
        passkey_url=signing_in.passkey_url("admin:second_factor_passkey", reverse("admin:second_factor")),
    )


def add_app(request: HttpRequest, *, site: StaffSite) -> HttpResponse:
    user = cast(User, request.user)
    try:
        enrolment = waiting.new_app(request, user)
    except ProductError as error:
        return _back(request, error)
    form = AppCodeForm(
        request.POST if request.method == "POST" else None,
        check=lambda given: waiting.confirm_app(request, user, code=given, keep=user.session_id),
    )
    if form.is_valid():
        if user.session_id:
            sessions.note_proof(user.session_id, amr=("otp",), actor=Actor.of(request, "admin"))
        messages.success(request, _("The authenticator app is set up."))
        return signing_in.recovery_codes(request, site, codes=form.answer, back_url=reverse("admin:second_factor"))
    return signing_in.app_page(request, site, form, enrolment, title=_("Add an authenticator app"))


def remove(request: HttpRequest, *, site: StaffSite, device_id: uuid.UUID) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    user = cast(User, request.user)
    try:
        factors.remove(user, device_id, actor=_oneself(request), keep=user.session_id)
    except ProductError as error:
        return _back(request, error)
    messages.success(request, _("The second factor is removed; you are signed out everywhere else."))
    return _back(request)


def new_codes(request: HttpRequest, *, site: StaffSite) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    user = cast(User, request.user)
    try:
        codes = factors.new_recovery_codes(user, actor=_oneself(request), keep=user.session_id)
    except ProductError as error:
        return _back(request, error)
    return signing_in.recovery_codes(request, site, codes=codes, back_url=reverse("admin:second_factor"))


def _oneself(request: HttpRequest) -> Actor:
    return Actor.of(request, "admin").as_user(cast(User, request.user))


def _back(request: HttpRequest, error: Any = None) -> HttpResponse:
    if error:
        messages.error(request, error.message)
    return HttpResponseRedirect(reverse("admin:second_factor"))
