from django.conf import settings
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import URLPattern, path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView

from feature_flags.http.routes import answer, ofrep
from lib.urls import later
from project import health
from project.api import STAFF, api, not_found


@require_safe
def change_password(request: HttpRequest) -> HttpResponseRedirect:
    """Where password managers send people (W3C, "A Well-Known URL for Changing Passwords")."""
    return HttpResponseRedirect(f"{settings.APP_URL}/forgot-password")


def _agents() -> list[URLPattern]:
    if not settings.MCP:
        return []
    from project.agents import http

    return [path("mcp", http.endpoint)]


handler500 = "project.errors.page"
urlpatterns = [
    later("api/staff/", STAFF, "staff"),
    path("api/", api.urls),
    re_path(r"^api(?:/(?P<path>.*))?$", not_found),
    # A client's base address may end in a slash.
    re_path(r"^/?ofrep/v1/", ofrep.urls),
    # Where Unleash Edge asks about tokens.
    re_path(r"^(?:/)?edge/validate/?$", csrf_exempt(answer)),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
    *_agents(),
    path(".well-known/change-password", change_password),
    path("docs", RedirectView.as_view(url="/api/docs")),
    later("admin/", "project.admin_urls", "admin"),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
