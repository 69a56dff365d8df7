import re

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse

from notifications import services
from notifications.tests.factories import MessageFactory

pytestmark = pytest.mark.django_db
LIST = "/admin/notifications/message/"


@pytest.fixture
def staff(client, settings):
    # Signing in is the business of the accounts' own tests.
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if not name.startswith("users.")]
    client.force_login(
        get_user_model().objects.create_superuser("staff@example.org", "correct horse battery"),
        backend="django.contrib.auth.backends.ModelBackend",
    )
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    return client


def rows(response):
    return [message.pk for message in response.context["cl"].result_list]


def test_the_list_shows_and_finds(staff):
    message = MessageFactory.create(to_address="a&b@example.org")
    MessageFactory.create(to_address="other@example.org", finished=True)

    assert "a&amp;b@example.org" in staff.get(LIST).content.decode()
    for term in ("a&b@example.org", "A&B@", str(message.uid), message.message_id, message.message_id[1:-1]):
        assert rows(staff.get(LIST, {"q": term})) == [message.pk]
    assert rows(staff.get(LIST, {"q": "b@example.org"})) == []


def test_filters_are_by_state_and_declared_type(staff):
    message = MessageFactory.create()
    MessageFactory.create(finished=True, type="tests.bulk")

    assert rows(staff.get(LIST, {"state__exact": "queued"})) == [message.pk]
    assert rows(staff.get(LIST, {"type": "tests.hello"})) == [message.pk]


def test_the_page_of_a_message_tells_its_story(staff, mail_server):
    message = MessageFactory.create()
    services.Courier().deliver_due()

    page = staff.get(f"{LIST}{message.pk}/change/").content.decode()

    assert "ConnectionRefusedError" in page
    assert "Mail server away" in page
    assert "_save" not in page


def test_nothing_is_added_changed_or_deleted_by_form(staff):
    message = MessageFactory.create()

    assert staff.get(f"{LIST}add/").status_code == 403
    assert staff.post(f"{LIST}{message.pk}/change/", {"state": "sent"}).status_code == 403
    assert staff.post(f"{LIST}{message.pk}/delete/", {"post": "yes"}).status_code == 403


def test_the_pages_work_under_a_strict_policy(staff):
    message = MessageFactory.create()

    for path in (LIST, f"{LIST}{message.pk}/change/"):
        page = staff.get(path).content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)


def test_the_list_takes_a_fixed_number_of_queries(staff, django_assert_max_num_queries):
    MessageFactory.create_batch(10)

    with django_assert_max_num_queries(6):
        staff.get(reverse("admin:notifications_message_changelist"))
