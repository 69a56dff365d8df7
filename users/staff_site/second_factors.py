"""Second factors of staff: setting up the first one while signing in, and the page for one's own later."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import cast

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from lib.actors import Actor
from lib.errors import ProductError
from users.models import OneTimeToken, User
from users.services import second_factors, sessions
from users.staff_site import access, pending_sign_in
from users.staff_site.forms import AppCodeForm
from users.staff_site.pages import (
    ask_proof,
    new_app,
    next_url,
    page,
    passkey_url,
    recovery_codes,
    to_sign_in,
    with_next,
)

# --- The first factor -------------------------------------------------------------------------------------------------


def enrolling(request: HttpRequest) -> tuple[OneTimeToken | None, User] | HttpResponse:
    """Who may set a first factor up: by a pending sign-in, or in a session that has proved too little."""
    row = pending_sign_in.current(request)
    user = row.user if row else request.user if access.is_staff(request) else None
    if not isinstance(user, User):
        return to_sign_in(request)
    if second_factors.has_factor(user):
        return HttpResponseRedirect(with_next("admin:login_code" if row else "admin:second_factor", next_url(request)))
    if row is None and not access.is_fresh(request):
        return ask_proof(request, back_url=with_next("admin:enrol_factor", next_url(request)))
    return row, user


@never_cache
def enrol(request: HttpRequest) -> HttpResponse:
    """Set a first factor up: an authenticator app here, a passkey by the address the page names."""
    found = enrolling(request)
    if isinstance(found, HttpResponse):
        return found
    row, user = found
    if row and "later" in request.POST and settings.USERS_STAFF_MFA != "required":
        try:
            pending_sign_in.finish(request, row, amr=("pwd",))
        except ProductError:
            return to_sign_in(request)
        return HttpResponseRedirect(next_url(request))
    keep = None if row else user.session_id
    # Looked up before the code is checked: it is what a wrong code shows again.
    enrolment = pending_sign_in.new_app(request, user)
    form = AppCodeForm(
        request.POST if request.method == "POST" else None,
        check=lambda given: pending_sign_in.confirm_app(request, user, code=given, keep=keep, is_first=True),
    )
    if form.is_valid():
        has_enrolled(request, row, user, amr="otp")
        return recovery_codes(request, codes=form.answer, back_url=next_url(request))
    may_wait = row is not None and settings.USERS_STAFF_MFA != "required"
    title = _("Set up a second factor")
    url = passkey_url("admin:enrol_passkey", next_url(request))
    return new_app(request, enrolment, form=form, title=title, may_wait=may_wait, is_first=True, passkey_url=url)


def has_enrolled(request: HttpRequest, row: OneTimeToken | None, user: User, *, amr: str) -> None:
    """The first factor is in use, proved in the way `amr` names: sign in, or go on in the session there is."""
    if row:
        # Over in this very moment: the codes have to be shown all the same, and the way on leads to the start.
        with suppress(ProductError):
            pending_sign_in.finish(request, row, amr=("pwd", amr))
    elif user.session_id:
        sessions.note_proof(user.session_id, amr=(amr,), actor=Actor.of(request, "admin"))


# --- The page for one's own factors; site.py asks for a fresh proof ---------------------------------------------------


def overview(request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    devices, codes_left = second_factors.overview(user)
    return page(
        request,
        "second_factor",
        _("Second factor"),
        devices=devices,
        codes_left=codes_left,
        passkey_url=passkey_url("admin:second_factor_passkey", reverse("admin:second_factor")),
    )


def add_app(request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    try:
        enrolment = pending_sign_in.new_app(request, user)
    except ProductError as error:
        return _back(request, error)
    form = AppCodeForm(
        request.POST if request.method == "POST" else None,
        check=lambda given: pending_sign_in.confirm_app(request, user, code=given, keep=user.session_id),
    )
    if form.is_valid():
        if user.session_id:
            sessions.note_proof(user.session_id, amr=("otp",), actor=Actor.of(request, "admin"))
        messages.success(request, _("The authenticator app is set up."))
        return recovery_codes(request, codes=form.answer, back_url=reverse("admin:second_factor"))
    return new_app(request, enrolment, form=form, title=_("Add an authenticator app"))


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
