"""The pages of the admin. Loaded, and with them their registrations, by the first who needs one (project/urls.py)."""

from django.contrib import admin

from project.agents import admin as proposals  # noqa: F401  (registers its page)

admin.autodiscover()
urlpatterns = admin.site.urls[0]
