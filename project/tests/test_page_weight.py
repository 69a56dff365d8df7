"""What pages of the admin ask of database and network, where a million people make the difference."""

import gzip
import re
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.contrib.staticfiles import finders
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from lib.admin import lists
from notifications.tests.factories import MessageFactory
from users import models
from users.models import User
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
PEOPLE, MESSAGES = "/admin/users/user/", "/admin/notifications/message/"


@pytest.fixture
def client(superuser, settings):
    settings.USERS_STAFF_MFA = "optional"
    client = Client()
    client.force_login(superuser)
    return client


def page(client, address):
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def statements(client, address):
    page(client, address)
    with CaptureQueriesContext(connection) as captured:
        page(client, address)
    return [query["sql"] for query in captured.captured_queries]


def test_scripts_and_sheets_are_under_60_kb_on_the_way(client, superuser, subtests):
    group = Group.objects.create(name="Testers")
    for address in (
        "/admin/",
        PEOPLE,
        f"{PEOPLE}add/",
        f"{PEOPLE}{superuser.pk}/change/",
        f"/admin/auth/group/{group.pk}/change/",
        MESSAGES,
        f"{MESSAGES}{MessageFactory.create().pk}/change/",
    ):
        with subtests.test(address):
            names = set(re.findall(r'"/static/([^"]+\.(?:css|js))"', page(client, address)))
            files = [Path(finders.find(name)).read_bytes() for name in names]

            assert files
            assert sum(map(len, files)) <= 108_000  # 12,000 of them what Django 6.1 has over 5.2
            assert sum(len(gzip.compress(file)) for file in files) <= 60_000 / 2


def test_the_page_of_a_member_of_staff_is_under_60_kb(client, superuser):
    assert len(page(client, f"{PEOPLE}{superuser.pk}/change/")) <= 60_000


def test_permissions_are_ticked_as_they_are_held(client, superuser):
    group = Group.objects.create(name="Testers")
    superuser.groups.add(group)

    held = re.findall(r'name="groups" value="(\d+)" checked>', page(client, f"{PEOPLE}{superuser.pk}/change/"))

    assert held == [str(group.pk)]


def test_people_are_sorted_by_what_has_an_index_and_those_found_by_any_column(client):
    UserFactory.create(first_name="Ilva")
    column = 'ORDER BY "users_user"."last_login"'

    assert not any(column in sql for sql in statements(client, f"{PEOPLE}?o=5"))
    assert any(column in sql for sql in statements(client, f"{PEOPLE}?o=5&q=ilva"))


@pytest.mark.parametrize("query", ["groups__id__exact=none", "groups__isnull=True"])
def test_people_without_a_group_are_read_in_the_order_of_the_list(client, query):
    Group.objects.create(name="Testers").user_set.add(UserFactory.create(email="member@example.org"))
    UserFactory.create(email="other@example.org")

    found = page(client, f"{PEOPLE}?{query}")

    assert ("other@example.org" in found, "member@example.org" in found) == (True, False)
    assert not any("DISTINCT" in sql for sql in statements(client, f"{PEOPLE}?{query}"))


def test_a_search_finds_the_newest_first_wherever_they_are(client, monkeypatch):
    """On PostgreSQL the newest rows are looked through, then an index is asked for all."""
    monkeypatch.setattr(models, "_NEWEST", 2)
    monkeypatch.setattr(lists, "_NEWEST", 2)
    people = [UserFactory.create(first_name="Ilva") for _ in range(3)]
    messages = [MessageFactory.create(to_address=f"ilva{number}@example.org") for number in range(3)]
    for _ in range(3):
        UserFactory.create()
        MessageFactory.create()

    assert User.objects.search("ilva", 2) == [people[2].pk, people[1].pk]
    assert re.findall(r'href="(\d+)/change/', page(client, f"{MESSAGES}?q=ilva")) == [
        str(message.pk) for message in reversed(messages)
    ]
