"""The admin site: signing in as in users/staff_site, and an overview of every app."""

from __future__ import annotations

from functools import update_wrapper
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest
from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.translation import gettext_lazy as _

from lib.text import is_storable
from users.staff_site.site import StaffSite

#: The groups of the sidebar, and which one a model or else its app stands in.
GROUPS = {
    "people": _("People"),
    "flags": _("Flags"),
    "mail": _("Mail"),
    "webhooks": _("Webhooks"),
    "access": _("Access"),
    "activity": _("Activity"),
}
PLACES = {
    "users": "people",
    "feature_flags": "flags",
    "notifications": "mail",
    "auth": "access",
    "FlagToken": "access",
    "WebhookEndpoint": "webhooks",
    "WebhookDelivery": "webhooks",
    "AuditEvent": "activity",
    "FlagRevision": "activity",
    "Proposal": "activity",
}


class SwitchboardAdminSite(StaffSite):
    site_header = site_title = settings.PRODUCT_NAME
    site_url = settings.APP_URL if settings.HAS_APP else None
    index_title = _("Overview")
    enable_nav_sidebar = True

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        # Not above: the pages of apps register with this site, which is made of this module.
        from notifications.admin.overview import overview as mail
        from project import overview
        from project.activity.page import latest

        needs = overview.needs_of(request)
        # What needs attention is counted by the statement that counts messages.
        of_mail = mail(request, {name: need[4]() for name, need in needs.items()})
        parts = {
            "attention": overview.attention(request, needs, of_mail and of_mail["counts"]),
            "charts": overview.charts(request),
            "mail": of_mail,
            "activity": latest(request),
        }
        return super().index(request, {**parts, **(extra_context or {})})

    def get_urls(self) -> list[URLPattern | URLResolver]:
        from project import finder
        from project.activity import page

        return [
            path("find/", self.admin_view(finder.view), name="find"),
            path("activity/", self.admin_view(page.view), name="activity"),
            path("activity/csv/", self.admin_view(page.export), name="activity_csv"),
            *super().get_urls(),
        ]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        from project.activity.page import may_see_activity

        return {**super().each_context(request), "sees_activity": may_see_activity(request.user)}

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
        """Of the sidebar, where no app is named: the same models in the groups of `GROUPS`."""
        from project.activity.page import may_see_activity

        apps: list[dict[str, Any]] = super().get_app_list(request, app_label)
        if app_label is not None:
            return apps
        models: dict[str, list[dict[str, Any]]] = {group: [] for group in GROUPS}
        for app in apps:
            for model in app["models"]:
                place = PLACES.get(model["object_name"]) or PLACES.get(app["app_label"], "activity")
                models[place].append(model)
        if may_see_activity(request.user):
            # No model, but a page like theirs.
            page = {"name": _("Activity"), "object_name": "Activity", "admin_url": reverse("admin:activity")}
            models["activity"].insert(0, {**page, "add_url": None, "view_only": True, "perms": {}})
        return [
            {"name": GROUPS[group], "app_label": group, "app_url": "", "has_module_perms": True, "models": found}
            for group, found in models.items()
            if found
        ]

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """No NUL byte reaches a filter: PostgreSQL cannot even be asked about one."""
        inner = super().admin_view(view, cacheable)

        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            # The search box words its own refusal.
            filters = (value for key, values in request.GET.lists() if key != "q" for value in (key, *values))
            if not all(map(is_storable, filters)):
                raise BadRequest("A query cannot hold NUL characters.")
            if any(key.endswith("regex") for key in request.GET):
                # Databases refuse bad ones in words of their own, and some good ones take for ever.
                raise BadRequest("Lists are not asked with regular expressions.")
            try:
                return inner(request, *args, **kwargs)  # type: ignore[no-any-return]
            except (DataError, OverflowError) as error:
                if request.method != "GET":
                    raise
                # A look-up typed into the address, such as `created_at__year=99999999999`.
                raise BadRequest("The database cannot be asked this.") from error

        return update_wrapper(checked, inner)
