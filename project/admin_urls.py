"""The pages of the admin. Loaded, and with them their registrations, by the first who needs one (project/urls.py)."""

from django.contrib import admin

admin.autodiscover()
urlpatterns = admin.site.urls[0]
