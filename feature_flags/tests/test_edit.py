import pytest

from feature_flags.models import FeatureFlag, FlagSetState
from feature_flags.services import editing, segments
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, rewrite_rules
from lib.errors import ProductError

pytestmark = pytest.mark.django_db


def test_editing_records_only_what_changed():
    flag = FeatureFlagFactory.create(label="Old", description="same")

    changed = editing.edit(flag, {"label": "New", "description": "same"}, **COMMAND)

    assert changed
    assert FeatureFlag.objects.get(pk=flag.pk).label == flag.label == "New"
    assert flag.revisions.latest("id").diff == {"label": ["Old", "New"]}


def test_editing_to_the_same_records_nothing():
    flag = FeatureFlagFactory.create()
    before = FlagSetState.objects.get().revision

    assert not editing.edit(flag, {"label": "", "description": None}, **COMMAND)
    assert flag.revisions.count() == 1
    assert FlagSetState.objects.get().revision == before


def test_editing_a_stale_object_keeps_the_switch():
    flag = FeatureFlagFactory.create()
    stale = FeatureFlag.objects.get(pk=flag.pk)
    editing.switch(flag, on=True, **COMMAND)

    editing.edit(stale, {"label": "New", "description": None}, **COMMAND)

    assert stale.is_active
    assert FeatureFlag.objects.get(pk=flag.pk).is_active


@pytest.mark.parametrize("label", ["a\x00b", "\udfff", "a" * 201])
def test_text_that_cannot_be_stored_is_refused(label):
    flag = FeatureFlagFactory.create()

    with pytest.raises(ProductError, match="label"):
        editing.edit(flag, {"label": label, "description": None}, **COMMAND)

    assert flag.revisions.count() == 1


def test_a_flag_that_is_gone_is_unknown():
    flag = FeatureFlagFactory.create()
    FeatureFlag.objects.filter(pk=flag.pk).delete()

    with pytest.raises(ProductError) as caught:
        editing.edit(flag, {"label": "New", "description": None}, **COMMAND)

    assert caught.value.code == "FLAG_UNKNOWN"


# --- One document, one meaning ----------------------------------------------------------------------------------------


def with_constraint(**constraint):
    return {"rules": [{"constraints": [{"field": "x", **constraint}]}]}


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        (with_constraint(operator="IN", values=["a", ""]), "rules.0.constraints.0.values"),
        (with_constraint(operator="STR_CONTAINS", values=[" a"]), "rules.0.constraints.0.values"),
        (with_constraint(operator="REGEX", value=r"\bcat\b"), "rules.0.constraints.0.value"),
        (with_constraint(operator="DATE_AFTER", value="2024-05-01T00:00:00Z"), "rules.0.constraints.0.field"),
        ({"rules": [{"stickiness": "constructor"}]}, "rules.0.stickiness"),
        ({"stickiness": "currentTime"}, "stickiness"),
        ({"group_id": "grüppe"}, "group_id"),
        ({"targets": {"on": ["a\\"]}}, "targets.on"),
        ({"prerequisites": [{"parent": "FF_P", "required": False, "variants": ["v"]}]}, "prerequisites.0.variants"),
    ],
)
def test_what_sdks_read_in_two_ways_is_refused(changes, place):
    FeatureFlagFactory.create(codename="FF_P")
    flag = FeatureFlagFactory.create()

    with pytest.raises(ProductError) as caught:
        editing.edit(flag, changes, **COMMAND)

    assert place in [".".join(map(str, problem.place)) for problem in caught.value.problems]
    assert flag.revisions.count() == 1


def test_a_segment_is_measured_as_rules_are():
    with pytest.raises(ProductError, match="takes blanks off"):
        segments.create_segment("S", constraints=[{"field": "x", "operator": "IN", "values": ["a "]}], **COMMAND)


def test_a_pattern_is_saved_in_the_form_that_all_read_alike():
    flag = FeatureFlagFactory.create(**with_constraint(operator="REGEX", value=r"^\d+$"))

    assert flag.document["rules"][0]["constraints"][0]["value"] == "^[0-9]+$"
    assert not editing.edit(flag, with_constraint(operator="REGEX", value=r"^\d+$"), **COMMAND)


def test_what_was_stored_before_can_be_switched_and_edited():
    flag = FeatureFlagFactory.create(**with_constraint(operator="IN", values=["a"]))
    old = {"field": "x", "operator": "IN", "values": [" a", ""], "inverted": False, "case_insensitive": False}
    rewrite_rules(flag, constraints=[old])

    editing.switch(flag, on=True, **COMMAND)
    editing.edit(flag, {"label": "Old", "rules": [{"constraints": [old]}, {}]}, **COMMAND)

    assert flag.document["rules"][0]["constraints"] == [old]
    with pytest.raises(ProductError, match="takes blanks off"):
        editing.edit(flag, {"rules": [{"constraints": [{**old, "values": [" b"]}]}]}, **COMMAND)
