"""What every page of the doors has: its frame, its way on, its way back to the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from users.staff_site.site import StaffSite

#: Where the Django session keeps what is said after a fresh proof.
THEN = "users.then"


def page(
    request: HttpRequest, site: StaffSite, template: str, title: Any, *, status: int = 200, **context: Any
) -> TemplateResponse:
    """A page of `templates/admin/sign_in/`; a form that has to wait says so in Retry-After."""
    request.current_app = site.name
    whole = {**site.each_context(request), "title": title, "next": next_url(request), **context}
    response = TemplateResponse(request, f"admin/sign_in/{template}.html", whole, status=status)
    if seconds := getattr(context.get("form"), "retry_after", None):
        response["Retry-After"] = str(seconds)
    return response


def next_url(request: HttpRequest) -> str:
    """Where the person wanted to go; the overview when that is another site."""
    wanted = request.GET.get(REDIRECT_FIELD_NAME, "")
    is_ours = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if is_ours else reverse("admin:index")


def with_next(name: str, wanted: str) -> str:
    return f"{reverse(name)}?{urlencode({REDIRECT_FIELD_NAME: wanted})}"


def to_start(request: HttpRequest) -> HttpResponse:
    """Back to the password: the half sign-in is over, or there was none."""
    messages.error(request, _("The sign-in has expired. Start again with your password."))
    return HttpResponseRedirect(with_next("admin:login", next_url(request)))
