"""What the pages of the sign-in share: what a session has proved, their frame, and the redirects between them."""

import uuid
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from users.models import User, UserSession
from users.services import second_factors


def _session(request: HttpRequest) -> UserSession | None:
    """The UserSession of the request, as AdminSessionMiddleware found it."""
    return getattr(request, "staff_session", None)


def is_staff(request: HttpRequest) -> bool:
    """Whether a member of staff is signed in, whatever was proved."""
    return request.user.is_active and request.user.is_staff


def has_second_factor(request: HttpRequest) -> bool:
    """Whether a second factor was proved in this session."""
    session = _session(request)
    return session is not None and session.has_second_factor


def is_enough(request: HttpRequest) -> bool:
    """Whether what was proved opens the admin: with USERS_STAFF_MFA=required, a second factor."""
    return settings.USERS_STAFF_MFA != "required" or has_second_factor(request)


def is_fresh(request: HttpRequest) -> bool:
    """Whether the user proved who they are within USERS_REAUTH_SECONDS."""
    session = _session(request)
    return session is not None and timezone.now() - session.auth_at <= timedelta(seconds=settings.USERS_REAUTH_SECONDS)


def read_id(request: HttpRequest, key: str) -> uuid.UUID | None:
    """The id that the Django session keeps under the key."""
    with suppress(ValueError):
        return uuid.UUID(request.session.get(key, ""))
    return None


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


def next_url(request: HttpRequest) -> str:
    """Where the user wanted to go; the overview when that is another site."""
    wanted, here = request.GET.get(REDIRECT_FIELD_NAME, ""), {request.get_host()}
    is_ours = url_has_allowed_host_and_scheme(wanted, allowed_hosts=here, require_https=request.is_secure())
    return wanted if is_ours else reverse("admin:index")


def with_next(name: str, wanted: str) -> str:
    return f"{reverse(name)}?{urlencode({REDIRECT_FIELD_NAME: wanted})}"


def passkey_url(name: str, wanted: str, user: User | None = None) -> str:
    """Where a passkey is sent to; empty where `user` has none, or where a browser may use none of this site's on pages
    under BASE_URL (WebAuthn, 5.1.3 and 13.4.9)."""
    parts, rp_id = urlsplit(settings.BASE_URL), settings.USERS_WEBAUTHN_RP_ID
    host = parts.hostname or ""
    fits = bool(rp_id) and (host == rp_id or host.endswith(f".{rp_id}"))
    if not fits or f"{parts.scheme}://{parts.netloc}" not in settings.USERS_WEBAUTHN_ORIGINS:
        return ""
    has_one = user is None or second_factors.WEBAUTHN in second_factors.methods(user)
    return with_next(name, wanted) if has_one else ""


def to_sign_in(request: HttpRequest) -> HttpResponse:
    """Back to the password: the pending sign-in is over, or there was none."""
    messages.error(request, _("The sign-in has expired. Start again with your password."))
    return HttpResponseRedirect(with_next("admin:login", next_url(request)))


def to_missing_factor(request: HttpRequest, wanted: str) -> HttpResponse:
    """Where a session has to go that has proved too little: to a code, or to a first factor."""
    has_factor = isinstance(request.user, User) and second_factors.has_factor(request.user)
    return HttpResponseRedirect(with_next("admin:reauthenticate" if has_factor else "admin:enrol_factor", wanted))


def ask_proof(request: HttpRequest, *, back_url: str) -> HttpResponse:
    """To the page that asks for a fresh proof, and from there back."""
    messages.info(request, _("This is a sensitive change: prove once more that it is you."))
    return HttpResponseRedirect(with_next("admin:reauthenticate", back_url))
