"""Verbs that meet: whoever comes second finds what the first has done."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from feature_flags.models import FeatureFlag, FlagSetState, Segment
from feature_flags.runtime import snapshot, store
from feature_flags.services import editing, segments
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory
from feature_flags.tests.test_switch import together

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_flags_that_require_each_other_at_once_leave_one_requirement():
    for _ in range(5):
        one, two = FeatureFlagFactory.create(), FeatureFlagFactory.create()

        results = together(
            lambda one=one, two=two: editing.edit(one, {"prerequisites": [{"parent": two.codename}]}, **COMMAND),
            lambda one=one, two=two: editing.edit(two, {"prerequisites": [{"parent": one.codename}]}, **COMMAND),
        )

        assert sorted(results, key=str) == ["PREREQUISITE_CHAIN", True]
        assert FeatureFlag.objects.filter(pk__in=[one.pk, two.pk]).exclude(parents=None).count() == 1


def test_a_segment_is_used_or_deleted_and_never_both():
    for number in range(5):
        segment, flag = segments.create_segment(f"S{number}", **COMMAND), FeatureFlagFactory.create()

        results = together(
            lambda flag=flag, name=segment.name: editing.edit(flag, {"rules": [{"segments": [name]}]}, **COMMAND),
            lambda segment=segment: segments.delete_segment(segment, **COMMAND),
        )

        assert sorted(results, key=str) in ([None, "FLAG_INVALID"][::-1], ["SEGMENT_IN_USE", True])
        assert Segment.objects.filter(pk=segment.pk).exists() == (True in results)


def test_two_forms_saved_at_once_leave_one_change_and_one_refusal():
    flag = FeatureFlagFactory.create()
    base = flag.revisions.latest("id").pk

    results = together(
        *[lambda label=label: editing.edit(flag, {"label": label}, base=base, **COMMAND) for label in ("a", "b", "c")]
    )

    assert sorted(results, key=str) == ["FLAG_CHANGED", "FLAG_CHANGED", True]


def test_a_reader_meets_no_half_written_flag(settings):
    settings.FLAGS_REBUILD = "commit"
    flag = FeatureFlagFactory.create(on=True, rules=[{"label": "0", "rollout_percent": 0}], label="0")
    seen = []

    def write():
        for number in range(1, 15):
            editing.edit(flag, {"label": str(number), "rules": [{"label": str(number)}]}, **COMMAND)

    def read():
        from django.utils import timezone

        for _ in range(30):
            known = snapshot.build(None, timezone.now())
            entry = known.entries[flag.pk]
            label = entry.seed.split(b'"label":"')[1].split(b'"')[0].decode()
            seen.append((label, entry.compiled.definition.labels[0]))

    together(write, read)

    assert all(label == rule for label, rule in seen), seen


def test_flags_of_the_first_version_keep_working():
    executor = MigrationExecutor(connection)
    executor.migrate([("feature_flags", "0001_initial")])
    try:
        old = executor.loader.project_state([("feature_flags", "0001_initial")]).apps
        old.get_model("feature_flags", "FeatureFlag").objects.create(codename="FF_OLD", is_active=True)
        FlagSetState.objects.filter(pk=1).only("revision").update(revision=7)
    finally:
        MigrationExecutor(connection).migrate(MigrationExecutor(connection).loader.graph.leaf_nodes())

    store.put(None)
    flag = editing.get("FF_OLD")
    assert flag.document["group_id"] == "FF_OLD"
    assert store.current().flags["FF_OLD"].constant.enabled
    assert editing.edit(flag, {"rollout_percent": 50}, **COMMAND)
