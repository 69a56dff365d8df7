"""Passkeys on the staff's site. Each address takes two POSTs: without a `credential` it answers the options of a
ceremony, as JSON; with one it checks the authenticator's answer and leads on. Script: admin/passkeys.js."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache

from lib.actors import Actor
from lib.errors import ProductError
from lib.text import is_storable
from users.models import User
from users.models.factors import FACTOR_NAME_MAX_LENGTH
from users.services import passkeys, reauthentication
from users.staff_site import access, pending_sign_in, second_factors
from users.staff_site.pages import after_proof, next_url, recovery_codes, to_sign_in, with_next

Begin = Callable[[], passkeys.Ceremony]
#: Given the ceremony and the authenticator's answer.
Finish = Callable[[str, Any], HttpResponse]


@never_cache
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in with a passkey and nothing else: it counts as both factors."""

    def begin() -> passkeys.Ceremony:
        passkeys.count_begin(Actor.anonymous(request, "admin"))
        return passkeys.login_options()

    def finish(ceremony: str, credential: Any) -> HttpResponse:
        device = passkeys.check(ceremony=ceremony, credential=credential, actor=Actor.anonymous(request, "admin"))
        with transaction.atomic():
            # Asked again, and locked: neither a deactivation nor a removal since the check must be outrun.
            user = User.objects.select_for_update().filter(pk=device.user_id, is_active=True, is_staff=True).first()
            if user is None:
                raise ProductError("PASSKEY_REJECTED", "This passkey does not belong to an active staff account.")
            passkeys.require_kept(device)
            pending_sign_in.sign_in(request, user, amr=("webauthn",))
        return HttpResponseRedirect(next_url(request))

    return _ceremony(request, begin, finish, back="admin:login")


@never_cache
def second_step(request: HttpRequest) -> HttpResponse:
    """A passkey as the second step."""
    row = pending_sign_in.current(request)
    if row is None:
        return to_sign_in(request)
    user = cast(User, row.user)

    def finish(ceremony: str, credential: Any) -> HttpResponse:
        actor = Actor.anonymous(request, "admin")
        device = passkeys.check(ceremony=ceremony, credential=credential, actor=actor, user=user)
        pending_sign_in.finish(request, row, amr=("pwd", "webauthn"), passkey=device)
        return HttpResponseRedirect(next_url(request))

    return _ceremony(request, lambda: passkeys.login_options(user), finish, back="admin:login_code")


@never_cache
def reauthenticate(request: HttpRequest) -> HttpResponse:
    """A passkey as the proof that it is still the same person."""
    user = request.user
    if not isinstance(user, User) or not access.is_staff(request) or user.session_id is None:
        return to_sign_in(request)

    def finish(ceremony: str, credential: Any) -> HttpResponse:
        actor = Actor.of(request, "admin")
        reauthentication.by_passkey(user, ceremony=ceremony, credential=credential, actor=actor)
        return after_proof(request)

    return _ceremony(request, lambda: passkeys.login_options(user), finish, back="admin:reauthenticate")


@never_cache
def first_factor(request: HttpRequest) -> HttpResponse:
    """A passkey as the first factor, for whom the admin opens by it."""
    found = second_factors.enrolling(request)
    if isinstance(found, HttpResponse):
        return found
    row, user = found
    keep = None if row else user.session_id

    def finish(ceremony: str, credential: Any) -> HttpResponse:
        actor = Actor.of(request, "admin").as_user(user)
        codes = passkeys.register(user, ceremony=ceremony, credential=credential, actor=actor, keep=keep, is_first=True)
        second_factors.has_enrolled(request, row, user, amr="webauthn")
        return recovery_codes(request, codes=codes, back_url=next_url(request))

    return _ceremony(request, _registration(request, user), finish, back="admin:enrol_factor")


def add(request: HttpRequest) -> HttpResponse:
    """A new passkey of one's own."""
    user = cast(User, request.user)

    def finish(ceremony: str, credential: Any) -> HttpResponse:
        actor = Actor.of(request, "admin").as_user(user)
        codes = passkeys.register(user, ceremony=ceremony, credential=credential, actor=actor, keep=user.session_id)
        messages.success(request, _("The passkey is set up."))
        return recovery_codes(request, codes=codes, back_url=reverse("admin:second_factor"))

    return _ceremony(request, _registration(request, user), finish, back="admin:second_factor")


def _registration(request: HttpRequest, user: User) -> Begin:
    name = request.POST.get("name", "").strip()[:FACTOR_NAME_MAX_LENGTH]
    return lambda: passkeys.registration_options(user, name=name if is_storable(name) else "")


def _ceremony(request: HttpRequest, begin: Begin, finish: Finish, *, back: str) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    given = request.POST.get("credential", "")
    try:
        if given:
            return finish(request.POST.get("ceremony", ""), _read(given))
        ceremony, options = begin()
    except ProductError as error:
        if given:
            messages.error(request, error.message)
            return HttpResponseRedirect(with_next(back, next_url(request)))
        headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
        return JsonResponse({"message": error.message}, status=error.status, headers=headers)
    return JsonResponse({"ceremony": ceremony, "options": options})


def _read(given: str) -> Any:
    """What the script sent; None, which no ceremony takes, for anything else."""
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        return None
