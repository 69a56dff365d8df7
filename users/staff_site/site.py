"""The site itself: what stands open, what asks for a second factor first, what asks for a fresh proof."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.translation import gettext_lazy as _

from users.staff_site import gate, own_factors, passkey, password, signing_in
from users.staff_site.forms import SignInForm
from users.staff_site.pages import THEN, with_next


class StaffSite(AdminSite):
    """An admin that is signed in to by two steps (USERS_STAFF_MFA) on the services of accounts.

    `is_fresh`, `ask_proof` and `proof_url` are what `lib.admin.verbs` goes by where a change is sensitive.
    """

    login_form = SignInForm

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Ours first: the site's own list ends in an address that takes everything."""
        open_to_all = [
            path("login/code/", partial(signing_in.code, site=self), name="login_code"),
            path("login/factor/", partial(signing_in.enrol, site=self), name="enrol_factor"),
            path("login/factor/passkey/", partial(passkey.first, site=self), name="enrol_passkey"),
            path("enrol/", partial(password.choose, site=self), name="enrol_password"),
            path("enrol/<str:token>", partial(password.open_link, site=self), name="enrol"),
            path("login/passkey/", partial(passkey.alone, site=self), name="login_passkey"),
            path("login/code/passkey/", partial(passkey.second, site=self), name="login_code_passkey"),
            path("reauthenticate/passkey/", partial(passkey.again, site=self), name="reauthenticate_passkey"),
            path("reauthenticate/", partial(signing_in.reauthenticate, site=self), name="reauthenticate"),
        ]
        fresh = [
            path("second-factor/", self._fresh(own_factors.overview), name="second_factor"),
            path("second-factor/app/", self._fresh(own_factors.add_app), name="second_factor_app"),
            path("second-factor/passkey/", self._fresh(passkey.add), name="second_factor_passkey"),
            path("second-factor/codes/", self._fresh(own_factors.new_codes), name="second_factor_codes"),
            path(
                "second-factor/<uuid:device_id>/remove/", self._fresh(own_factors.remove), name="second_factor_remove"
            ),
        ]
        # No object has a page on the front end, and the way to one answers a junk id with an error of ours.
        others = [route for route in super().get_urls() if getattr(route, "name", "") != "view_on_site"]
        return [*open_to_all, *fresh, *others]

    def _fresh(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        """A page that needs a fresh proof; a press on it leads back to the page of factors."""

        def asked(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            if self.is_fresh(request):
                return view(request, site=self, **kwargs)
            here = request.get_full_path() if request.method == "GET" else reverse("admin:second_factor")
            return self.ask_proof(request, back_url=here)

        def wrapper(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            # Made at each call, as Django's own: get_urls may run before a subclass is ready.
            return self.admin_view(update_wrapper(asked, view))(request, **kwargs)  # type: ignore[no-any-return]

        return update_wrapper(wrapper, view)

    # --- Who passes ---------------------------------------------------------------------------------------------------

    def is_staff(self, request: HttpRequest) -> bool:
        """Whether a member of staff is signed in, whatever was proved."""
        return super().has_permission(request)

    def has_permission(self, request: HttpRequest) -> bool:
        return self.is_staff(request) and gate.is_enough(request)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        inner = super().admin_view(view, cacheable)

        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not self.is_staff(request) or gate.is_enough(request):
                return inner(request, *args, **kwargs)  # type: ignore[no-any-return]
            if request.path == reverse("admin:logout", current_app=self.name):
                return self.logout(request)
            return signing_in.onward(request, request.get_full_path())

        return update_wrapper(checked, inner)

    def is_fresh(self, request: HttpRequest) -> bool:
        return gate.is_fresh(request)

    def ask_proof(self, request: HttpRequest, *, back_url: str, then: str = "") -> HttpResponse:
        """Lead to the page that asks who one is, and from there back; `then` is said after that."""
        if then:
            request.session[THEN] = then
        messages.info(request, _("This is a sensitive change: prove once more that it is you."))
        return HttpResponseRedirect(self.proof_url(back_url))

    def proof_url(self, back_url: str) -> str:
        """Where a fresh proof is given; it leads on to `back_url`."""
        return with_next("admin:reauthenticate", back_url)

    # --- Pages --------------------------------------------------------------------------------------------------------

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return signing_in.sign_in(request, site=self, extra_context=extra_context)

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {**self.each_context(request), **(extra_context or {})}
        return password.ChangePasswordView.as_view(extra_context=context)(request)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().each_context(request), "has_second_factor": gate.has_second(request)}
