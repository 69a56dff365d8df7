import json
import os
from datetime import UTC, datetime, timedelta
from functools import partial
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from feature_flags.models import FeatureFlag, FlagSeen, FlagToken, FlagUsage
from feature_flags.services import editing
from feature_flags.services.tokens import secret_hash
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory
from project.tests.processes import command, database, environment, manage

pytestmark = pytest.mark.django_db


def run(*words):
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def failure(*words):
    with pytest.raises(CommandError) as caught:
        run(*words)
    return caught.value.returncode, str(caught.value)


def test_create_makes_a_flag_that_is_off():
    assert run("create_feature_flag", "FF_NEW", "--label", "New") == "FF_NEW created, off.\n"

    flag = editing.get("FF_NEW")
    assert (flag.is_active, flag.label, flag.description) == (False, "New", None)
    revision = flag.revisions.get()
    assert (revision.door, revision.who, revision.reason) == ("command", "command:create_feature_flag", "command line")


@pytest.mark.parametrize("name", ["FF_ENABLE_REGISTRATION", "ff_enable_registration"])
def test_create_refuses_a_taken_name(name):
    assert failure("create_feature_flag", name) == (1, "FF already exists.")


def test_create_refuses_a_name_that_is_none():
    code, line = failure("create_feature_flag", "no blanks")

    assert code == 1
    assert "\n" not in line
    assert not FeatureFlag.objects.filter(codename="no blanks").exists()


def test_toggle_says_the_new_state_each_time():
    FeatureFlagFactory.create(codename="FF_A")

    assert run("toggle_feature_flag", "FF_A") == "FF_A new active status: True\n"
    assert run("toggle_feature_flag", "FF_A", "--reason", "calm") == "FF_A new active status: False\n"

    assert editing.get("FF_A").revisions.latest("id").reason == "calm"


@pytest.mark.parametrize("name", ["FF_NOBODY_KNOWS", "ff_enable_registration", "a\x00b", "\udcff", ""])
@pytest.mark.parametrize("command", [("toggle_feature_flag",), ("set_feature_flag", "on")])
def test_an_unknown_flag_is_refused(command, name):
    message = "Invalid FF selected, codename does not exist."

    assert failure(command[0], name, *command[1:]) == (1, message)


def test_set_reaches_the_state_and_repeating_is_fine():
    flag = FeatureFlagFactory.create(codename="FF_A")

    assert run("set_feature_flag", "FF_A", "on") == "FF_A on\n"
    assert run("set_feature_flag", "FF_A", "on") == "FF_A on\n"
    assert run("set_feature_flag", "FF_A", "off") == "FF_A off\n"

    assert flag.revisions.filter(action="switch").count() == 2


@pytest.mark.parametrize(
    "words",
    [
        ("create_feature_flag",),
        ("toggle_feature_flag",),
        ("set_feature_flag", "FF_A"),
        ("set_feature_flag", "FF_A", "maybe"),
        ("export_feature_flags", "--format", "waffle"),
        ("prune_flag_usage", "--days", "0"),
        ("prune_flag_usage", "--days", "many"),
        ("create_flag_token", "--kind", "server"),
        ("create_flag_token", "--name", "ci", "--kind", "admin"),
        ("create_flag_token", "--name", "ci", "--kind", "server", "--expires", "tomorrow"),
    ],
)
def test_wrong_arguments_exit_2(words):
    code, line = failure(*words)

    assert code == 2
    assert "\n" not in line


# --- list_feature_flags -----------------------------------------------------------------------------------------------


def test_the_list_is_a_table():
    FeatureFlagFactory.create(codename="FF_B", on=True, rules=[{}, {}])
    FeatureFlagFactory.create(codename="FF_A", rollout_percent=5)
    FlagSeen.objects.create(codename="FF_A", last_seen_at=datetime(2026, 1, 31, 12, 30, tzinfo=UTC))
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    FlagUsage.objects.create(codename="FF_B", hour=hour, app_name="x", yes=3, no=1)

    lines = run("list_feature_flags").splitlines()

    assert [line.split()[0] for line in lines] == ["NAME", "FF_A", "FF_B", "FF_ENABLE_REGISTRATION"]
    assert lines[1].split("  ")[0] == "FF_A"
    assert "5 %" in lines[1]
    assert "2026-01-31 12:30" in lines[1]
    assert all(word in lines[2] for word in ("on", "2 rules", "release", "never", "3/1"))


def test_the_list_is_json_for_programs():
    FeatureFlagFactory.create(codename="FF_A", label="Größe", on=True)

    flag = json.loads(run("list_feature_flags", "--json"))[0]

    assert flag.pop("created_at")
    assert flag == {
        "codename": "FF_A",
        "label": "Größe",
        "is_active": True,
        "is_archived": False,
        "is_protected": False,
        "exposed": True,
        "kind": "release",
        "value_type": "boolean",
        "owner": "",
        "rollout_percent": 100,
        "rules": 0,
        "last_seen_at": None,
        "yes_24h": 0,
        "no_24h": 0,
        "stale": [],
    }


def test_the_list_can_be_of_stale_or_of_archived_flags():
    editing.archive(FeatureFlagFactory.create(codename="FF_AWAY"), **COMMAND)
    flag = FeatureFlagFactory.create(codename="FF_OLD")
    FeatureFlag.objects.filter(pk=flag.pk).update(created_at=timezone.now() - timedelta(days=100))

    def names(*words):
        return [flag["codename"] for flag in json.loads(run("list_feature_flags", "--json", *words))]

    assert names() == ["FF_ENABLE_REGISTRATION", "FF_OLD"]
    assert names("--archived") == ["FF_AWAY"]
    assert names("--stale") == ["FF_OLD"]
    assert "older than the 40 days" in run("list_feature_flags", "--stale")
    assert run("list_feature_flags", "--stale", "--archived") == "No flags.\n"


def test_the_list_asks_as_often_for_one_flag_as_for_many(django_assert_num_queries):
    FeatureFlagFactory.create_batch(5, rules=[{}])

    with django_assert_num_queries(3):
        run("list_feature_flags")


def test_the_list_takes_more_flags_than_one_question_does():
    FeatureFlag.objects.bulk_create(FeatureFlag(codename=f"FF_{number:04}") for number in range(1_500))

    assert len(run("list_feature_flags").splitlines()) == 1_502


# --- prune_flag_usage -------------------------------------------------------------------------------------------------


def test_pruning_keeps_the_last_days(settings):
    now = timezone.now()
    for days in (1, 29, 31, 89, 91):
        FlagUsage.objects.create(codename="FF_A", hour=now - timedelta(days=days), app_name="x")

    assert run("prune_flag_usage") == "1 row removed.\n"
    assert run("prune_flag_usage", "--days", "30") == "2 rows removed.\n"
    assert run("prune_flag_usage", "--days", "30") == "0 rows removed.\n"
    settings.FLAGS_USAGE_KEEP_DAYS = 10
    assert run("prune_flag_usage") == "1 row removed.\n"


# --- create_flag_token ------------------------------------------------------------------------------------------------


def test_a_token_is_its_secret_alone_on_stdout():
    secret = run("create_flag_token", "--name", "ci", "--kind", "server").removesuffix("\n")

    token = FlagToken.objects.get(secret_hash=secret_hash(secret))
    assert secret.startswith("sbs_")
    assert (token.name, token.kind, token.allowed_origins, token.expires_at) == ("ci", "server", [], None)
    assert token.created_by == "command:create_flag_token"


def test_a_token_has_a_last_day_and_origins():
    words = ("--expires", "2099-01-31", "--origin", "https://a.example.org", "https://b.example.org")

    run("create_flag_token", "--name", "web", "--kind", "frontend", *words, "--origin", "https://c.example.org")

    token = FlagToken.objects.get()
    assert token.expires_at == datetime(2099, 1, 31, 23, 59, 59, tzinfo=UTC)
    assert token.allowed_origins == ["https://a.example.org", "https://b.example.org", "https://c.example.org"]


@pytest.mark.parametrize(
    "words", [("--name", " "), ("--name", "a\0b"), ("--expires", "2020-01-31"), ("--origin", "not an origin")]
)
def test_a_token_that_cannot_be_is_refused(words):
    code, line = failure("create_flag_token", "--name", "ci", "--kind", "frontend", *words)

    assert (code, "\n" in line) == (1, False)
    assert not FlagToken.objects.exists()


# --- As processes -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A migrated database of these tests' own."""
    with database(tmp_path_factory.mktemp("shell"), migrated=True) as url:
        yield url


@pytest.fixture
def shell(url):
    """`shell("export_feature_flags")` in a process of its own."""
    return partial(command, url)


def test_each_command_runs_from_the_shell(shell, tmp_path):
    def done(*words, **options):
        result = shell(*words, **options)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    assert done("create_feature_flag", "FF_S", "--label", "Größe") == "FF_S created, off.\n"
    assert done("toggle_feature_flag", "FF_S") == "FF_S new active status: True\n"
    assert done("set_feature_flag", "FF_S", "on") == "FF_S on\n"
    assert done("set_feature_flag", "FF_ENABLE_REGISTRATION", "off") == "FF_ENABLE_REGISTRATION off\n"
    assert "FF_S" in done("list_feature_flags")
    exported = done("export_feature_flags")
    assert done("import_feature_flags", "-", "--format", "switchboard", input=exported).startswith(
        "0 created, 0 changed"
    )
    (tmp_path / "unleash.json").write_text(done("export_feature_flags", "--format", "unleash"))
    assert "2 as before" in done("import_feature_flags", str(tmp_path / "unleash.json"), "--format", "unleash")
    assert done("check_feature_flags").startswith("Flags: 2. Broken: 0")
    assert done("prune_flag_usage") == "0 rows removed.\n"
    assert done("create_flag_token", "--name", "ci", "--kind", "server").startswith("sbs_")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, ("create_feature_flag", "FF_ENABLE_REGISTRATION")),
        (1, ("toggle_feature_flag", "FF_NOBODY_KNOWS")),
        (1, ("import_feature_flags", "/nowhere", "--format", "waffle")),
        (1, ("create_flag_token", "--name", " ", "--kind", "server")),
        (2, ("list_feature_flags", "--all")),
        (2, ("import_feature_flags", "x.json")),
        (2, ("check_feature_flags", "--max-stale", "soon")),
        (2, ("prune_flag_usage", "--days", "-1")),
    ],
)
def test_a_refusal_is_one_line_on_stderr(shell, code, words):
    result = shell(*words)

    assert (result.returncode, result.stdout) == (code, "")
    assert len(result.stderr.splitlines()) == 1


def test_without_tables_every_command_says_so(tmp_path):
    with database(tmp_path) as url:
        for name in ("list_feature_flags", "export_feature_flags", "check_feature_flags", "prune_flag_usage"):
            result = command(url, name)
            assert (result.returncode, len(result.stderr.splitlines())) == (1, 1), result.stderr


def test_a_terminal_without_our_signs_ends_in_no_traceback(shell, url):
    text = '{"format": "switchboard", "version": 1, "segments": [], "flags": [{"codename": "FF_L", "label": "→"}]}'
    latin = {"env": environment(url) | {"PYTHONIOENCODING": "latin-1"}}
    shell("create_feature_flag", "FF_L")

    result = manage("import_feature_flags", "-", "--format", "switchboard", input=text, **latin)

    assert (result.returncode, result.stderr) == (0, "")
    assert "FF_L: label" in result.stdout
    assert '"→"' in manage("export_feature_flags", **latin).stdout


def test_a_reader_that_has_seen_enough_is_no_failure(shell):
    reader, writer = os.pipe()
    os.close(reader)
    result = shell("export_feature_flags", stdout=writer)
    os.close(writer)

    assert (result.returncode, result.stderr) == (0, "")
