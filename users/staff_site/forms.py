"""The forms of the sign-in: address and password, a code, a fresh proof, a new password."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm, AdminPasswordChangeForm
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.functional import lazy
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.errors import ProductError
from users.models import User
from users.services import password_strength, second_factors, sign_in


class Refusable(forms.Form):
    """A form whose checks are services: a ProductError becomes an error, its wait `retry_after` (seconds)."""

    retry_after: int | None = None

    @contextmanager
    def refusals(self) -> Iterator[None]:
        try:
            yield
        except ProductError as error:
            self.retry_after = error.retry_after
            raise ValidationError(error.message, code=error.slug) from error


class SignInForm(Refusable, AdminAuthenticationForm):
    """Address and password; during a pause it shows how long."""

    error_messages = {
        **AdminAuthenticationForm.error_messages,
        "invalid_login": _("The address or the password is wrong, or this is not an active staff account."),
    }

    def clean(self) -> dict[str, Any]:
        with self.refusals():
            return super().clean()


def method_of(code: str) -> str:
    """Which kind of code was typed: six digits come from an app, all else is a recovery code."""
    digits = "".join(code.split())
    return second_factors.TOTP if len(digits) == 6 and digits.isdigit() else second_factors.RECOVERY


class CodeInput(forms.TextInput):
    """Comes back empty: no code works twice, and the next one would be typed on to the last."""

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        return super().get_context(name, None, attrs)


def _code_field(**more: Any) -> forms.CharField:
    attrs = {"autocomplete": "one-time-code", "autocapitalize": "off", "spellcheck": "false", **more.pop("attrs", {})}
    return forms.CharField(max_length=64, widget=CodeInput(attrs=attrs), **more)


class CodeForm(Refusable):
    """A code, spent by `check(code)`; what that returns is `answer`."""

    code = _code_field(
        label=_("Code"),
        help_text=_("Six digits from your authenticator app, or one of your recovery codes."),
        attrs={"autofocus": True},
    )
    answer: Any = None

    def __init__(self, *args: Any, check: Callable[[str], Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.check = check

    def clean_code(self) -> str:
        code = cast(str, self.cleaned_data["code"])
        with self.refusals():
            self.answer = self.check(code)
        return code


class AppCodeForm(CodeForm):
    """The first code of a new authenticator app."""

    code = _code_field(
        label=_("Code"), help_text=_("The six digits the app shows now."), attrs={"inputmode": "numeric"}
    )


class ProofForm(Refusable):
    """The password or a code: one is enough. A right one is noted in the session as it is found right."""

    password = forms.CharField(
        label=_("Password"),
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )
    code = _code_field(
        label=_("Or a code"),
        required=False,
        help_text=_("Six digits from your authenticator app, or one of your recovery codes."),
    )

    def __init__(self, *args: Any, request: HttpRequest, asks_password: bool, asks_code: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        if not asks_code:
            del self.fields["code"]
        if not asks_password:
            del self.fields["password"]
            self.fields["code"].label = _("Code")
            self.fields["code"].widget.attrs["autofocus"] = True

    def clean(self) -> dict[str, Any]:
        password, code = self.cleaned_data.get("password"), self.cleaned_data.get("code")
        if not self.errors:
            if not password and not code:
                raise ValidationError(_("Type something to prove that it is you."), code="required")
            with self.refusals():
                self._check(password or "", code or "")
        return self.cleaned_data

    def _check(self, password: str, code: str) -> None:
        user, actor = cast(User, self.request.user), Actor.of(self.request, "admin")
        if not password:
            sign_in.reauthenticate_by_code(user, code=code, actor=actor)
            return
        attempt = sign_in.begin_own(user, actor=actor)
        sign_in.reauthenticate_by_password(user, attempt, sign_in.compare(attempt, password))


class ChangePasswordForm(Refusable, AdminPasswordChangeForm):
    """The product's policy; the old password is counted and paused like any other try."""

    request: HttpRequest

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_password1"].help_text = lazy(password_strength.help_text, str)()

    def clean_old_password(self) -> str:
        given = cast(str, self.cleaned_data["old_password"])
        with self.refusals():
            known = authenticate(self.request, username=self.user.get_username(), password=given)
        if known is None:
            raise ValidationError(self.error_messages["password_incorrect"], code="password_incorrect")
        return given

    def validate_password_for_user(self, user: Any, *args: Any, **kwargs: Any) -> None:
        if password := self.cleaned_data.get("new_password2"):
            try:
                password_strength.check(password, email=user.email, code="RESET_PASSWORD_INVALID_PASSWORD")
            except ProductError as error:
                self.add_error("new_password2", error.message)


def _new_password(label: Any, **more: Any) -> forms.CharField:
    attrs = {"autocomplete": "new-password", **more.pop("attrs", {})}
    return forms.CharField(label=label, strip=False, widget=forms.PasswordInput(attrs=attrs), **more)


class ChoosePasswordForm(Refusable):
    """A first password, typed twice."""

    password = _new_password(
        _("New password"), help_text=lazy(password_strength.help_text, str)(), attrs={"autofocus": True}
    )
    again = _new_password(_("New password, once more"))

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_password(self) -> str:
        password = cast(str, self.cleaned_data["password"])
        with self.refusals():
            password_strength.check(password, email=self.user.email, code="RESET_PASSWORD_INVALID_PASSWORD")
        return password

    def clean_again(self) -> str:
        again = cast(str, self.cleaned_data["again"])
        if "password" in self.cleaned_data and again != self.cleaned_data["password"]:
            raise ValidationError(_("The two passwords differ."), code="password_mismatch")
        return again
