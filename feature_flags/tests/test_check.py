import itertools
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from feature_flags import inspection
from feature_flags.models import FeatureFlag, FlagRevision, FlagSeen, Segment, UnknownFlag
from feature_flags.services import editing, schedules, segments
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, rewrite, rewrite_rules

pytestmark = pytest.mark.django_db


def check(*words):
    """The exit code, the findings, and the line on stderr."""
    out = StringIO()
    try:
        call_command("check_feature_flags", *words, stdout=out)
    except CommandError as error:
        return error.returncode, out.getvalue().splitlines(), str(error)
    return 0, out.getvalue().splitlines(), ""


def aged(flag, days):
    FeatureFlag.objects.filter(pk=flag.pk).update(created_at=timezone.now() - timedelta(days=days))


def test_sound_flags_pass():
    FeatureFlagFactory.create(codename="FF_A", on=True, rules=[{}], tags=["x"], review_on="2099-01-31")
    assert check() == (0, ["Flags: 2. Broken: 0, drifted: 0, ambiguous: 0, stale: 0, unknown names: 0."], "")


def test_every_verb_leaves_rows_and_history_that_agree():
    segments.create_segment("Beta", **COMMAND)
    parent = FeatureFlagFactory.create(codename="FF_P")
    flag = FeatureFlagFactory.create(
        codename="FF_A",
        rules=[{"segments": ["Beta"], "variants": [{"name": "v", "payload": 1e22}]}],
        value_type="float",
        off_value=5,
        prerequisites=[{"parent": "FF_P"}],
        targets={"on": ["b", "a"]},
    )
    segments.edit_segment(Segment.objects.get(), {"description": "x"}, **COMMAND)
    entry = schedules.schedule(flag, at=timezone.now() + timedelta(days=1), action="on", **COMMAND)
    assert check()[0] == 0
    schedules.cancel_schedule(entry, **COMMAND)
    schedules.schedule(flag, at=timezone.now() + timedelta(days=1), action="off", **COMMAND)
    editing.rename(parent, "FF_Q", **COMMAND)
    assert check()[0] == 0, "a child of a renamed parent has not drifted"
    editing.edit(flag, {"label": "x"}, **COMMAND)
    editing.rename(flag, "FF_B", **COMMAND)
    editing.archive(flag, **COMMAND)
    assert check()[0] == 0
    editing.unarchive(flag, **COMMAND)
    segments.delete_segment(segments.create_segment("Gone", **COMMAND), **COMMAND)

    assert check() == (0, ["Flags: 3. Broken: 0, drifted: 0, ambiguous: 0, stale: 0, unknown names: 0."], "")


def test_a_name_that_another_flag_had_before_is_not_confused():
    editing.rename(FeatureFlagFactory.create(codename="FF_P"), "FF_Q", **COMMAND)
    FeatureFlagFactory.create(codename="FF_P")
    FeatureFlagFactory.create(codename="FF_C", prerequisites=[{"parent": "FF_P"}])

    assert check()[0] == 0


def test_rows_changed_behind_the_verbs_have_drifted():
    flag = FeatureFlagFactory.create(codename="FF_A", rules=[{"rollout_percent": 10}])
    rewrite(flag, rollout_percent=70, targets={"on": ["eve"], "off": []})
    rewrite_rules(flag, rollout_percent=100)

    code, lines, line = check()

    assert (code, line) == (1, "1 drifted.")
    assert lines[0].startswith("drifted: FF_A: rollout: 100 % → 70 %; ")
    assert "eve" in lines[0]
    assert "10 %" in lines[0]
    editing.edit(flag, {"label": "seen"}, **COMMAND)
    assert check()[0] == 0, "the next verb puts it on record"


def test_a_row_without_history_has_drifted():
    FeatureFlag.objects.create(codename="FF_SQL")

    assert check()[:2] == (
        1,
        [
            "drifted: FF_SQL: it has no history: no verb has written it",
            "Flags: 2. Broken: 0, drifted: 1, ambiguous: 0, stale: 0, unknown names: 0.",
        ],
    )


def test_segments_drift_too():
    segment = segments.create_segment("Beta", description="old", **COMMAND)
    Segment.objects.filter(pk=segment.pk).update(description="new")

    assert check()[1][0] == "drifted: segment Beta: description: old → new"


def test_members_that_came_later_are_no_drift():
    flag = FeatureFlagFactory.create(codename="FF_A")
    revision = flag.revisions.get()
    old = {key: revision.snapshot[key] for key in ("codename", "label", "description", "is_active")}
    FlagRevision._base_manager.filter(pk=revision.pk).update(snapshot=old)

    assert check()[0] == 0


@pytest.mark.parametrize(
    "constraints",
    [
        [{"field": "n", "operator": "NUM_GT", "value": "x"}],
        [{"field": "n", "operator": "NO"}],
        [{"a": 1}],
        [7],
        7,
        {"a": 1},
    ],
)
def test_flags_that_cannot_be_compiled_are_broken(constraints):
    flag = FeatureFlagFactory.create(codename="FF_A", rules=[{}])
    FeatureFlagFactory.create(codename="FF_GOOD", rules=[{}])
    rewrite_rules(flag, constraints=constraints)

    code, lines, line = check()

    assert (code, line) == (1, "1 broken, 1 drifted.")
    assert lines[0].startswith("broken: FF_A: ")
    assert lines[1].startswith("drifted: FF_A: ")
    assert len(lines) == 3


@pytest.mark.parametrize("constraints", [[{"a": 1}], 7])
def test_a_broken_segment_breaks_the_flags_that_use_it(constraints):
    segments.create_segment("Beta", **COMMAND)
    FeatureFlagFactory.create(codename="FF_A", rules=[{"segments": ["Beta"]}])
    FeatureFlagFactory.create(codename="FF_B")
    Segment.objects.update(constraints=constraints)

    assert [line.partition(": ")[2].partition(":")[0] for line in check()[1][:2]] == ["FF_A", "segment Beta"]


def test_archived_flags_are_nobodys_concern():
    flag = FeatureFlagFactory.create(codename="FF_A", rules=[{}])
    editing.archive(flag, **COMMAND)
    rewrite_rules(flag, constraints=[7])

    assert check()[2] == "1 drifted."


def test_stale_flags_are_told_and_fail_only_when_asked():
    flag = FeatureFlagFactory.create(codename="FF_OLD", on=True)
    aged(flag, 50)
    FlagSeen.objects.create(codename="FF_OLD")
    told = "stale: FF_OLD: older than the 40 days of its kind (release)"

    assert check() == (0, [told, "Flags: 2. Broken: 0, drifted: 0, ambiguous: 0, stale: 1, unknown names: 0."], "")
    assert check("--max-stale", "11")[0] == 0
    assert check("--max-stale", "10")[::2] == (1, "1 stale for 10 days or more.")
    assert check("--max-stale", "0")[1][0] == f"{told} (for 10 days)"


def test_the_longest_reason_counts():
    flag = FeatureFlagFactory.create(
        codename="FF_OLD", review_on=(timezone.now() - timedelta(days=3)).date().isoformat()
    )
    assert check("--max-stale", "2")[0] == 1
    assert check("--max-stale", "3")[0] == 0
    aged(flag, 100)

    assert check("--max-stale", "70")[0] == 1
    assert check("--max-stale", "71")[0] == 0


def test_unknown_names_are_told_and_do_not_fail():
    for app in ("shop", "switchboard"):
        UnknownFlag.objects.create(codename="FF_TYPO", app_name=app, count=12)

    code, lines, _ = check()

    assert code == 0
    assert lines[0].startswith("unknown: FF_TYPO: asked for 12 times by shop, last on 20")
    assert lines[1] == "Flags: 1. Broken: 0, drifted: 0, ambiguous: 0, stale: 0, unknown names: 1."


@pytest.mark.parametrize("days", ["-1", "x", "1.5", "", "٣", "99999999999"])
def test_wrong_days_exit_2(days):
    code, _, line = check(f"--max-stale={days}")

    assert code == 2
    assert "\n" not in line


def test_the_check_asks_as_often_for_one_flag_as_for_many(django_assert_max_num_queries):
    FeatureFlagFactory.create_batch(12, rules=[{}], tags=["x"])

    with django_assert_max_num_queries(20):
        check()


def test_what_sdks_read_in_two_ways_is_told_and_does_not_fail():
    """Such rows are older than the rule: they answer as before."""
    segments.create_segment("Beta", constraints=[{"field": "x", "operator": "IN", "values": ["a"]}], **COMMAND)
    old, good = (
        [{"field": "x", "operator": "IN", "values": ["a "]}],
        [{"field": "x", "operator": "REGEX", "value": r"\d"}],
    )
    for codename, constraints in (("FF_A", old), ("FF_ARCHIVED", old), ("FF_GOOD", good)):
        rewrite_rules(FeatureFlagFactory.create(codename=codename, rules=[{}]), constraints=constraints)
    Segment.objects.update(constraints=old)
    editing.archive(FeatureFlag.objects.get(codename="FF_ARCHIVED"), **COMMAND)

    found = [line for line in check()[1] if line.startswith("ambiguous: ")]

    why = "constraints.0.values: Unleash's Node SDK takes blanks off around a value, the others do not."
    assert found == [f"ambiguous: FF_A: rules.0.{why}", f"ambiguous: segment Beta: {why}"]
    assert "ambiguous: 2, " in check()[1][-1]


def test_the_database_finds_the_flags_that_have_a_reason(db):
    now = timezone.now()
    old, new, gone = (now - timedelta(days=days) for days in (50, 1, 35))
    answers = [None, (new, None), (None, new), (new, new), (new, old), (old, None), (None, None)]
    for number, (kind, created, answer, last, review) in enumerate(
        itertools.product(FeatureFlag.Kind.values, (old, new), answers, (new, gone), (None, -1, 0))
    ):
        flag = FeatureFlag.objects.create(codename=f"FF_{number}", kind=kind)
        due = now.date() + timedelta(days=review) if review is not None else None
        archived = now if number % 11 == 0 else None
        FeatureFlag.objects.filter(pk=flag.pk).update(created_at=created, review_on=due, archived_at=archived)
        if answer:
            yes_at, no_at = answer
            FlagSeen.objects.create(
                codename=flag.codename, first_seen_at=old, last_seen_at=last, yes_at=yes_at, no_at=no_at
            )

    found = {pk for pk, known in inspection.activity(FeatureFlag.objects.all(), now).items() if known.stale}
    everything = FeatureFlag.objects.filter(codename__startswith="FF_")

    assert set(everything.filter(inspection.stale(now)).values_list("pk", flat=True)) == found
    assert (
        set(everything.filter(~inspection.stale(now)).values_list("pk", flat=True))
        == {*everything.values_list("pk", flat=True)} - found
    )
    assert 100 < len(found) < everything.count() - 100
