from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

import notifications
from lib import email_url
from notifications import checks, engine, registry
from notifications.providers import base
from notifications.rendering.checks import unsubscribing_survives
from notifications.tests import kinds


def use(settings, url):
    settings.EMAIL_URL = url
    for setting, value in email_url.parse(url).items():
        setattr(settings, setting, value)


def ids(check):
    return [message.id for message in check()]


@pytest.mark.parametrize("url", ["consolemail://", "filemail:///tmp/x", "memorymail://", "dummymail://"])
def test_mail_that_stays_here_is_warned_of_outside_debug(settings, url):
    use(settings, url)
    assert ids(checks.mail_leaves) == []

    settings.ENVIRONMENT = "production"

    assert ids(checks.mail_leaves) == ["notifications.W001"]
    settings.DEBUG = True
    assert ids(checks.mail_leaves) == []


def test_a_mail_server_needs_a_sender(settings):
    settings.DEFAULT_FROM_EMAIL = ""
    assert ids(checks.sender_is_set) == []

    use(settings, "smtp://mail.example.org")

    assert ids(checks.sender_is_set) == ["notifications.E006"]
    settings.NOTIFICATIONS_ENGINE = "embedded"
    with pytest.raises(ImproperlyConfigured, match="DEFAULT_FROM_EMAIL"):
        engine.start()


@pytest.mark.parametrize(
    ("url", "missing", "line"),
    [
        ("postmark://secret-token@", "anymail", "pip install django-anymail"),
        ("ses://?region=eu-west-1", "boto3", 'pip install "django-anymail[amazon-ses]"'),
    ],
)
def test_a_provider_whose_package_is_missing_stops_the_start_with_the_pip_line(
    settings, monkeypatch, url, missing, line
):
    monkeypatch.setattr(checks, "find_spec", lambda name: None if name == missing else object())
    use(settings, url)
    settings.NOTIFICATIONS_ENGINE = "embedded"

    with pytest.raises(ImproperlyConfigured) as refusal:
        engine.start()

    assert line in str(refusal.value)
    assert "secret-token" not in str(refusal.value)
    assert ids(checks.provider_is_installed) == ["notifications.E003"]


def test_a_provider_whose_package_is_there_is_fine(settings):
    use(settings, "postmark://token@")

    assert checks.refuse_start() == []


def test_sqlite_without_immediate_is_warned_of(monkeypatch):
    from django.db import connection

    assert ids(checks.sqlite_waits_its_turn) == []
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {})

    assert ids(checks.sqlite_waits_its_turn) == (["notifications.W003"] if connection.vendor == "sqlite" else [])


def test_a_provider_that_drops_unsubscribe_headers_is_warned_of(settings):
    notifications.declare(
        "tests.news", label="News", context=kinds.Context, category="announcement", priority=notifications.BULK
    )
    try:
        use(settings, "mailersend://token@")
        assert ids(unsubscribing_survives) == ["notifications.W004"]
        use(settings, "smtp+tls://smtp.mailersend.net")
        assert ids(unsubscribing_survives) == []
    finally:
        registry.forget("tests.news")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30),
        (" 30 ", 30),
        ("99999999999999999999", 6 * 3600),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("٣", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 6 * 3600),
        ("Fri, 99 Foo 99999 99:99:99 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    wait = base.retry_after(header)

    assert wait == (None if seconds is None else timedelta(seconds=seconds))


def test_retry_after_as_a_date_counts_from_now():
    now = timezone.now().replace(microsecond=0)

    assert base.retry_after((now + timedelta(minutes=5)).strftime("%a, %d %b %Y %H:%M:%S GMT"), now=now) == timedelta(
        minutes=5
    )


def test_waits_grow_and_can_be_scaled(settings):
    def waits(backoff):
        return [base.wait_after(n, backoff).total_seconds() for n in (1, 2, 3, 8, 32767)]

    for backoff, wanted in {"standard": [30, 120, 480, 21600, 21600], "prompt": [5, 15, 45, 10935, 21600]}.items():
        for wait, about in zip(waits(backoff), wanted, strict=True):
            assert about * 0.79 <= wait <= about * 1.21
    settings.NOTIFICATIONS_BACKOFF_SCALE = 0.01
    assert waits("standard")[0] < 0.4


@pytest.mark.parametrize("secret", ["//[", "http://[::1", "a&b", "https://x.org/?reset_token=abc%2Fdef", "\ud800"])
def test_scrubbing_never_raises_and_leaves_nothing(secret):
    assert secret not in base.scrub(f"said {secret}\0 and {secret}", [secret]) or secret == "\ud800"
    base.scrub("half \ud800", [secret]).encode()
