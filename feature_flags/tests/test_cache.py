"""Flags that look at the same fields are answered from memory, and must answer as if they were not."""

from itertools import product

import pytest

from feature_flags.http import cache
from feature_flags.models import FlagUsage
from feature_flags.runtime import store, usage
from feature_flags.tests.wire import constraint, make_flag

pytestmark = pytest.mark.django_db

COUNTRIES = ["IT", "FR", "", None]
SEATS = [None, "9", "10", 11]


def rule(country, seats, **more):
    limit = {"field": "seats", "operator": "NUM_GTE", "value": str(seats)}
    return {"constraints": [constraint("country", "IN", country), limit], **more}


@pytest.fixture
def alike(scene):
    for number in range(3):
        make_flag(f"FF_ALIKE_{number}", rules=[rule("IT" if number else "FR", 9 + number)])
    variants = [{"name": "one", "weight": 1000, "payload": "1"}]
    make_flag("FF_ALIKE_VARIANT", value_type="string", off_value="0", rules=[rule("IT", 10, variants=variants)])
    make_flag("FF_CHILD", rules=[rule("IT", 10)], prerequisites=[{"parent": "FF_ALIKE_1"}])
    make_flag("FF_HALF", rules=[rule("IT", 10, rollout_percent=50)])
    store.refresh()
    return [codename for codename in store.snapshot.flags if codename.startswith("FF_ALIKE")]


def contexts():
    for country, seats, user in product(COUNTRIES, SEATS, ["7", "8"]):
        given = {"targetingKey": user, "country": country, "seats": seats}
        yield {field: value for field, value in given.items() if value is not None}


def test_all_at_once_says_what_each_alone_says(alike, bulk, evaluate):
    (group,) = sheet().groups
    assert len(group.evaluates) == len(alike)
    for context in [*contexts()] * 2:
        together = {flag["key"]: flag for flag in bulk(context).json()["flags"]}

        for codename in (*alike, "FF_CHILD", "FF_HALF"):
            assert together[codename] == evaluate(codename, context).json()
    assert len(group.known) == len(COUNTRIES) * len(SEATS)


def sheet():
    return cache.cache_of(store.snapshot).all_evaluations


def test_what_comes_from_memory_is_counted(alike, bulk, scene):
    for user in ("7", "8", "9"):
        bulk({"targetingKey": user, "country": "IT", "seats": 10})
    usage.flush()

    rows = FlagUsage.objects.filter(codename__in=alike)
    assert sorted(rows.values_list("codename", "variant", "yes", "no")) == [
        ("FF_ALIKE_0", "", 0, 3),
        ("FF_ALIKE_1", "", 3, 0),
        ("FF_ALIKE_2", "", 0, 3),
        ("FF_ALIKE_VARIANT", "", 3, 0),
        ("FF_ALIKE_VARIANT", "one", 3, 0),
    ]


def test_a_flood_of_values_fills_no_memory(alike, bulk, monkeypatch):
    monkeypatch.setattr(cache, "_GROUP_BYTES", 20_000)
    cache.forget()
    (group,) = sheet().groups

    for number in range(100):
        bulk({"country": f"{number}" * 100, "seats": 10})
        held = sum(len(body) + len(values[0]) for values, (_, body) in group.known.items())
        assert held <= 20_000
    assert group.known


def test_flags_that_tell_people_apart_are_not_remembered(bulk, scene):
    for number in range(6):
        make_flag(f"FF_MAIL_{number}", rules=[{"constraints": [constraint("email", "IN", "a@example.org")]}])
        make_flag(f"FF_SHARE_{number}", rules=[{"rollout_percent": 50}])
    store.refresh()

    assert sheet().groups == []
    assert bulk({"email": "a@example.org"}).status == 200
