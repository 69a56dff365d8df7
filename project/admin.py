"""The staff's site: signing in and changing one's password stand on the same services as the API."""

from __future__ import annotations

from functools import update_wrapper
from typing import Any, cast

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm, AdminPasswordChangeForm
from django.contrib.auth import authenticate, login
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import BadRequest, ValidationError
from django.db import DataError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse_lazy
from django.utils.functional import lazy
from django.utils.translation import gettext_lazy as _

from lib.errors import ProductError
from users import services
from users.services import hashing, passwords


class SignInForm(AdminAuthenticationForm):
    """Address and password; during a pause it says so."""

    error_messages = {
        **AdminAuthenticationForm.error_messages,
        "invalid_login": _("The address or the password is wrong, or this is not an active staff account."),
    }
    retry_after: int | None = None

    def clean(self) -> dict[str, Any]:
        try:
            return super().clean()
        except ProductError as error:
            self.retry_after = error.retry_after
            raise ValidationError(error.message, code=error.slug) from error


class ChangePasswordForm(AdminPasswordChangeForm):
    """The product's policy; the old password is counted and paused like any other try."""

    request: HttpRequest

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_password1"].help_text = lazy(passwords.help_text, str)()

    def clean_old_password(self) -> str:
        given = cast(str, self.cleaned_data["old_password"])
        try:
            known = authenticate(self.request, username=self.user.get_username(), password=given)
        except ProductError as error:
            raise ValidationError(error.message, code=error.slug) from error
        if known is None:
            raise ValidationError(self.error_messages["password_incorrect"], code="password_incorrect")
        return given

    def validate_password_for_user(self, user: Any, *args: Any, **kwargs: Any) -> None:
        if password := self.cleaned_data.get("new_password2"):
            try:
                passwords.check(password, email=user.email, code="RESET_PASSWORD_INVALID_PASSWORD")
            except ProductError as error:
                self.add_error("new_password2", error.message)


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
        # Every session has ended, this one too; whoever knows the new password goes on in a new one.
        if user := services.change_password(form.user, password_hash=encoded):
            login(self.request, user)
        return HttpResponseRedirect(self.get_success_url())


class SwitchboardAdminSite(AdminSite):
    site_header = site_title = settings.PRODUCT_NAME
    site_url = settings.APP_URL
    index_title = "Overview"
    login_form = SignInForm
    enable_nav_sidebar = True

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        # Not above: the pages of apps register with this site, which is made of this module.
        from notifications.admin.overview import overview

        return super().index(request, {"mail": overview(request), **(extra_context or {})})

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().login(request, extra_context)
        form = (getattr(response, "context_data", None) or {}).get("form")
        if form is not None and (wait := getattr(form, "retry_after", None)):
            response["Retry-After"] = str(wait)
        return response

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """No NUL byte reaches a filter: PostgreSQL cannot even be asked about one."""
        inner = super().admin_view(view, cacheable)

        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            # The search box words its own refusal.
            filters = (value for key, values in request.GET.lists() if key != "q" for value in (key, *values))
            if any("\x00" in value for value in filters):
                raise BadRequest("A query cannot hold NUL characters.")
            try:
                return inner(request, *args, **kwargs)  # type: ignore[no-any-return]
            except DataError as error:
                if request.method != "GET":
                    raise
                # A look-up typed into the address, such as `codename__regex=(`.
                raise BadRequest("The database cannot be asked this.") from error

        return update_wrapper(checked, inner)

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {**self.each_context(request), **(extra_context or {})}
        return ChangePasswordView.as_view(extra_context=context)(request)
