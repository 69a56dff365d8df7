from django.contrib import admin
from django.urls import path, re_path
from django.views.generic import RedirectView

from project import health
from project.api import api, not_found

urlpatterns = [
    path("api/", api.urls),
    re_path(r"^api(?:/(?P<path>.*))?$", not_found),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("docs", RedirectView.as_view(url="/api/docs")),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
