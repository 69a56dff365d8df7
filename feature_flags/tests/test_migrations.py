"""Flags of older versions come over as documents, and go back."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from feature_flags.models import FeatureFlag
from feature_flags.runtime import store
from feature_flags.services import editing
from feature_flags.tests.factories import COMMAND

pytestmark = pytest.mark.django_db(transaction=True)

PARTS = ("FlagRule", "FlagVariant", "FlagTarget", "FlagPrerequisite")
SPELLED = {"type": "number", "value": "5.00"}
DOCUMENT = {
    "value_type": "float",
    "off_value": 1e22,
    "rollout_percent": 40,
    "stickiness": "email",
    "group_id": "FF_BEFORE",
    "impression_data": True,
    "tags": ["app", "web"],
    "rules": [
        {
            "label": "Italy",
            "is_enabled": True,
            "rollout_percent": 30,
            "stickiness": "userId",
            "group_id": "g",
            "constraints": [{"field": "country", "operator": "IN", "values": ["IT"], "inverted": False}],
            "segments": ["Beta", "Team"],
            "variants": [{"name": "five", "weight": 3, "payload": 5.0, "written_as": SPELLED}],
        },
        {
            "label": "",
            "is_enabled": False,
            "rollout_percent": 100,
            "stickiness": "default",
            "group_id": "g",
            "constraints": [],
            "segments": [],
            "variants": [],
        },
    ],
    "variants": [
        {"name": "b", "weight": 1, "payload": None, "written_as": None},
        {"name": "a", "weight": 2, "payload": -0.5, "written_as": None},
    ],
    "prerequisites": [{"parent": "FF_PARENT", "required": False, "variants": []}],
    "targets": {"on": ["ada", "bob"], "off": ["eve"]},
}


@pytest.fixture
def migrate():
    yield lambda name: MigrationExecutor(connection).migrate([("feature_flags", name)])
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())
    store.put(None)


def models_at(name):
    apps = MigrationExecutor(connection).loader.project_state([("feature_flags", name)]).apps
    return lambda model: apps.get_model("feature_flags", model)


def rows(model):
    """All rows of the parts, without the keys that the databases give."""
    found = {}
    for name in PARTS:
        part = model(name)
        columns = [field.name for field in part._meta.concrete_fields if field.name not in ("id", "rule")]
        found[name] = sorted(map(repr, part.objects.order_by("pk").values_list(*columns)))
    rule = model("FlagRule")
    found["segments"] = sorted(rule.segments.through.objects.values_list("flagrule__position", "segment__name"))
    found["owners"] = sorted(model("FlagVariant").objects.values_list("name", "rule__position"), key=repr)
    own = ("off_value", "rollout_percent", "stickiness", "group_id", "impression_data")
    found["flags"] = sorted(model("FeatureFlag").objects.values_list("codename", *own), key=repr)
    return found


def make_old_flags(model):
    flag = model("FeatureFlag")
    parent = flag.objects.create(codename="FF_PARENT", group_id="FF_PARENT")
    own = ("value_type", "off_value", "rollout_percent", "stickiness", "group_id", "impression_data")
    child = flag.objects.create(codename="FF_CHILD", is_active=True, **{name: DOCUMENT[name] for name in own})
    child.tags.set([model("Tag").objects.create(name=name) for name in ("web", "app")])
    segments = {name: model("Segment").objects.create(name=name) for name in ("Team", "Beta")}
    for position, given in enumerate(DOCUMENT["rules"]):
        columns = {name: value for name, value in given.items() if name not in ("segments", "variants")}
        rule = model("FlagRule").objects.create(flag=child, position=position, **columns)
        rule.segments.set([segments[name] for name in given["segments"]])
        for variant in given["variants"]:
            model("FlagVariant").objects.create(flag=child, rule=rule, **variant)
    for position, variant in enumerate(DOCUMENT["variants"]):
        model("FlagVariant").objects.create(flag=child, position=position, **variant)
    for state, identifiers in DOCUMENT["targets"].items():
        for identifier in reversed(identifiers):
            model("FlagTarget").objects.create(flag=child, identifier=identifier, always=state == "on")
    model("FlagPrerequisite").objects.create(flag=child, parent=parent, required=False)


def test_the_parts_of_a_flag_become_its_document_and_come_back(migrate):
    migrate("0005_one_spelling_of_domains")
    old = models_at("0005_one_spelling_of_domains")
    make_old_flags(old)
    before = rows(old)

    migrate("0007_drop_flag_parts")
    flag = FeatureFlag.objects.get(codename="FF_CHILD")
    document = flag.document
    index = [
        sorted(flag.tags.values_list("name", flat=True)),
        sorted(flag.segments.values_list("name", flat=True)),
        [parent.codename for parent in flag.parents.all()],
    ]
    migrate("0005_one_spelling_of_domains")
    after = rows(old)
    migrate("0007_drop_flag_parts")

    assert {name: document[name] for name in DOCUMENT} == DOCUMENT
    assert type(document["off_value"]) is float
    assert index == [["app", "web"], ["Beta", "Team"], ["FF_PARENT"]]
    assert after == before
    assert FeatureFlag.objects.get(codename="FF_CHILD").document == document
    assert editing.edit(FeatureFlag.objects.get(codename="FF_CHILD"), {"label": "New"}, **COMMAND)
