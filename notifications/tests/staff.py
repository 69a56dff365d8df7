"""Members of staff for the tests of the admin, and pages as they see them."""

import re
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from lib.actors import Actor
from users.models import UserSession
from users.services import api_keys
from users.tests.factories import UserFactory

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


def key(*scopes, owner=None):
    """An API key with these scopes, of a superuser unless it has another owner."""
    owner = owner or UserFactory.create(superuser=True)
    return api_keys.create(owner, actor=Actor.command("tests"), name="job", scopes=scopes)[1]


def member(api, *permissions, proof=timedelta(0)):
    """Sign the client in as staff with exactly these permissions, who proved so long ago who they are."""
    user = UserFactory.create(staff=True)
    found = Permission.objects.filter(codename__in=permissions)
    assert found.count() == len(permissions)
    user.user_permissions.set(found)
    api.sign_in(user)
    UserSession.objects.filter(user=user).update(amr=["pwd", "otp"], auth_at=timezone.now() - proof)
    return user
