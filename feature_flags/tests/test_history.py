"""Every kind of write leaves one revision; an older one can be had again."""

from datetime import timedelta

import pytest
from django.utils import timezone

from feature_flags import flag_document
from feature_flags.models import FeatureFlag, FlagRevision, FlagSeen, FlagSetState
from feature_flags.runtime import store
from feature_flags.services import editing, schedules, segments, tokens
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, document_of, make_staff
from feature_flags.unleash_feature import definition
from lib.actors import Actor
from lib.errors import ProductError

pytestmark = pytest.mark.django_db

RULE = {
    "label": "Italy",
    "rollout_percent": 20,
    "stickiness": "email",
    "constraints": [
        {"field": "country", "operator": "IN", "values": ["IT"], "inverted": True},
        {"field": "age", "operator": "NUM_GTE", "value": "18"},
    ],
    "variants": [{"name": "a", "weight": 1, "payload": "x"}, {"name": "b", "weight": 2, "payload": "y"}],
}
WHOLE = {
    "label": "L",
    "description": "D",
    "kind": "experiment",
    "value_type": "string",
    "off_value": "off",
    "rollout_percent": 30,
    "stickiness": "sessionId",
    "exposed": False,
    "impression_data": True,
    "owner": "Ada",
    "tags": ["beta", "alpha"],
    "review_on": "2030-01-31",
    "rules": [RULE, {"is_enabled": False, "segments": ["Invited"]}],
    "variants": [{"name": "v", "payload": "z"}],
    "targets": {"on": ["1", "2"], "off": ["3"]},
}


@pytest.fixture
def whole():
    segments.create_segment("Invited", constraints=[{"field": "email", "operator": "IN", "values": ["a"]}], **COMMAND)
    parent = FeatureFlagFactory.create()
    return editing.create("FF_WHOLE", **WHOLE, prerequisites=[{"parent": parent.codename}], **COMMAND)


def refused(code, call):
    before = FlagSetState.objects.get().revision, FlagRevision.objects.count()
    with pytest.raises(ProductError) as caught:
        call()
    assert (FlagSetState.objects.get().revision, FlagRevision.objects.count()) == before
    assert caught.value.code == code
    return caught.value


def test_a_document_comes_back_as_it_was_given(whole):
    document = document_of(whole)

    assert document["rules"][0] == {
        **RULE,
        "is_enabled": True,
        "group_id": "FF_WHOLE",
        "segments": [],
        "constraints": document["rules"][0]["constraints"],
        "variants": [{**variant, "written_as": None} for variant in RULE["variants"]],
    }
    assert flag_document.checked(document) == document
    assert {key: document[key] for key in WHOLE if key not in {"rules", "tags", "variants"}} == {
        key: value for key, value in WHOLE.items() if key not in {"rules", "tags", "variants"}
    }
    assert document["tags"] == ["alpha", "beta"]


@pytest.mark.parametrize(
    "changes",
    [
        {"label": "New"},
        {"rules": []},
        {"rules": [{**RULE, "rollout_percent": 21}]},
        {"rules": [{"segments": ["Invited"]}, RULE]},
        {"variants": [{"name": "w", "payload": "z"}]},
        {"targets": {"on": [], "off": ["1"]}},
        {"prerequisites": []},
        {"tags": ["gamma"]},
        {"off_value": None},
        {"review_on": None},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_one_edit_is_one_revision_and_can_be_undone(whole, changes):
    first = document_of(whole)
    made, base = definition(first, {"Invited": 1}), whole.revisions.latest("id")
    count = whole.revisions.count()

    assert editing.edit(whole, changes, **COMMAND)
    assert not editing.edit(whole, changes, **COMMAND)
    edited = whole.revisions.latest("id")
    assert whole.revisions.count() == count + 1
    assert edited.snapshot == document_of(whole) != first
    assert set(edited.diff) == set(changes)

    assert editing.restore(base, **COMMAND)
    assert document_of(whole) == first
    assert definition(document_of(whole), {"Invited": 1}) == made
    assert whole.revisions.latest("id").action == "restore"
    assert whole.revisions.count() == count + 2


def test_every_verb_leaves_one_revision_and_raises_the_number():
    flag = FeatureFlagFactory.create(codename="FF_A")
    segment = segments.create_segment("S", **COMMAND)
    token, _ = tokens.create_token("T", kind="server", **COMMAND)
    entry = schedules.schedule(flag, at=timezone.now() + timedelta(days=1), action="on", **COMMAND)
    verbs = {
        "switch": lambda: editing.switch(flag, on=True, **COMMAND),
        "edit": lambda: editing.edit(flag, {"rules": [RULE | {"variants": []}]}, **COMMAND),
        "cancel": lambda: schedules.cancel_schedule(entry, **COMMAND),
        "rename": lambda: editing.rename(flag, "FF_B", **COMMAND),
        "archive": lambda: editing.archive(flag, **COMMAND),
        "unarchive": lambda: editing.unarchive(flag, **COMMAND),
        "schedule": lambda: schedules.schedule(flag, at=timezone.now() + timedelta(days=1), action="off", **COMMAND),
        "segment": lambda: segments.edit_segment(segment, {"description": "x"}, **COMMAND),
        "segment gone": lambda: segments.delete_segment(segment, **COMMAND),
        "revoke": lambda: tokens.revoke_token(token, **COMMAND),
        "delete": lambda: editing.delete(flag, **COMMAND),
    }
    for name, verb in verbs.items():
        before = FlagSetState.objects.get().revision, FlagRevision.objects.count()
        verb()
        after = FlagSetState.objects.get().revision, FlagRevision.objects.count()
        assert (after[0] - before[0], after[1] - before[1]) == (1, 1), name


def test_a_stale_form_is_refused_and_told_who_and_what():
    flag, user = FeatureFlagFactory.create(), make_staff()
    base = flag.revisions.latest("id").pk
    editing.edit(flag, {"label": "Theirs"}, actor=Actor("admin", user))

    error = refused("FLAG_CHANGED", lambda: editing.edit(flag, {"label": "Mine"}, base=base, **COMMAND))

    assert "staff@example.org" in error.message
    assert "label" in error.message


def test_a_protected_flag_wants_a_reason_for_each_switch():
    flag = FeatureFlagFactory.create(is_protected=True)

    refused("REASON_REQUIRED", lambda: editing.switch(flag, on=True, **COMMAND))
    refused("REASON_REQUIRED", lambda: editing.edit(flag, {"is_active": True}, **COMMAND, reason="  "))
    refused("REASON_REQUIRED", lambda: schedules.schedule(flag, at=timezone.now(), action="on", **COMMAND))
    assert editing.edit(flag, {"label": "x"}, **COMMAND)
    assert editing.switch(flag, on=True, **COMMAND, reason="launch")


def test_kill_switches_are_born_protected():
    assert FeatureFlagFactory.create(kind="kill_switch").is_protected


def test_archiving_hides_and_keeps_the_name():
    flag = FeatureFlagFactory.create(codename="FF_A", on=True)

    assert editing.archive(flag, **COMMAND)
    assert not editing.archive(flag, **COMMAND)

    assert not flag.is_active
    assert "FF_A" not in store.snapshot.flags
    refused("FLAG_EXISTS", lambda: editing.create("ff_a", **COMMAND))
    refused("FLAG_ARCHIVED", lambda: editing.switch(flag, on=True, **COMMAND))
    refused("FLAG_ARCHIVED", lambda: editing.edit(flag, {"label": "x"}, **COMMAND))
    assert editing.unarchive(flag, **COMMAND)
    assert not store.snapshot.flags["FF_A"].constant.enabled


def test_declared_flags_stay():
    flag = editing.get("FF_ENABLE_REGISTRATION")

    refused("FLAG_DECLARED", lambda: editing.archive(flag, **COMMAND, reason="x"))
    refused("FLAG_DECLARED", lambda: editing.delete(flag, **COMMAND))
    refused("FLAG_DECLARED", lambda: editing.rename(flag, "FF_X", **COMMAND))


def test_what_was_asked_for_is_archived_before_it_is_deleted():
    flag = FeatureFlagFactory.create(codename="FF_A")
    FlagSeen.objects.create(codename="FF_A")

    refused("FLAG_IN_USE", lambda: editing.delete(flag, **COMMAND))
    editing.archive(flag, **COMMAND)
    editing.delete(flag, **COMMAND)

    assert not FeatureFlag.objects.filter(codename="FF_A").exists()
    assert FlagRevision.objects.filter(codename="FF_A").latest("id").action == "delete"


def test_a_deleted_flag_comes_back(whole):
    before, revision = document_of(whole), whole.revisions.latest("id")
    editing.delete(whole, **COMMAND)

    editing.restore(FlagRevision.objects.get(pk=revision.pk), **COMMAND)

    assert document_of(editing.get("FF_WHOLE")) == before


def test_a_renamed_flag_keeps_its_places_and_its_children():
    parent = FeatureFlagFactory.create(codename="FF_A", on=True, rollout_percent=50)
    FeatureFlagFactory.create(codename="FF_CHILD", on=True, prerequisites=[{"parent": "FF_A"}])
    people = [{"userId": str(number)} for number in range(50)]
    before = [store.snapshot.flags["FF_A"].evaluate(person, store.snapshot.flags).enabled for person in people]

    assert editing.rename(parent, "FF_B", **COMMAND)

    flags = store.snapshot.flags
    assert [flags["FF_B"].evaluate(person, flags).enabled for person in people] == before
    assert [flags["FF_CHILD"].evaluate(person, flags).enabled for person in people] == before
    refused("FLAG_EXISTS", lambda: editing.rename(parent, "ff_child", **COMMAND))


def test_prerequisites_have_one_level():
    for name in ("FF_A", "FF_B", "FF_C"):
        FeatureFlagFactory.create(codename=name)
    a, b = editing.get("FF_A"), editing.get("FF_B")
    editing.edit(a, {"prerequisites": [{"parent": "FF_B"}]}, **COMMAND)

    refused("PREREQUISITE_CHAIN", lambda: editing.edit(b, {"prerequisites": [{"parent": "FF_C"}]}, **COMMAND))
    c = editing.get("FF_C")
    refused("PREREQUISITE_CHAIN", lambda: editing.edit(c, {"prerequisites": [{"parent": "FF_A"}]}, **COMMAND))
    refused("FLAG_INVALID", lambda: editing.edit(c, {"prerequisites": [{"parent": "FF_NONE"}]}, **COMMAND))
    refused("FLAG_INVALID", lambda: editing.edit(c, {"prerequisites": [{"parent": "FF_C"}]}, **COMMAND))
    refused("FLAG_IN_USE", lambda: editing.archive(b, **COMMAND))


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"rollout_percent": 101}, ("rollout_percent",)),
        ({"rollout_percent": "50"}, ("rollout_percent",)),
        ({"typo": 1}, ("typo",)),
        ({"kind": "other"}, ("kind",)),
        (
            {"rules": [{"constraints": [{"field": "a", "operator": "NOPE", "values": ["x"]}]}]},
            ("rules", 0, "constraints", 0, "operator"),
        ),
        (
            {"rules": [{}, {"constraints": [{"field": "a", "operator": "NUM_GT", "value": "many"}]}]},
            ("rules", 1, "constraints", 0, "value"),
        ),
        (
            {"rules": [{"constraints": [{"field": "a", "operator": "REGEX", "value": "("}]}]},
            ("rules", 0, "constraints", 0, "value"),
        ),
        ({"rules": [{"segments": ["Nobody"]}]}, ("rules", 0, "segments")),
        ({"rules": [{}] * 101}, ("rules",)),
        ({"variants": [{"name": "a"}, {"name": "a"}]}, ("variants",)),
        ({"variants": [{"name": "a", "weight": 0}]}, ("variants", 0, "weight")),
        ({"variants": [{"name": "a", "payload": "x"}]}, ("variants", 0, "payload")),
        ({"off_value": 1}, ("off_value",)),
        ({"targets": {"on": ["a,b"]}}, ("targets", "on", 0)),
        ({"targets": {"on": ["a"], "off": ["a"]}}, ("targets",)),
        ({"owner": "a\x00b"}, ("owner",)),
        ({"review_on": "tomorrow"}, ("review_on",)),
        ({"value_type": "string", "is_active": True}, ("is_active",)),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_at_its_place(changes, place):
    flag = FeatureFlagFactory.create()

    error = refused("FLAG_INVALID", lambda: editing.edit(flag, changes, **COMMAND))

    assert place in [problem.place for problem in error.problems]


@pytest.mark.parametrize("payload", [{"a": "\x00"}, {"\ud800": 1}, float("nan"), 2**60, 10**400, "5", True])
def test_payloads_that_no_database_or_client_holds_are_refused(payload):
    value_type = "object" if isinstance(payload, dict) else "integer"
    changes = {"value_type": value_type, "variants": [{"name": "a", "payload": payload}]}
    flag = FeatureFlagFactory.create()

    refused("FLAG_INVALID", lambda: editing.edit(flag, changes, **COMMAND))


@pytest.mark.parametrize("payload", ["C:\\u0000dir", "\\ud800", "a\\\\u0000", ""])
def test_a_text_that_only_looks_like_an_escape_is_kept(payload):
    flag = FeatureFlagFactory.create(value_type="string", variants=[{"name": "a", "payload": payload}])

    assert document_of(flag)["variants"][0]["payload"] == payload


def test_the_type_stays_once_there_are_variants(whole):
    refused(
        "FLAG_INVALID",
        lambda: editing.edit(
            whole, {"value_type": "integer", "variants": [], "rules": [], "off_value": None}, **COMMAND
        ),
    )


def test_segments_in_use_are_not_deleted(whole):
    from feature_flags.models import Segment

    error = refused("SEGMENT_IN_USE", lambda: segments.delete_segment(Segment.objects.get(), **COMMAND))

    assert "FF_WHOLE" in error.message


def test_all_rules_disabled_is_off_and_not_everybody():
    flag = FeatureFlagFactory.create(on=True, rules=[{"is_enabled": False}])
    assert not store.snapshot.flags[flag.codename].constant.enabled

    editing.edit(flag, {"rules": []}, **COMMAND)

    assert store.snapshot.flags[flag.codename].constant.enabled
