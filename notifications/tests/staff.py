"""Members of staff for the tests of the admin, and pages as they see them."""

import re

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

MESSAGES = "/admin/notifications/message/"
SUPPRESSIONS = "/admin/notifications/suppression/"
PREFERENCES = "/admin/notifications/preference/"
EVENTS = "/admin/notifications/deliveryevent/"
IN_APP = "/admin/notifications/inappnotification/"
ANNOUNCEMENTS = "/admin/notifications/announcement/"
PROVIDERS = "/admin/notifications/providerstate/"
WORKERS = "/admin/notifications/worker/"


def person(email="ada@example.org", **fields):
    return get_user_model().objects.create_user(email, None, **fields)


def clerk(*permissions, email="clerk@example.org"):
    """A client signed in as somebody who has exactly these permissions of this app."""
    user = person(email, is_staff=True)
    mine = Permission.objects.filter(content_type__app_label="notifications", codename__in=permissions)
    assert mine.count() == len(permissions)
    user.user_permissions.set(mine)
    client = Client()
    client.force_login(user)
    client.user = user
    return client


def page(message, end="change"):
    return f"{MESSAGES}{message.pk}/{end}/"


def told(response):
    return [str(message) for message in response.context["messages"]]


def rows(response):
    return [row.pk for row in response.context["cl"].result_list]


def faults(response):
    """What would not run, or not look right, under the strict policy."""
    return re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|<style|\sstyle=|\son\w+=|srcdoc", response.content.decode())
