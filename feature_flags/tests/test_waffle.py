"""The files are what `manage.py dumpdata waffle` of django-waffle 5.0 writes."""

import json
from pathlib import Path

import pytest
from django.contrib.auth.models import AnonymousUser

import feature_flags
from feature_flags import flag_document
from feature_flags.formats import waffle
from feature_flags.models import FeatureFlag
from feature_flags.services import editing, importing
from feature_flags.tests.factories import COMMAND, document_of
from feature_flags.tests.test_import import failure, outcome, run
from users.tests.factories import UserFactory

DATA = Path(__file__).parent / "data"


def flag(**fields):
    return {"model": "waffle.flag", "pk": 1, "fields": {"name": "x", "superusers": False, **fields}}


def load(*rows):
    notes = []
    return [flag_document.checked(document) for document in waffle.load(json.dumps(rows), notes.append).flags], notes


def refusal(*rows):
    contents = waffle.load(json.dumps(rows))
    assert not contents.flags
    return [str(problem) for problem in contents.problems]


@pytest.fixture
def dumped(db):
    importing.import_flags(*waffle.load((DATA / "waffle.json").read_text()), **COMMAND)


def enabled(name, context=None):
    return feature_flags.is_enabled(name, context)


@pytest.mark.parametrize(
    ("name", "superuser", "staff", "somebody", "nobody"),
    [
        ("everyone_on", True, True, True, True),
        ("everyone_off", False, False, False, False),
        ("superusers_by_default", True, False, False, False),
        ("members", True, True, True, False),
        ("nobody", False, False, False, False),
        ("tested", False, False, False, False),
        ("maintenance", True, True, True, True),
        ("old_search", False, False, False, False),
        ("log_all", True, True, True, True),
        ("log_none", False, False, False, False),
    ],
)
def test_a_flag_answers_as_waffle_did(dumped, name, superuser, staff, somebody, nobody):
    people = [
        UserFactory.create(superuser=True, email="root@example.org"),
        UserFactory.create(is_staff=True),
        UserFactory.create(),
        AnonymousUser(),
    ]

    assert [enabled(name, person) for person in people] == [superuser, staff, somebody, nobody]


def test_percentages_are_kept_with_whom_they_hold_to(dumped):
    quarter = [enabled("quarter", {"userId": str(number)}) for number in range(2_000)]

    assert 440 < sum(quarter) < 560
    assert quarter == [enabled("quarter", {"userId": str(number)}) for number in range(2_000)]
    document = document_of(editing.get("trace"))
    assert (document["rollout_percent"], document["stickiness"], document["is_active"]) == (1, "random", True)


def test_conditions_and_a_percentage_are_rules_side_by_side(dumped):
    document = document_of(editing.get("beta.team"))

    assert [(rule["label"], rule["rollout_percent"]) for rule in document["rules"]] == [
        ("superusers", 100),
        ("staff", 100),
        ("percent", 13),
    ]
    assert document["description"] == "Beta\nteam"
    assert enabled("beta.team", UserFactory.create(is_staff=True))


def test_users_become_targets_and_nobody_else_is_let_in(dumped):
    assert [enabled("some_people", {"userId": number}) for number in (1, 2, 3)] == [True, True, False]
    assert not enabled("some_people")


def test_a_flag_that_is_off_keeps_its_rules_for_later(dumped):
    editing.switch(editing.get("everyone_off"), on=True, **COMMAND)

    assert enabled("everyone_off", {"isStaff": "true"})
    assert not enabled("everyone_off", {"userId": "1"})


@pytest.mark.django_db
def test_the_command_says_what_is_not_kept_exactly():
    out, notes = run(str(DATA / "waffle.json"), "--format", "waffle")

    assert out.endswith("14 created, 0 changed, 0 archived, 0 as before.\n")
    assert notes.splitlines() == [
        "Note: beta.team: 12.5 % becomes 13 %.",
        "Note: beta.team: everybody keeps their place in the percentage, also those who are out.",
        "Note: some_people: 2 users keep their ids of the old project as targets, to be replaced by ours.",
        "Note: members: 1 user keeps its id of the old project as targets, to be replaced by ours.",
        "Note: tested: testing mode is left out.",
    ]
    assert run(str(DATA / "waffle.json"), "--format", "waffle")[0].endswith("14 as before.\n")


REFUSED = [
    "by_group: Groups cannot be held (1): write a rule for them here, or empty them there.",
    "by_language: Languages cannot be held (it,fr): write a rule for them here, or empty them there.",
]


@pytest.mark.django_db
def test_languages_and_groups_keep_their_own_flag_out_and_no_other():
    code, out, err = outcome(str(DATA / "waffle_refused.json"), "--format", "waffle")

    assert code == 3
    assert out.endswith("14 created, 0 changed, 0 archived, 0 as before, 2 not taken.\n")
    assert err.splitlines()[-2:] == [f"Not taken: {line}" for line in REFUSED]


@pytest.mark.django_db
def test_languages_and_groups_refuse_the_whole_file_on_demand():
    strict = failure(str(DATA / "waffle_refused.json"), "--format", "waffle", "--strict")

    assert strict == (1, "\n".join(REFUSED))
    assert FeatureFlag.objects.count() == 1


def test_a_flag_model_of_ones_own_is_found_by_its_columns():
    rows = json.loads((DATA / "waffle.json").read_text())
    models = {"waffle.flag": "shop.companyflag", "waffle.switch": "shop.switch", "waffle.sample": "shop.sample"}
    custom = [{**row, "model": models[row["model"]]} for row in rows]
    custom[0]["fields"] = {**custom[0]["fields"], "companies": [], "owner": ""}

    assert load(*custom) == load(*rows)


def test_natural_keys_name_users():
    (document,), notes = load(flag(users=[["ada"], ["bob"], ["ada"]]))

    assert document["targets"]["on"] == ["ada", "bob"]
    assert len(notes) == 1


def test_on_for_everyone_is_on_for_everyone():
    (document,), notes = load(flag(everyone=True, staff=True, percent="5.0"))

    assert (document["is_active"], document["rules"], document["rollout_percent"]) == (True, [], 100)
    assert notes == ["x: it is on for everyone; whom it was for otherwise is left out"]


@pytest.mark.parametrize(("percent", "whole"), [("0.1", 1), ("0.5", 1), ("49.5", 50), ("99.9", 99), ("50.0", 50)])
def test_a_little_stays_a_little(percent, whole):
    (document,), notes = load(flag(percent=percent))

    assert document["rollout_percent"] == whole
    assert bool(notes) == (float(percent) != whole)


@pytest.mark.django_db
def test_one_name_in_two_of_waffles_lists_is_refused():
    switch = {"model": "waffle.switch", "fields": {"name": "X", "active": True}}

    with pytest.raises(flag_document.InvalidFlag, match="X: It differs from x in letter case only."):
        importing.import_flags(*waffle.load(json.dumps([flag(), switch])), **COMMAND)


def test_other_models_are_left_out_and_named():
    documents, notes = load(flag(), {"model": "auth.user", "fields": {}}, {"model": "shop.flag", "fields": {}})

    assert len(documents) == 1
    assert notes == ["left out, as not django-waffle's own: auth.user, shop.flag"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": "no blanks"}, "no blanks.name: A codename starts"),
        ({"name": 7}, "flag 1.name: "),
        ({"company": 3}, "x.company: This column is not django-waffle's own"),
        ({"company": [3]}, "x.company: This column"),
        ({"percent": "abc"}, "x.percent: "),
        ({"percent": "nan"}, "x.percent: It is not between 0 and 100."),
        ({"percent": 10**400}, "x.percent: "),
        ({"everyone": "yes"}, "x.everyone: "),
        ({"users": 7}, "x.users: "),
    ],
)
def test_odd_fields_are_refused_by_name(fields, told):
    (found,) = refusal(flag(**fields))

    assert found.lower().startswith(told.lower())
