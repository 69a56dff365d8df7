"""Flags as a file at the API of staff: what leaves, what comes in, and who may not."""

import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from feature_flags.models import FeatureFlag, FlagRevision, Segment
from feature_flags.services import editing, segments
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory
from feature_flags.tests.wire import places
from users.models import AuditEvent, UserSession

MAIL = {"field": "email", "operator": "IN", "values": ["ada@example.org"]}
ALL = ("view_featureflag", "add_featureflag", "change_featureflag", "switch_featureflag", "archive_featureflag")


@pytest.fixture
def beta(db):
    return segments.create_segment("beta", constraints=[MAIL], **COMMAND)


def file_of(*flags, groups=()):
    return {"format": "switchboard", "version": 1, "flags": flags, "segments": groups}


@pytest.mark.parametrize("name", ["switchboard", "unleash"])
def test_an_export_is_what_the_command_writes_and_is_audited(staff_api, beta, capsys, name):
    editing.create("FF_A", rules=[{"segments": ["beta"]}], **COMMAND)

    answer = staff_api("GET", f"/flags-export?format={name}")

    call_command("export_feature_flags", format=name)
    assert answer.status_code == 200, answer.content
    assert json.loads(answer.content) == json.loads(capsys.readouterr().out)
    assert "attachment" in answer["Content-Disposition"]
    event = AuditEvent.objects.get(event="flags.exported")
    assert (event.door, event.data["flags"]) == ("staff", ["FF_A", "FF_ENABLE_REGISTRATION"])


def test_segments_leave_for_those_who_may_see_them(person, beta):
    call = person("view_featureflag")

    assert "ada@" not in call("GET", "/flags-export").content.decode()
    assert call("GET", "/flags-export?format=unleash").json()["permission"] == "feature_flags.view_segment"
    UserSession.objects.update(auth_at=timezone.now() - timedelta(hours=1))
    assert call("GET", "/flags-export").json()["code"] == "reauthentication_required"


def test_an_import_tells_first_and_then_does(staff_api):
    FeatureFlagFactory(codename="FF_A")
    file = file_of({"codename": "FF_A", "is_active": True}, {"codename": "FF_B"}, groups=[{"name": "beta"}])

    told = staff_api("POST", "/flags-import?format=switchboard&dry_run=true", file).json()
    before = FlagRevision.objects.count(), Segment.objects.count()
    done = staff_api("POST", "/flags-import?format=switchboard&reason=move", file).json()
    again = staff_api("POST", "/flags-import?format=switchboard", file).json()

    assert before == (2, 0)
    assert told == done
    assert (done["created"], done["changed"], done["problems"], done["notes"]) == (1, 1, [], [])
    assert done["lines"] == ["segment beta: created", "FF_A: active: off → on", "FF_B: created"]
    assert (again["lines"], again["unchanged"]) == ([], 2)
    revision = FlagRevision.objects.get(codename="FF_A", action="switch")
    assert (revision.door, revision.reason) == ("staff", "move")


def test_what_cannot_be_taken_is_told_and_with_strict_nothing_is(staff_api):
    file = file_of({"codename": "FF_A", "rollout_percent": 101}, {"codename": "FF_B"})

    refused = staff_api("POST", "/flags-import?format=switchboard&strict=true", file)
    assert places(refused) == [["body", "FF_A", "rollout_percent"]]
    assert not FeatureFlag.objects.filter(codename="FF_B").exists()

    taken = staff_api("POST", "/flags-import?format=switchboard", file).json()
    assert [problem["loc"] for problem in taken["problems"]] == [["body", "FF_A", "rollout_percent"]]
    assert FeatureFlag.objects.filter(codename="FF_B").exists()


@pytest.mark.parametrize(
    ("name", "body", "note"),
    [
        ("waffle", [{"model": "waffle.switch", "fields": {"name": "a", "active": True}}, {"model": "x.y"}], "left out"),
        ("unleash", {"version": 2, "features": [{"name": "a", "enabled": True, "strategies": []}]}, ""),
    ],
)
def test_files_of_others_come_in(staff_api, name, body, note):
    answer = staff_api("POST", f"/flags-import?format={name}", body)

    assert FeatureFlag.objects.get(codename="a").is_active, answer.content
    assert note in "".join(answer.json()["notes"])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"format": "x"}'])
def test_what_is_no_such_file_is_refused(staff_api, body):
    answer = staff_api("POST", "/flags-import?format=switchboard", body)

    assert (answer.status_code, answer.json()["code"]) == (400, "file_invalid")


@pytest.mark.parametrize("missing", ALL)
def test_an_import_takes_every_permission_of_what_a_file_may_do(person, missing):
    call = person(*(name for name in ALL if name != missing))

    refused = call("POST", "/flags-import?format=switchboard&dry_run=true", file_of({"codename": "FF_A"}))

    assert (refused.status_code, refused.json()["permission"]) == (403, f"feature_flags.{missing}")


def test_segments_in_a_file_take_theirs(person, beta):
    call = person(*ALL, "view_segment", "add_segment")
    file = file_of({"codename": "FF_A"}, groups=[{"name": "beta", "constraints": []}])

    refused = call("POST", "/flags-import?format=switchboard", file)

    assert refused.json()["permission"] == "feature_flags.change_segment"
    assert call("POST", "/flags-import?format=switchboard", file_of({"codename": "FF_A"})).status_code == 200
    assert Segment.objects.get().document == beta.document
