"""What a save would do, told before it is done; rules as sentences, and the rule most often wanted."""

import pytest

from feature_flags import descriptions
from feature_flags.models import FeatureFlag, FlagRevision
from feature_flags.runtime import store
from feature_flags.services import editing
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, make_staff
from feature_flags.tests.pages import filled, page
from users.tests.factories import UserFactory

DOMAIN = {"field": "emailDomain", "operator": "IN", "values": ["example.net"]}


@pytest.fixture
def flag(db):
    flag = editing.create("FF_A", is_active=True, rules=[{"constraints": [DOMAIN]}], **COMMAND)
    store.put(None)
    return flag


def preview(client, flag, value="page", **changes):
    given = filled(client.get(page(flag)))
    return client.post(page(flag), {**given, **changes, "_preview": value})


def test_it_says_what_changes_and_for_how_many(staff_client, flag):
    for number in range(3):
        UserFactory.create(email=f"{number}@example.net")
    before = FlagRevision.objects.count()

    answer = preview(staff_client, flag, **{"rules-0-constraints-0-values": "example.com"})

    assert answer.status_code == 200
    html = " ".join(answer.content.decode().split())
    assert "rule 1, constraint removed: emailDomain is one of example.net" in html
    assert f"Of {3 + 1} people looked at, 3 change." in html
    assert 'value="example.com"' in html or "example.com</textarea>" in html
    assert FlagRevision.objects.count() == before


def test_of_a_flag_that_is_off_it_says_whom_it_would_reach(staff_client, flag):
    UserFactory.create(email="ada@example.com")
    FeatureFlag.objects.update(is_active=False)

    html = preview(staff_client, flag, **{"rules-0-constraints-0-values": "example.com"}).content.decode()

    assert "Nothing changes while the flag is off; once on, it reaches 1 of 2 people looked at." in html


def test_the_script_is_answered_with_that_alone(staff_client, flag):
    html = preview(staff_client, flag, "fragment", label="New").content.decode()

    assert "label: – → New" in html
    assert "<form" not in html
    assert "Nothing to save." in preview(staff_client, flag, "fragment").content.decode()


def test_what_cannot_be_saved_is_not_guessed_about(staff_client, flag):
    response = preview(staff_client, flag, rollout_percent="101", **{"rules-0-rollout_percent": "101"})

    assert "people looked at" not in response.content.decode()
    assert "errorlist" in response.content.decode()


def test_people_are_read_by_one_statement(staff_client, flag, queries):
    UserFactory.create_batch(20)
    given = filled(staff_client.get(page(flag))) | {"label": "New", "_preview": "fragment"}

    with queries() as made:
        staff_client.post(page(flag), given)

    assert made() <= 12


def test_anyone_who_may_only_look_asks_for_nothing(client, flag):
    client.force_login(make_staff("clerk@example.org", "view_featureflag"))

    assert client.post(page(flag), {"_preview": "page"}).status_code == 403


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({}, "100 % of everybody → on"),
        (
            {"rollout_percent": 10, "constraints": [DOMAIN]},
            "10 % of people whose emailDomain is example.net → on",
        ),
        (
            {"segments": ["Invited"], "is_enabled": False},
            "not used: 100 % of people in the segment Invited → on",
        ),
        (
            {"constraints": [{**DOMAIN, "operator": "STR_ENDS_WITH", "values": ["a", "b"]}], "variants": [{}, {}]},
            "100 % of people whose emailDomain ends with a, b → one of 2 variants",
        ),
    ],
)
def test_a_rule_reads_as_a_sentence(rule, sentence):
    assert descriptions.rule_sentence(rule) == sentence


def test_a_rule_is_folded_until_it_is_worked_on(staff_client):
    flag = FeatureFlagFactory.create(codename="FF_B", rules=[{"rollout_percent": 5, "label": "a & b"}])
    drawn = staff_client.get(page(flag))
    html = " ".join(drawn.content.decode().split())
    assert (
        '<details> <summary><span class="quiet">Rule 1</span> <strong>a &amp; b:</strong> 5 % of everybody → on' in html
    )

    pressed = staff_client.post(page(flag), {**filled(drawn), "_rows": "domain rules"})

    html = " ".join(pressed.content.decode().split())
    assert (
        '<details open> <summary><span class="quiet">or Rule 2</span> 10 % of people whose emailDomain is … → on'
        in html
    )
    fields = filled(pressed)
    assert fields["rules-1-rollout_percent"] == "10"
    assert fields["rules-1-constraints-0-field"] == "emailDomain"
