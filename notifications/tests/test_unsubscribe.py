import re
from urllib.parse import urlsplit

import pytest
from django.contrib.staticfiles import finders
from django.core import mail
from django.test import Client

from notifications.models import Preference, Suppression
from notifications.services import outbox, preferences
from notifications.services.recipients import suppress
from notifications.tests import offers
from notifications.tests.factories import MessageFactory
from notifications.tests.staff import person

pytestmark = pytest.mark.django_db
ADDRESS = "ada&co@example.org"


@pytest.fixture(autouse=True)
def _offers():
    offers.declare()


@pytest.fixture
def path():
    return urlsplit(preferences.unsubscribe_url(ADDRESS, "announcement")).path


@pytest.fixture
def browser():
    return Client(enforce_csrf_checks=True)


def listed():
    return set(Suppression.objects.values_list("address", "scope", "reason"))


UNSUBSCRIBED = {(ADDRESS, "announcement", "unsubscribe")}


def test_the_link_stands_on_the_base_address_and_is_the_same_for_every_spelling(settings):
    settings.BASE_URL = "https://api.example.org"
    url = preferences.unsubscribe_url(ADDRESS, "announcement")

    assert url.startswith("https://api.example.org/api/notifications/unsubscribe/")
    assert re.fullmatch(r"[\w-]+", url.rpartition("/")[2], re.ASCII)
    assert url == preferences.unsubscribe_url(f" {ADDRESS.upper()}", "announcement")
    assert url != preferences.unsubscribe_url(ADDRESS, "security")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"List-Unsubscribe=One-Click"),
        ("multipart/form-data; boundary=", b"x"),
        ("application/x-www-form-urlencoded; charset=utf-16", b"List-Unsubscribe=One-Click"),
        ("application/x-www-form-urlencoded", b"a=1&" * 3000),
    ],
)
def test_a_form_that_cannot_be_read_ends_the_mail_all_the_same(browser, path, kind, body):
    assert browser.generic("POST", path, body, content_type=kind).status_code == 200
    assert listed() == UNSUBSCRIBED


@pytest.mark.parametrize(
    ("account", "asked", "language"),
    [("de", "", "de"), ("", "de-AT,en;q=0.5", "de"), ("de", "en-GB", "en"), ("", "", "en"), ("", "fr", "en")],
)
def test_the_page_speaks_its_readers_language(browser, path, account, asked, language):
    person(email=ADDRESS, language=account)
    headers = {"accept-language": asked} if asked else {}

    before, after = browser.get(path, headers=headers), browser.post(path, headers=headers)
    again = browser.post(path, {"undo": "1"}, headers=headers)

    said = {
        "de": ("Abbestellen?", "Sie haben die Nachrichten abbestellt", "Sie erhalten die Nachrichten wieder"),
        "en": ("Unsubscribe?", "You are unsubscribed", "You are subscribed again"),
    }
    for page, words in zip((before, after, again), said[language], strict=True):
        assert words in page.content.decode()
        assert f'<html lang="{language}">' in page.content.decode()
        assert ("Ankündigungen" if language == "de" else "Announcements") in page.content.decode()


def test_following_the_link_shows_a_page_and_changes_nothing(browser, path, user, queries):
    for _ in range(3):
        with queries() as made:
            answer = browser.get(path, headers={"authorization": "Bearer junk"})
        assert made() <= 3

        assert answer.status_code == 200
        assert "Unsubscribe?" in answer.content.decode()
    assert not Suppression.objects.exists()
    assert not Preference.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"List-Unsubscribe": "One-Click"}},
        {"data": "List-Unsubscribe=One-Click", "content_type": "application/x-www-form-urlencoded"},
        {"data": "", "content_type": "text/plain"},
        {"data": "{", "content_type": "application/json"},
    ],
)
def test_one_click_is_enough_however_often(browser, path, body):
    for _ in range(2):
        answer = browser.post(path, **body, headers={"authorization": "Basic eDp5"})

        assert answer.status_code == 200
        assert "You are unsubscribed" in answer.content.decode()
    assert listed() == UNSUBSCRIBED
    assert "You are unsubscribed" in browser.get(path).content.decode()


def test_the_switch_of_a_known_person_follows_and_is_taken_back(browser, user):
    path = urlsplit(preferences.unsubscribe_url(user.email, "announcement")).path

    browser.post(path)
    assert Preference.objects.get(user=user, category="announcement", channel="email").enabled is False
    for _ in range(2):
        assert "subscribed again" in browser.post(path, {"undo": "1"}).content.decode()

    assert Preference.objects.get(user=user).enabled is True
    assert not Suppression.objects.exists()
    assert outbox.queue("tests.offer", to=user.email, context={}, user=user)[0].state == "queued"


def test_undoing_leaves_what_others_put_on_the_list(browser, path):
    suppress(ADDRESS, scope="announcement", reason="complaint", source="webhook")
    browser.post(path)

    page = browser.post(path, {"undo": "1"}).content.decode()

    assert "still blocked" in page
    assert listed() == {(ADDRESS, "announcement", "complaint")}


def test_only_that_kind_of_mail_ends(browser, path, django_capture_on_commit_callbacks):
    browser.post(path)

    with django_capture_on_commit_callbacks(execute=True):
        (offer,) = outbox.queue("tests.offer", to=ADDRESS, context={})
        (code,) = outbox.queue("tests.hello", to=ADDRESS, context={})

    assert (offer.state, offer.reason) == ("suppressed", "suppressed")
    assert [sent.to for sent in mail.outbox] == [[ADDRESS]]
    assert code.category == "security"


def test_a_link_that_was_not_made_here_is_not_there(browser, path):
    token = path.rpartition("/")[2]
    wrong = [token[:-1], f"{token}A", f"{token}=", token.swapcase(), "x", "read", "ü", "%00", "%ED%A0%80", "A" * 3000]

    for forged in wrong:
        for call in (browser.get, browser.post):
            answer = call(f"/api/notifications/unsubscribe/{forged}")
            assert answer.status_code == 404, forged
    assert not Suppression.objects.exists()


def test_old_links_outlive_a_change_of_the_key(browser, path, settings):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another-key-0123456789-abcdefghijkl", [settings.SECRET_KEY]
    assert browser.get(path).status_code == 200

    settings.SECRET_KEY_FALLBACKS = []
    assert browser.get(path).status_code == 404


def test_the_pages_work_under_a_strict_policy_and_show_no_whole_address(browser, path):
    pages = [browser.get(path), browser.post(path), browser.post(path, {"undo": ""})]

    for answer in pages:
        page = answer.content.decode()
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=", page)
        assert 'name="viewport"' in page
        assert "a•••@example.org" in page
        assert "ada" not in page
        assert "style-src 'self'" in answer["Content-Security-Policy"]
        assert answer["Cache-Control"] == "no-store"
        assert re.search(r'<form method="post"><button type="submit"', page)
    assert finders.find("notifications/unsubscribe.css")


def test_no_log_line_holds_the_link(browser, path, caplog):
    caplog.set_level("INFO")
    token = path.rpartition("/")[2]

    browser.get(path)
    browser.post(path)
    browser.delete(path)

    lines = [record.path for record in caplog.records if record.name == "switchboard.request"]
    assert lines == ["/api/notifications/unsubscribe/…"] * 3
    assert not any(token in str(vars(record)) for record in caplog.records if record.name.startswith("switchboard"))


def test_mail_programs_are_told_of_both_ways(settings):
    offer = MessageFactory.create(type="tests.offer", category="announcement", to_address=ADDRESS)

    url = preferences.unsubscribe_url(ADDRESS, "announcement")
    assert preferences.list_unsubscribe_headers(offer) == {
        "List-Unsubscribe": f"<{url}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    settings.NOTIFICATIONS_UNSUBSCRIBE_MAILTO = "leave@example.org"
    ways = preferences.list_unsubscribe_headers(offer)["List-Unsubscribe"]
    assert ways == f"<{url}>, <mailto:leave@example.org?subject=unsubscribe%20announcement>"


def test_what_is_required_offers_no_way_out():
    assert preferences.list_unsubscribe_headers(MessageFactory.create()) == {}
