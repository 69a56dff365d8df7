"""Passwords of staff: changing one's own, and choosing a first one by the link that `create_admin` prints."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.views import PasswordChangeView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse, reverse_lazy
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from lib.actors import Actor
from lib.errors import ProductError
from users.models import OneTimeToken, User
from users.services import hashing, invitations, passwords, second_factors
from users.staff_site import pending_sign_in
from users.staff_site.forms import ChangePasswordForm, ChoosePasswordForm
from users.staff_site.pages import page

_LINK = "users.enrol"


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
        actor = Actor.of(self.request, "admin")
        keep = form.user.session_id
        if user := passwords.change(form.user, password_hash=encoded, actor=actor, keep=keep):
            # Django's session knows the old hash; the UserSession goes on.
            update_session_auth_hash(self.request, user)
        return HttpResponseRedirect(self.get_success_url())


@never_cache
def open_link(request: HttpRequest, *, token: str) -> HttpResponse:
    """The link leads at once to an address without its token, which no Referer and no history can give away."""
    try:
        row = invitations.check(token)
    except ProductError as error:
        return _over(request, error)
    request.session.cycle_key()
    request.session[_LINK] = row.pk.hex
    return HttpResponseRedirect(reverse("admin:enrol_password"))


@never_cache
@sensitive_post_parameters("password", "again")
def choose(request: HttpRequest) -> HttpResponse:
    """Choose the password; the second factor follows as in any sign-in."""
    row = _opened(request)
    if row is None:
        return _over(request)
    form = ChoosePasswordForm(request.POST if request.method == "POST" else None, user=cast(User, row.user))
    if form.is_valid():
        try:
            encoded = hashing.make(form.cleaned_data["password"])
            user = invitations.redeem(row, password_hash=encoded, actor=Actor.of(request, "admin"))
        except ProductError as error:
            if error.code != "BUSY":
                return _over(request, error)
            form.retry_after = error.retry_after
            form.add_error(None, error.message)
        else:
            request.session.pop(_LINK, None)
            pending_sign_in.start(request, user)
            return HttpResponseRedirect(
                reverse("admin:login_code" if second_factors.has_factor(user) else "admin:enrol_factor")
            )
    return page(request, "password", _("Choose a password"), form=form, email=row.email)


def _opened(request: HttpRequest) -> OneTimeToken | None:
    row_id = pending_sign_in.read_id(request, _LINK)
    return invitations.find(row_id) if row_id else None


def _over(request: HttpRequest, error: ProductError | None = None) -> HttpResponse:
    message = error.message if error else _("The link is wrong, has been used or has expired.")
    return page(request, "over", _("This link is over"), status=410, message=message)
