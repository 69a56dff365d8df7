import pytest
from django.contrib.auth import get_user_model

import notifications
from notifications import registry
from notifications.models import Preference, Suppression
from notifications.services import outbox
from notifications.services.recipients import suppress
from notifications.tests import offers

pytestmark = pytest.mark.django_db
PATH = "/notifications/preferences"


@pytest.fixture
def person(api, user):
    offers.declare()
    api.sign_in(user)
    return api


def categories(answer):
    assert answer.status_code == 200, answer.content
    return {category["code"]: category for category in answer.json()["categories"]}


def put(api, *choices):
    body = [dict(zip(("category", "channel", "enabled"), choice, strict=True)) for choice in choices]
    return api.call("PUT", PATH, body)


def test_all_is_on_until_somebody_chooses(person):
    found = categories(person.call("GET", PATH))

    assert found["announcement"] == {
        "code": "announcement",
        "label": "Announcements",
        "channels": {name: {"enabled": True, "fixed": False, "why": None} for name in ("email", "in_app")},
    }
    assert set(found) == {"security", "account", "announcement"}
    security = found["security"]["channels"]["email"]
    assert (security["enabled"], security["fixed"]) == (True, True)
    assert "always sent" in security["why"]


@pytest.mark.parametrize(("account", "asked"), [("de", ""), ("en", "de-AT")])
def test_what_one_may_choose_is_named_in_the_readers_language(person, user, account, asked):
    get_user_model().objects.filter(pk=user.pk).update(language=account)

    found = categories(person.call("GET", PATH, **{"accept-language": asked}))

    assert found["announcement"]["label"] == "Ankündigungen"
    assert found["security"]["channels"]["email"]["why"] == "Gehört zum Konto und wird immer gesendet."


def test_what_no_type_uses_is_not_listed(api, user):
    category = registry.declare_category("tests_unused", label="Unused")
    api.sign_in(user)

    try:
        assert "tests_unused" not in categories(api.call("GET", PATH))
    finally:
        registry._categories.pop(category.code)


def test_what_only_required_types_use_is_fixed(person):
    registry.declare_category("tests_bills", label="Bills")
    options = {"context": offers.Offer, "category": "tests_bills"}
    notifications.declare("tests.bill", label="Bill", required=True, **options)
    notifications.declare("tests.paid", label="Paid", channels=("in_app",), **options)

    try:
        channels = categories(person.call("GET", PATH))["tests_bills"]["channels"]
        assert {name: choice["fixed"] for name, choice in channels.items()} == {"email": True, "in_app": False}
        assert put(person, ("tests_bills", "email", False)).status_code == 400
    finally:
        registry._categories.pop("tests_bills")


def test_what_is_switched_off_is_not_sent(person, user):
    answer = put(person, ("announcement", "email", False))

    channels = categories(answer)["announcement"]["channels"]
    assert (channels["email"]["enabled"], channels["in_app"]["enabled"]) == (False, True)
    assert answer.json() == person.call("GET", PATH).json()
    (message,) = outbox.queue("tests.offer", to=user.email, context={}, user=user)
    assert (message.state, message.reason) == ("suppressed", "preference")


def test_a_choice_may_be_repeated_and_taken_back(person, user):
    for enabled in (False, False, True):
        put(person, ("announcement", "email", True), ("announcement", "email", enabled))

    assert Preference.objects.get(user=user).enabled is True


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (("security", "email", False), "PREFERENCE_FIXED"),
        (("account", "email", True), "PREFERENCE_FIXED"),
        (("tests_nothing", "email", False), "PREFERENCE_UNKNOWN"),
        (("announcement", "pigeon", False), "PREFERENCE_UNKNOWN"),
        (("security", "in_app", False), "PREFERENCE_UNKNOWN"),
    ],
)
def test_one_wrong_choice_changes_nothing(person, wrong, code):
    answer = put(person, ("announcement", "email", False), wrong)

    assert (answer.status_code, answer.json()["detail"]) == (400, f"ErrorCode.{code}")
    assert not Preference.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        "{",
        {},
        [1],
        [{"category": "announcement", "channel": "email"}],
        [{"category": "announcement", "channel": "email", "enabled": "no"}],
        [{"category": "\x00", "channel": "email", "enabled": False}],
        '[{"category": "\\ud800", "channel": "email", "enabled": false}]',
        [{"category": "x" * 101, "channel": "email", "enabled": False}],
    ],
)
def test_what_is_no_choice_is_told_so(person, body):
    assert person.call("PUT", PATH, body).status_code == 422


def test_an_unsubscription_shows_as_switched_off_and_ends_when_switched_on(person, user):
    suppress(user.email, scope="announcement", reason="unsubscribe", source="link")

    email = categories(person.call("GET", PATH))["announcement"]["channels"]["email"]
    assert (email["enabled"], email["fixed"]) == (False, False)
    answer = put(person, ("announcement", "email", True))

    assert categories(answer)["announcement"]["channels"]["email"]["enabled"] is True
    assert not Suppression.objects.exists()


@pytest.mark.parametrize(("scope", "reason"), [("announcement", "complaint"), ("optional", "staff")])
def test_what_others_put_on_the_list_cannot_be_switched_on(person, user, scope, reason):
    suppress(user.email, scope=scope, reason=reason, source="staff")

    email = categories(person.call("GET", PATH))["announcement"]["channels"]["email"]

    assert (email["enabled"], email["fixed"]) == (False, True)
    assert "support" in email["why"]
    assert put(person, ("announcement", "email", True)).status_code == 400
    assert Suppression.objects.count() == 1


def test_preferences_take_a_fixed_number_of_queries(person, queries):
    with queries() as made:
        person.call("GET", PATH)
    assert made() <= 4
    with queries() as made:
        put(person, ("announcement", "email", False), ("announcement", "in_app", False))
    assert made() <= 8
