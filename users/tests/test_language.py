"""The pages speak the language of their reader; what is stored does not."""

import html

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from lib.actors import RequestInfo
from users.models import User
from users.services import sessions
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
GERMAN = {"HTTP_ACCEPT_LANGUAGE": "de-AT,de;q=0.9,en;q=0.5"}


@pytest.fixture
def reader():
    client = Client()
    client.user = UserFactory.create(staff=True, is_superuser=True)
    client.force_login(client.user)
    return client


def test_the_admin_speaks_the_language_of_the_browser(reader):
    german = reader.get("/admin/users/user/", **GERMAN)
    other = reader.get("/admin/users/user/", HTTP_ACCEPT_LANGUAGE="fr,*;q=0.1")

    assert '<html lang="de"' in german.content.decode()
    assert "Abmelden" in german.content.decode()
    assert (german["Content-Language"], "Accept-Language" in german["Vary"]) == ("de", True)
    assert '<html lang="en-gb"' in other.content.decode()
    assert other["Content-Language"] == "en-gb"


def test_who_is_not_signed_in_and_who_may_not_are_told_in_their_language(reader):
    page = Client().get("/admin/login/", **GERMAN)
    User.objects.filter(pk=reader.user.pk).update(is_superuser=False)
    refusal = reader.get("/admin/users/user/", **GERMAN)

    assert "Anmelden" in page.content.decode()
    assert (refusal.status_code, refusal["Content-Language"]) == (403, "de")


def test_the_api_answers_in_english_whatever_is_asked(client):
    answer = client.get("/api/nothing", **GERMAN)

    assert answer.json()["detail"] == "Not Found"
    assert "Content-Language" not in answer.headers


def test_a_choice_goes_before_the_browser_and_is_kept(reader):
    chosen = reader.post("/admin/language/", {"language": "en"}, follow=True, **GERMAN)

    assert '<html lang="en-gb"' in chosen.content.decode()
    reader.user.refresh_from_db()
    assert (reader.user.chosen_language, reader.user.language) == ("en", "en")
    # Until it is taken back.
    back = reader.post("/admin/language/", {"language": ""}, follow=True, **GERMAN)
    assert '<html lang="de"' in back.content.decode()


def test_a_language_without_pages_is_refused(reader):
    answer = reader.post("/admin/language/", {"language": "fr"}, follow=True)

    reader.user.refresh_from_db()
    assert "not written in this language" in answer.content.decode()
    assert reader.user.chosen_language == ""


def test_a_sign_in_leaves_the_chosen_language_of_mails(api):
    user = UserFactory.create(chosen_language="de", language="de")

    answer = api.login_form(user.email, **{"Accept-Language": "en"})

    user.refresh_from_db()
    assert (answer.status_code, user.language) == (200, "de")


def test_history_is_kept_in_english(reader):
    person = UserFactory.create()
    sessions.new_session(person, RequestInfo(), "api", person.created_at)

    page = reader.post(f"/admin/users/user/{person.pk}/sign-out/", follow=True, **GERMAN)

    assert "1 Sitzung beendet." in html.unescape(page.content.decode())
    assert LogEntry.objects.latest("pk").change_message == "Sign out everywhere: 1 session ended."
