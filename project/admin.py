"""The staff's site: its sign-in page stands on the same service as the API's."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse

from lib.errors import ProductError


class SignInForm(AdminAuthenticationForm):
    """Address and password; during a pause it says so."""

    retry_after: int | None = None

    def clean(self) -> dict[str, Any]:
        try:
            return super().clean()
        except ProductError as error:
            self.retry_after = error.retry_after
            raise ValidationError(error.message, code=error.slug) from error


class SwitchboardAdminSite(AdminSite):
    site_header = site_title = "Switchboard"
    index_title = "Overview"
    login_form = SignInForm
    enable_nav_sidebar = True

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().login(request, extra_context)
        form = (getattr(response, "context_data", None) or {}).get("form")
        if form is not None and (wait := getattr(form, "retry_after", None)):
            response["Retry-After"] = str(wait)
        return response
