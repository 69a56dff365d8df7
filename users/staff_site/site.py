"""The site: which pages are open, which need a second factor first, which need a fresh proof."""

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

from django.contrib.admin import AdminSite
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.views.decorators.cache import never_cache

from users.staff_site import carried, language, pages, saved_views, second_factors, sign_in
from users.staff_site.forms import SignInForm


class StaffSite(AdminSite):
    """An admin that is signed in to by two steps (USERS_STAFF_MFA) on the services of accounts.

    `is_fresh`, `ask_proof` and `proof_url` are what `lib.admin.verbs` goes by where a change is sensitive,
    `export_permission` and `saved_views` what `lib.admin.changelist` does.
    """

    login_form = SignInForm
    export_permission = "users.export_list"

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Ours first: the site's own list ends in an address that takes everything."""
        open_to_all = [
            path("login/code/", sign_in.by_code, name="login_code"),
            path("login/factor/", second_factors.enrol, name="enrol_factor"),
            path("login/factor/passkey/", second_factors.enrol_passkey, name="enrol_passkey"),
            path("enrol/", sign_in.choose_password, name="enrol_password"),
            path("enrol/<str:token>", sign_in.open_invitation, name="enrol"),
            path("login/passkey/", second_factors.sign_in_by_passkey, name="login_passkey"),
            path("login/code/passkey/", second_factors.second_step_by_passkey, name="login_code_passkey"),
            path("reauthenticate/passkey/", second_factors.reauthenticate_by_passkey, name="reauthenticate_passkey"),
            path("reauthenticate/", sign_in.reauthenticate, name="reauthenticate"),
        ]
        pages_of_factors: list[tuple[str, Callable[..., HttpResponse], str]] = [
            ("", second_factors.overview, "second_factor"),
            ("app/", second_factors.add_app, "second_factor_app"),
            ("passkey/", second_factors.add_passkey, "second_factor_passkey"),
            ("codes/", second_factors.new_codes, "second_factor_codes"),
            ("<uuid:device_id>/remove/", second_factors.remove, "second_factor_remove"),
        ]
        fresh = [path(f"second-factor/{end}", self._fresh(view), name=name) for end, view, name in pages_of_factors]
        others_of_ours = [
            path("carry-on/<str:nonce>/", self.admin_view(never_cache(carried.carry_on)), name="carry_on"),
            path("language/", self.admin_view(never_cache(language.choose)), name="language"),
            path("views/", self.admin_view(saved_views.save), name="save_view"),
            path("views/<int:pk>/remove/", self.admin_view(saved_views.remove), name="remove_view"),
        ]
        # No object has a page on the front end, and the way to one answers a junk id with an error of ours.
        others = [route for route in super().get_urls() if getattr(route, "name", "") != "view_on_site"]
        return [*open_to_all, *fresh, *others_of_ours, *others]

    def _fresh(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        """A page that needs a fresh proof; a POST leads back to the page of factors."""

        def asked(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            if self.is_fresh(request):
                return view(request, **kwargs)
            here = request.get_full_path() if request.method == "GET" else reverse("admin:second_factor")
            return self.ask_proof(request, back_url=here)

        def wrapper(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            # Made at each call, as Django's own: get_urls may run before a subclass is ready.
            return self.admin_view(update_wrapper(asked, view))(request, **kwargs)  # type: ignore[no-any-return]

        return update_wrapper(wrapper, view)

    def has_permission(self, request: HttpRequest) -> bool:
        return pages.is_staff(request) and pages.is_enough(request)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        inner = super().admin_view(view, cacheable)

        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not pages.is_staff(request) or pages.is_enough(request):
                return inner(request, *args, **kwargs)  # type: ignore[no-any-return]
            if request.path == reverse("admin:logout", current_app=self.name):
                return self.logout(request)
            return pages.to_missing_factor(request, request.get_full_path())

        return update_wrapper(checked, inner)

    def is_fresh(self, request: HttpRequest) -> bool:
        return pages.is_fresh(request)

    def ask_proof(
        self, request: HttpRequest, *, back_url: str, action: str = "", objects: Sequence[models.Model] = ()
    ) -> HttpResponse:
        """To the page that asks for a fresh proof. A POST that is called `action` goes on after it by itself, unless
        one of the `objects` has changed meanwhile; anything else leads to `back_url`."""
        kept = carried.keep(request, action=action, objects=objects, back_url=back_url) if action else ""
        return pages.ask_proof(request, back_url=kept or back_url)

    def proof_url(self, back_url: str) -> str:
        """Where a fresh proof is given; it leads on to `back_url`."""
        return pages.with_next("admin:reauthenticate", back_url)

    def saved_views(self, request: HttpRequest, label: str) -> list[dict[str, Any]]:
        return saved_views.offered(request, label)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return sign_in.by_password(request, extra_context=extra_context)

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {**self.each_context(request), **(extra_context or {})}
        return sign_in.ChangePasswordView.as_view(extra_context=context)(request)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().each_context(request), "has_second_factor": pages.has_second_factor(request)}
