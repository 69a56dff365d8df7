import json
from io import BytesIO, StringIO, TextIOWrapper

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from feature_flags import flag_document
from feature_flags.models import FeatureFlag, FlagRevision, FlagSetState, Segment
from feature_flags.runtime import snapshot, store
from feature_flags.services import editing, importing, schedules
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, document_of
from feature_flags.tests.test_switch import together
from lib.actors import Actor

pytestmark = pytest.mark.django_db

IMPORT = {"actor": Actor("import", label="command:import_feature_flags"), "reason": "test"}
BETA = {"name": "Beta", "constraints": [{"field": "email", "operator": "IN", "values": ["ada@example.org"]}]}


def bring(flags, segments=(), **options):
    return importing.import_flags(flags, segments, **{**IMPORT, **options})


def problems(flags, segments=(), **options):
    with pytest.raises(flag_document.InvalidFlag) as caught:
        bring(flags, segments, **options)
    return [(".".join(map(str, problem.place)), problem.message) for problem in caught.value.problems]


def content(flags=(), segments=()):
    return json.dumps({"format": "switchboard", "version": 1, "segments": list(segments), "flags": list(flags)})


@pytest.fixture
def file(tmp_path):
    def write(data):
        path = tmp_path / "flags.json"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return str(path)

    return write


def run(*words):
    out, err = StringIO(), StringIO()
    call_command("import_feature_flags", *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def failure(*words):
    with pytest.raises(CommandError) as caught:
        run(*words)
    return caught.value.returncode, str(caught.value)


# --- The verb ---------------------------------------------------------------------------------------------------------


def test_new_flags_come_in_with_one_revision_each():
    child = {"codename": "FF_A", "prerequisites": [{"parent": "FF_Z"}], "rules": [{"segments": ["Beta"]}]}
    before = FlagSetState.objects.get().revision

    report = bring([child, {"codename": "FF_Z", "is_active": True, "tags": ["b", "a"]}], [BETA])

    assert report.lines == ["segment Beta: created", "FF_Z: created", "FF_A: created"]
    assert (report.created, report.changed, report.archived, report.unchanged) == (2, 0, 0, 0)
    for name in ("FF_A", "FF_Z"):
        revision = editing.get(name).revisions.get()
        assert (revision.action, revision.door, revision.who) == ("create", "import", "command:import_feature_flags")
    assert Segment.objects.get().revisions.get().door == "import"
    assert FlagSetState.objects.get().revision == before + 1
    assert set(store.current().flags) >= {"FF_A", "FF_Z"}


def test_the_same_again_changes_nothing():
    flags = [{"codename": "FF_A", "rules": [{"segments": ["Beta"]}], "value_type": "string", "off_value": "x"}]
    bring(flags, [BETA])
    before = FlagSetState.objects.get().revision, FlagRevision.objects.count()

    report = bring(flags, [BETA])

    assert (report.lines, report.unchanged) == ([], 1)
    assert (FlagSetState.objects.get().revision, FlagRevision.objects.count()) == before


def test_a_change_is_told_and_recorded_with_its_reason():
    flag = FeatureFlagFactory.create(codename="FF_B", label="Keep me", rollout_percent=10, owner="team")

    report = bring([{"codename": "FF_B", "is_active": True}, {"codename": "FF_ENABLE_REGISTRATION", "label": "Join"}])

    assert report.lines[0] == "FF_B: active: off → on"
    revision = flag.revisions.latest("id")
    assert (revision.action, revision.reason, revision.diff) == ("switch", "test", {"is_active": [False, True]})
    flag.refresh_from_db()
    assert (flag.label, flag.document["rollout_percent"], flag.owner) == ("Keep me", 10, "team")
    assert editing.get("FF_ENABLE_REGISTRATION").revisions.latest("id").action == "edit"


def test_an_archived_flag_that_is_named_comes_back():
    flag = FeatureFlagFactory.create(codename="FF_A", on=True)
    editing.archive(flag, **COMMAND)

    report = bring([{"codename": "FF_A", "is_active": True}])

    assert report.lines == ["FF_A: taken out of the archive", "FF_A: active: off → on"]
    flag.refresh_from_db()
    assert (flag.is_archived, flag.is_active) == (False, True)
    assert flag.revisions.latest("id").action == "unarchive"


def test_prune_archives_what_the_file_lacks_but_for_declared_flags():
    FeatureFlagFactory.create(codename="FF_PARENT")
    child = FeatureFlagFactory.create(codename="FF_CHILD", prerequisites=[{"parent": "FF_PARENT"}], on=True)
    plan = schedules.schedule(child, at=timezone.now() + timezone.timedelta(days=1), action="on", **COMMAND)

    report = bring([{"codename": "FF_NEW"}], prune=True)

    assert report.lines == ["FF_NEW: created", "FF_CHILD: archived", "FF_PARENT: archived"]
    assert report.archived == 2
    assert set(FeatureFlag.objects.filter(archived_at=None).values_list("codename", flat=True)) == {
        "FF_ENABLE_REGISTRATION",
        "FF_NEW",
    }
    plan.refresh_from_db()
    assert plan.state == "cancelled"
    assert child.revisions.latest("id").action == "archive"
    assert set(store.current().flags) == {"FF_ENABLE_REGISTRATION", "FF_NEW"}
    assert bring([{"codename": "FF_NEW"}], prune=True).lines == []


def test_what_prune_has_put_away_goes_through_a_file_unchanged():
    FeatureFlagFactory.create(codename="FF_PARENT")
    FeatureFlagFactory.create(codename="FF_CHILD", prerequisites=[{"parent": "FF_PARENT"}])
    bring([], prune=True)
    documents = list(FeatureFlag.objects.documents().values())
    FeatureFlag.objects.get(codename="FF_CHILD").delete()
    FeatureFlag.objects.get(codename="FF_PARENT").delete()

    bring(documents)

    assert list(FeatureFlag.objects.documents().values()) == documents


def test_a_flag_that_one_in_use_requires_is_not_put_away(declarations):
    FeatureFlagFactory.create(codename="FF_PARENT", on=True)
    FeatureFlagFactory.create(codename="FF_CODE", prerequisites=[{"parent": "FF_PARENT"}], on=True)
    declarations.declare("FF_CODE", default=True)

    assert problems([], prune=True) == [("FF_PARENT", "FF_CODE requires it.")]
    assert editing.get("FF_PARENT").is_active
    assert problems([{"codename": "FF_CODE", "is_archived": True, "is_active": False}]) == [
        ("FF_CODE", "It is declared in code and cannot be archived.")
    ]


def test_a_dry_run_tells_the_same_and_writes_nothing():
    FeatureFlagFactory.create(codename="FF_B")
    flags, before = (
        [{"codename": "FF_A"}, {"codename": "FF_B", "is_active": True}],
        list(FeatureFlag.objects.documents().values()),
    )
    state = FlagSetState.objects.get().revision, FlagRevision.objects.count()

    report = bring(flags, [BETA], dry_run=True, prune=True)

    assert list(FeatureFlag.objects.documents().values()) == before
    assert (FlagSetState.objects.get().revision, FlagRevision.objects.count()) == state
    assert not Segment.objects.exists()
    assert "FF_A" not in store.current().flags
    assert report == bring(flags, [BETA], prune=True)


def test_every_problem_is_named_and_nothing_is_written():
    FeatureFlagFactory.create(codename="ff_taken")
    flags = [
        {"codename": "FF_GOOD"},
        {"codename": "FF_BAD", "rollout_percent": 101, "rules": [{"constraints": [{"field": "x", "operator": "NO"}]}]},
        {"codename": "FF_GOOD"},
        {"codename": "ff_good"},
        {"codename": "FF_TAKEN"},
        {"codename": "no name"},
        {"codenam": "FF_TYPO"},
        7,
    ]

    found = problems(flags, [{"name": "Beta", "constraints": 7}, BETA, BETA])

    assert [place for place, _ in found] == [
        "segment Beta.constraints",
        "segment Beta",
        "FF_GOOD",
        "ff_good",
        "FF_BAD.rollout_percent",
        "FF_TAKEN",
        "no name.codename",
        "flag 7.codename",
        "flag 7.codenam",
        "flag 8",
    ]
    assert ("FF_TAKEN", "It differs from our ff_taken in letter case only.") in found
    assert not FeatureFlag.objects.filter(codename="FF_GOOD").exists()


def test_what_only_shows_while_writing_is_named_too():
    FeatureFlagFactory.create(codename="FF_TYPE", value_type="string", variants=[{"name": "a", "payload": "x"}])
    flags = [
        {"codename": "FF_A", "prerequisites": [{"parent": "FF_NONE"}]},
        {"codename": "FF_B", "rules": [{"segments": ["Nobody"]}]},
        {"codename": "FF_E"},
        {"codename": "FF_TYPE", "value_type": "integer", "variants": [{"name": "a", "payload": 1}]},
        {"codename": "FF_ENABLE_REGISTRATION", "is_active": False},
    ]

    found = problems(flags, reason=" ")

    assert [place for place, _ in found] == [
        "FF_B.rules.0.segments",
        "FF_ENABLE_REGISTRATION",
        "FF_TYPE.value_type",
        "FF_A.prerequisites.0.parent",
    ]
    assert ("FF_A.prerequisites.0.parent", "There is no flag FF_NONE.") in found
    assert not FeatureFlag.objects.filter(codename="FF_E").exists()


def test_prerequisites_have_one_level_in_a_file_too():
    FeatureFlagFactory.create(codename="FF_P")
    FeatureFlagFactory.create(codename="FF_C", prerequisites=[{"parent": "FF_P"}])
    chain = [
        {"codename": "FF_1", "prerequisites": [{"parent": "FF_2"}]},
        {"codename": "FF_2", "prerequisites": [{"parent": "FF_3"}]},
        {"codename": "FF_3"},
        {"codename": "FF_4", "prerequisites": [{"parent": "FF_C"}]},
    ]

    assert problems(chain) == [
        ("FF_1", "FF_2 requires another flag itself. Prerequisites have one level."),
        ("FF_4", "FF_C requires another flag itself. Prerequisites have one level."),
    ]
    assert problems([{"codename": "FF_P", "prerequisites": [{"parent": "FF_ENABLE_REGISTRATION"}]}]) == [
        ("FF_P", "FF_C requires this flag. Prerequisites have one level.")
    ]


def test_a_flag_stops_being_a_child_before_its_parent_becomes_one():
    FeatureFlagFactory.create(codename="FF_P")
    FeatureFlagFactory.create(codename="FF_C", prerequisites=[{"parent": "FF_P"}])

    bring([{"codename": "FF_P", "prerequisites": [{"parent": "FF_C"}]}, {"codename": "FF_C", "prerequisites": []}])

    assert document_of(editing.get("FF_P"))["prerequisites"][0]["parent"] == "FF_C"


def test_a_new_kill_switch_is_protected():
    bring(
        [
            {"codename": "FF_STOP", "kind": "kill_switch"},
            {"codename": "FF_EASY", "kind": "kill_switch", "is_protected": False},
        ]
    )

    assert editing.get("FF_STOP").is_protected
    assert not editing.get("FF_EASY").is_protected


def test_a_changed_segment_reaches_the_flags_that_use_it():
    bring([{"codename": "FF_A", "is_active": True, "rules": [{"segments": ["Beta"]}]}], [BETA])
    eve = [{"field": "email", "operator": "IN", "values": ["eve@example.org"]}]

    report = bring([], [{"name": "Beta", "constraints": eve}])

    assert report.lines[0].startswith("segment Beta: constraint")
    flag = store.current().flags["FF_A"]
    assert flag.evaluate({"email": "eve@example.org"}, {}).enabled


def test_many_changes_reach_readers_that_know_the_flags_already(monkeypatch):
    monkeypatch.setattr("feature_flags.services.storage.MANY", 3)
    known = snapshot.build(None, timezone.now())

    bring([{"codename": f"FF_{number}"} for number in range(5)])

    assert len(snapshot.build(known, timezone.now()).flags) == len(known.flags) + 5


def test_flags_that_stay_as_they_are_cost_nothing(django_assert_max_num_queries):
    flags = [{"codename": f"FF_{number}", "rules": [{}]} for number in range(20)]
    bring(flags)

    with django_assert_max_num_queries(14):
        bring(flags)


@pytest.mark.django_db(transaction=True)
def test_an_import_and_other_verbs_wait_for_each_other_in_one_order():
    """A ring of waits ends in an error of the database, and rows of flags made meanwhile must not confuse anybody."""
    FeatureFlagFactory.create(codename="FF_P")
    child = FeatureFlagFactory.create(codename="FF_C", prerequisites=[{"parent": "FF_P"}])

    def switching():
        for number in range(24):
            editing.switch(child, on=number % 2 == 0, **COMMAND)

    def creating():
        for number in range(24):
            editing.create(f"FF_{number}", rules=[{}], tags=["b", str(number)], **COMMAND)

    def importing(*tags):
        for number in range(12):
            bring([{"codename": name, "label": f"{tags} {number}", "tags": list(tags)} for name in ("FF_C", "FF_P")])

    results = together(switching, creating, lambda: importing("a", "b"), lambda: importing("b", "c"))

    assert results == [None] * 4


# --- The command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_difference(file):
    FeatureFlagFactory.create(codename="FF_B")
    path = file(content([{"codename": "FF_A"}, {"codename": "FF_B", "is_active": True}]))
    difference = "FF_A: created\nFF_B: active: off → on\n"
    summary = "1 created, 1 changed, 0 archived, 0 as before.\n"

    dry = run(path, "--format", "switchboard", "--dry-run")
    assert dry == (f"{difference}Dry run, nothing is written: {summary}", "")
    assert run(path, "--format", "switchboard") == (difference + summary, "")
    assert run(path, "--format", "switchboard")[0] == "0 created, 0 changed, 0 archived, 2 as before.\n"

    assert editing.get("FF_A").revisions.get().reason == "command line"


def test_the_command_reads_stdin(monkeypatch):
    text = "\ufeff" + content([{"codename": "FF_A"}])
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(text.encode())))

    assert run("-", "--format", "switchboard")[0].startswith("FF_A: created\n")


def test_protected_flags_stay_scriptable(file):
    path = file(content([{"codename": "FF_ENABLE_REGISTRATION", "is_active": False}]))

    assert run(path, "--format", "switchboard")[0].startswith("FF_ENABLE_REGISTRATION: active: on → off\n")


def test_the_command_names_flags_and_places(file):
    flags = [{"codename": "FF_A", "rollout_percent": 101}, {"codename": "FF_\x1b[2J"}]

    code, text = failure(file(content(flags)), "--format", "switchboard", "--strict")

    assert code == 1
    assert text.splitlines()[0] == "FF_A: rollout_percent: Input should be less than or equal to 100."
    assert text.splitlines()[1].startswith("FF_?[2J: codename: A codename starts")


def test_very_many_problems_are_cut_short(file):
    code, text = failure(
        file(content([{"codename": f"FF {n}"} for n in range(80)])), "--format", "switchboard", "--strict"
    )

    assert (code, len(text.splitlines())) == (1, 51)
    assert text.endswith("… and 30 more.")


@pytest.mark.parametrize("format_", ["switchboard", "unleash", "waffle"])
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "The file is not JSON"),
        (b"{", "The file is not JSON: Expecting property name"),
        (b'{"a": NaN}', "The file is not JSON: NaN is no number."),
        (b'{"a": ' + b"9" * 5_000 + b"}", "The file is not JSON"),
        (b'{"a": "\xff"}', "The file is not UTF-8 (byte 8)."),
        (b'"a\x00b"', "The file holds NUL characters"),
        (b"[" * 100_000, "The file is nested too deeply."),
        (b"7", "This is no"),
        (b"[7]", "This is no"),
        (b"{}", "This is no"),
        (b'{"features": 7}', "Th"),
        (b'{"features": [7]}', ""),
        (b'{"features": [], "segments": 7}', ""),
        (b'{"format": "switchboard", "version": 2}', "Th"),
        (b'{"format": "switchboard", "version": 1, "flags": {}}', "Th"),
        (b'[{"model": 7}]', ""),
        (b'[{"model": "waffle.flag"}]', ""),
    ],
)
def test_a_file_that_is_none_is_one_line(file, format_, data, told):
    code, line = failure(file(data), "--format", format_, "--strict")

    assert (code, "\n" in line) == (1, False)
    assert line.startswith(told)


def outcome(*words):
    """Exit code, what is said on stdout, and what on stderr."""
    out, err = StringIO(), StringIO()
    try:
        call_command("import_feature_flags", *words, stdout=out, stderr=err)
    except CommandError as error:
        return error.returncode, out.getvalue(), f"{err.getvalue()}{error}"
    return 0, out.getvalue(), err.getvalue()


def test_a_file_is_taken_but_for_what_cannot_be(file):
    FeatureFlagFactory.create(codename="FF_BAD", rollout_percent=10)
    FeatureFlagFactory.create(codename="FF_GONE")
    broken = {"name": "Broken", "constraints": [{"field": "n", "operator": "?", "values": ["x"]}]}
    flags = [
        {"codename": "FF_GOOD", "is_active": True, "rules": [{"segments": ["Beta"]}]},
        {"codename": "FF_BAD", "rollout_percent": 101},
        {"codename": "FF_CHILD", "prerequisites": [{"parent": "FF_BAD"}]},
        {"codename": "FF_IN", "rules": [{"segments": ["Broken"]}]},
        {"codename": "FF_TWIN"},
        {"codename": "ff_twin"},
    ]

    code, out, err = outcome(file(content(flags, [BETA, broken])), "--format", "switchboard", "--prune")

    assert code == 3
    assert out.splitlines()[-1] == "1 created, 0 changed, 1 archived, 0 as before, 5 not taken."
    assert err.splitlines() == [
        "Not taken: segment Broken: constraints.0.operator: Choose one of the operators offered.",
        "Not taken: ff_twin: It differs from FF_TWIN in letter case only.",
        "Not taken: FF_BAD: rollout_percent: Input should be less than or equal to 100.",
        "Not taken: FF_IN: It needs segment Broken, which cannot be taken.",
        "Not taken: FF_CHILD: It needs FF_BAD, which cannot be taken.",
    ]
    kept = FeatureFlag.objects.filter(archived_at=None).values_list("codename", flat=True)
    assert set(kept) == {"FF_ENABLE_REGISTRATION", "FF_BAD", "FF_GOOD"}
    assert editing.get("FF_BAD").document["rollout_percent"] == 10


def test_what_fails_while_it_is_written_leaves_nothing_of_itself(file):
    flag = FeatureFlagFactory.create(codename="FF_B", value_type="string", variants=[{"name": "a", "payload": "x"}])
    protected = FeatureFlagFactory.create(codename="FF_P", is_protected=True)
    before = document_of(flag)
    flags = [
        {"codename": "FF_B", "label": "New", "value_type": "boolean", "variants": []},
        {"codename": "FF_P", "is_active": True},
        {"codename": "FF_C", "prerequisites": [{"parent": "FF_P"}]},
        {"codename": "FF_D", "rules": [{}], "prerequisites": [{"parent": "FF_NONE"}]},
    ]

    code, _, err = outcome(file(content(flags)), "--format", "switchboard", "--reason", "")

    assert code == 3
    assert err.splitlines() == [
        "Not taken: FF_B: value_type: The type does not change once there are variants.",
        "Not taken: FF_P: This flag is protected: say why.",
        "Not taken: FF_C: It needs FF_P, which cannot be taken.",
        "Not taken: FF_D: prerequisites.0.parent: There is no flag FF_NONE.",
    ]
    assert document_of(flag) == before
    assert [row.codename for row in FeatureFlag.objects.all()].count("FF_D") == 0
    assert not editing.get(protected.codename).is_active


@pytest.mark.parametrize("name", ["/nowhere/flags.json", "/", "a\0b", "\udcff"])
def test_a_missing_file_is_one_line(name):
    code, line = failure(name, "--format", "switchboard")

    assert (code, "\n" in line) == (1, False)
    assert "cannot be read" in line


def test_a_huge_file_is_refused(file, monkeypatch):
    monkeypatch.setattr("feature_flags.management.commands.import_feature_flags.MAX_BYTES", 2**20)

    assert failure(file(b" " * (2**20 + 1)), "--format", "switchboard") == (1, "The file is larger than 1 MB.")


@pytest.mark.parametrize("words", [(), ("x.json",), ("x.json", "--format", "csv"), ("--format", "waffle")])
def test_wrong_arguments_exit_2(words):
    assert failure(*words)[0] == 2


def test_deep_and_odd_payloads_are_refused_by_name():
    deep = {}
    for _ in range(400):
        deep = {"a": deep}
    flags = [
        {"codename": "FF_DEEP", "value_type": "object", "variants": [{"name": "a", "payload": deep}]},
        {"codename": "FF_NUL", "value_type": "string", "off_value": "a\0b"},
        {"codename": "FF_HUGE", "value_type": "integer", "off_value": 10**30},
    ]

    assert [place for place, _ in problems(flags)] == [
        "FF_DEEP.variants.0.payload",
        "FF_NUL.off_value",
        "FF_HUGE.off_value",
    ]
