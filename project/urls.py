from django.contrib import admin
from django.urls import path, re_path
from django.views.generic import RedirectView

from feature_flags.api import ofrep
from project import health, metrics
from project.api import api, not_found

urlpatterns = [
    path("api/", api.urls),
    re_path(r"^api(?:/(?P<path>.*))?$", not_found),
    # A client's base address may end in a slash.
    re_path(r"^/?ofrep/v1/", ofrep.urls),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics.metrics),
    path("docs", RedirectView.as_view(url="/api/docs")),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
