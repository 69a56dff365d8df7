"""Flags at the API of staff: read, made, edited, restored, explained and planned, by a key or by a person."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from feature_flags.models import FeatureFlag, FlagRevision, FlagSchedule
from feature_flags.services import editing, segments
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory
from feature_flags.tests.wire import places
from lib.actors import Actor
from users.tests.factories import UserFactory

BETA = {"label": "Beta", "segments": ["beta"]}
MAIL = {"field": "email", "operator": "IN", "values": ["ada@example.org"]}


# --- Read -------------------------------------------------------------------------------------------------------------


def test_flags_are_listed_by_what_is_asked_in_pieces(staff_api):
    for name in ("FF_C", "FF_A", "FF_B"):
        FeatureFlagFactory(codename=name, label="Checkout", tags=["shop"] if name == "FF_B" else [])
    editing.archive(FeatureFlagFactory(codename="FF_OLD", label="Checkout"), **COMMAND)

    def names(query):
        return [row["codename"] for row in staff_api("GET", f"/flags?search=checkOUT&{query}").json()["items"]]

    first = staff_api("GET", "/flags?search=checkout&limit=2").json()
    assert [row["codename"] for row in first["items"]] == ["FF_A", "FF_B"]
    assert names(f"limit=2&cursor={first['next']}") == ["FF_C"]
    assert names("tag=shop") == ["FF_B"]
    assert names("archived=yes") == ["FF_OLD"]
    assert len(names("archived=all")) == 4
    assert names("is_active=true") == names("kind=permission") == names("is_protected=true") == names("stale=yes") == []
    assert names("stale=no&is_active=false&kind=release") == ["FF_A", "FF_B", "FF_C"]
    assert staff_api("GET", "/flags?cursor=x").json()["detail"] == "ErrorCode.BAD_CURSOR"
    assert staff_api("GET", "/flags?search=%00").status_code == 422


def test_the_list_asks_as_many_statements_for_many_as_for_one(staff_api, django_assert_num_queries):
    for _ in range(3):
        FeatureFlagFactory()
    staff_api("GET", "/flags")

    # Three for the call (whose key it is, its limit); the flags; when they were seen, and how often.
    with django_assert_num_queries(6):
        assert len(staff_api("GET", "/flags").json()["items"]) >= 3


def test_a_flag_is_its_document_with_a_tag(staff_api):
    flag = FeatureFlagFactory(codename="FF_A", owner="shop", value_type="object", off_value={"b": 1, "a": 2})

    answer = staff_api("GET", "/flags/FF_A")

    newest = flag.revisions.latest("pk").pk
    assert answer["ETag"] == f'"{newest}"'
    found = answer.json()
    assert found["revision"] == newest
    assert list(found["document"]["off_value"]) == ["a", "b"]
    assert found["document"] == flag.document
    assert found["usage"] == {"last_seen_at": None, "yes": 0, "no": 0, "stale": []}
    assert (found["created_by"], found["is_declared"]) == ("command:test", False)


@pytest.mark.parametrize(
    "path", ["/flags/NO", "/flags/%00", "/flags/NO/history", "/flags/NO/why", "/flags/NO/schedules"]
)
def test_what_there_is_not_is_404(staff_api, path):
    answer = staff_api("GET", path)

    assert (answer.status_code, answer.json()["code"]) == (404, "flag_unknown")


# --- Create -----------------------------------------------------------------------------------------------------------


def test_a_flag_is_made_and_that_is_on_record(staff_api):
    body = {"document": {"codename": "FF_A", "rollout_percent": 5}, "reason": "launch"}

    answer = staff_api("POST", "/flags", body)
    again = staff_api("POST", "/flags", body)

    assert answer.status_code == 201, answer.content
    revision = FlagRevision.objects.get(codename="FF_A")
    assert answer["ETag"] == f'"{revision.pk}"'
    assert answer.json()["document"]["rollout_percent"] == 5
    assert again.json()["detail"] == "ErrorCode.FLAG_EXISTS"
    assert (revision.door, revision.action, revision.reason) == ("staff", "create", "launch")
    assert LogEntry.objects.get().change_message == "Created. Reason: launch"


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({}, ["codename"]),
        ({"codename": 5}, ["codename"]),
        ({"codename": "FF_A", "rollout": 5}, ["rollout"]),
        ({"codename": "FF_A", "actor": "root"}, ["actor"]),
        ({"codename": "FF_A", "is_archived": True}, ["is_archived"]),
        ({"codename": "FF_A", "rules": [{"segments": ["none"]}]}, ["rules", 0, "segments"]),
        ({"codename": "FF_A", "prerequisites": [{"parent": "NO"}]}, ["prerequisites", 0, "parent"]),
    ],
)
def test_what_is_wrong_with_a_document_is_told_by_its_place(staff_api, document, place):
    before = FeatureFlag.objects.count()

    answer = staff_api("POST", "/flags", {"document": document})

    assert places(answer) == [["body", "document", *place]]
    assert answer.json()["code"] == "flag_invalid"
    assert FeatureFlag.objects.count() == before
    assert not LogEntry.objects.exists()


def test_a_flag_that_is_on_takes_the_permission_to_switch(person):
    call = person("view_featureflag", "add_featureflag")

    refused = call("POST", "/flags", {"document": {"codename": "FF_A", "is_active": True}})

    assert (refused.status_code, refused.json()["permission"]) == (403, "feature_flags.switch_featureflag")
    assert call("POST", "/flags", {"document": {"codename": "FF_A"}}).status_code == 201


# --- Edit -------------------------------------------------------------------------------------------------------------


def test_what_was_read_is_changed_and_sent_back(staff_api):
    FeatureFlagFactory(codename="FF_A")
    read = staff_api("GET", "/flags/FF_A")
    body = read.json()
    body["document"]["rollout_percent"] = 50

    answer = staff_api("PUT", "/flags/FF_A", body, if_match=read["ETag"])
    again = staff_api("PUT", "/flags/FF_A", body, if_match=answer["ETag"])

    assert answer.status_code == 200, answer.content
    assert answer.json()["document"] == body["document"]
    assert FeatureFlag.objects.get(codename="FF_A").document["rollout_percent"] == 50
    assert answer["ETag"] == again["ETag"] != read["ETag"]
    assert FlagRevision.objects.latest("pk").change_lines == ["rollout: 100 % → 50 %"]
    assert LogEntry.objects.get().change_message == "Saved: rollout_percent."


def test_a_change_of_what_was_changed_meanwhile_is_refused(staff_api):
    flag = FeatureFlagFactory(codename="FF_A")
    tag = staff_api("GET", "/flags/FF_A")["ETag"]
    body = {"document": {"rollout_percent": 1}}
    editing.edit(flag, {"label": "theirs"}, **COMMAND)

    stale = staff_api("PUT", "/flags/FF_A", body, if_match=tag)
    without = staff_api("PUT", "/flags/FF_A", body)

    assert (stale.status_code, stale.json()["code"]) == (412, "flag_changed")
    assert (without.status_code, without.json()["code"]) == (428, "if_match_missing")
    assert FeatureFlag.objects.get(codename="FF_A").document["rollout_percent"] == 100
    assert staff_api("PUT", "/flags/FF_A", body, if_match="*").status_code == 200


def test_a_change_between_reading_and_locking_is_refused_too(staff_api, monkeypatch):
    flag = FeatureFlagFactory(codename="FF_A")
    lock = editing.lock

    def late(*args):
        monkeypatch.setattr(editing, "lock", lock)
        editing.edit(FeatureFlag.objects.get(pk=flag.pk), {"label": "theirs"}, **COMMAND)
        lock(*args)

    monkeypatch.setattr(editing, "lock", late)

    assert staff_api("PUT", "/flags/FF_A", {"document": {"label": "mine"}}, if_match="*").status_code == 412
    assert FeatureFlag.objects.get(pk=flag.pk).label != "mine"


def test_all_that_is_wrong_is_told_and_nothing_is_written(staff_api):
    FeatureFlagFactory(codename="FF_A")
    wrong = {"rollout_percent": 101, "is_active": "yes", "kind": "big"}

    answer = staff_api("PUT", "/flags/FF_A", {"document": wrong}, if_match="*")

    assert sorted(place[-1] for place in places(answer)) == ["is_active", "kind", "rollout_percent"]
    assert FlagRevision.objects.filter(codename="FF_A").count() == 1


def test_a_name_and_the_archive_do_not_change_by_an_edit(staff_api):
    FeatureFlagFactory(codename="FF_A")

    renamed = staff_api("PUT", "/flags/FF_A", {"document": {"codename": "FF_B"}}, if_match="*")
    archived = staff_api("PUT", "/flags/FF_A", {"document": {"is_archived": True}}, if_match="*")

    assert [place[-1] for place in places(renamed) + places(archived)] == ["codename", "is_archived"]


def test_to_switch_by_an_edit_takes_its_permission_and_of_a_protected_flag_a_reason(staff_api, person):
    FeatureFlagFactory(codename="FF_A", is_protected=True)
    body = {"document": {"is_active": True}}

    assert places(staff_api("PUT", "/flags/FF_A", body, if_match="*")) == [["body", "reason"]]
    assert staff_api("PUT", "/flags/FF_A", {**body, "reason": "launch"}, if_match="*").status_code == 200

    call = person("view_featureflag", "change_featureflag")
    refused = call("PUT", "/flags/FF_A", {"document": {"is_active": False}, "reason": "no"}, **{"if-match": "*"})
    assert (refused.status_code, refused.json()["permission"]) == (403, "feature_flags.switch_featureflag")
    assert FeatureFlag.objects.get(codename="FF_A").is_active


def test_who_may_not_is_told_what_is_missing(staff_api, person):
    FeatureFlagFactory(codename="FF_A")
    revision = FlagRevision.objects.get(codename="FF_A").pk

    for method, path, needed in [
        ("GET", "/flags", "view_featureflag"),
        ("GET", "/flags/FF_A", "view_featureflag"),
        ("POST", "/flags", "add_featureflag"),
        ("PUT", "/flags/FF_A", "change_featureflag"),
        ("GET", "/flags/FF_A/history", "view_flagrevision"),
        ("GET", f"/flags/FF_A/history/{revision}", "view_flagrevision"),
        ("POST", f"/flags/FF_A/history/{revision}/restore", "view_featureflag"),
        ("GET", "/flags/FF_A/why", "view_featureflag"),
        ("GET", "/flags/FF_A/schedules", "view_featureflag"),
    ]:
        body = {"document": {}} if method in ("PUT", "POST") else None
        by_key = staff_api(method, path, body, scopes=("account:read",))
        assert (by_key.status_code, by_key.json()["permission"]) == (403, f"feature_flags.{needed}"), path

    call = person("view_featureflag")
    assert call("GET", "/flags/FF_A").status_code == 200
    assert call("PUT", "/flags/FF_A", {"document": {}}, **{"if-match": "*"}).status_code == 403


# --- History ----------------------------------------------------------------------------------------------------------


def test_the_history_is_read_and_gone_back_to(staff_api):
    flag = FeatureFlagFactory(codename="FF_A")
    editing.edit(flag, {"rollout_percent": 7}, **COMMAND)

    page = staff_api("GET", "/flags/FF_A/history?limit=1").json()
    (second,) = page["items"]
    (first,) = staff_api("GET", f"/flags/FF_A/history?cursor={page['next']}").json()["items"]
    whole = staff_api("GET", f"/flags/FF_A/history/{first['id']}").json()

    assert second["changes"] == ["rollout: 100 % → 7 %"]
    assert (second["by"], second["action"], second["door"]) == ("command:test", "edit", "command")
    assert whole["snapshot"]["rollout_percent"] == 100
    path = f"/flags/FF_A/history/{first['id']}/restore"
    assert staff_api("POST", path, {"reason": "oops"}).json() == {"changed": True}
    assert staff_api("POST", path).json() == {"changed": False}
    assert FeatureFlag.objects.get(codename="FF_A").document["rollout_percent"] == 100
    assert FlagRevision.objects.latest("pk").reason == "oops"
    assert LogEntry.objects.get().change_message.startswith("Restored the version of ")


def test_a_deleted_flag_comes_back_from_its_history(staff_api):
    editing.delete(FeatureFlagFactory(codename="FF_A"), **COMMAND)

    deleted, made = staff_api("GET", "/flags/FF_A/history").json()["items"]
    assert staff_api("POST", f"/flags/FF_A/history/{deleted['id']}/restore").json()["code"] == "flag_invalid"
    assert staff_api("POST", f"/flags/FF_A/history/{made['id']}/restore").json() == {"changed": True}

    assert staff_api("GET", "/flags/FF_A").status_code == 200


def test_an_entry_of_another_flag_is_none_of_this_one(staff_api):
    FeatureFlagFactory(codename="FF_A")
    other = FeatureFlagFactory(codename="FF_B").revisions.get()

    assert staff_api("GET", f"/flags/FF_A/history/{other.pk}").json()["code"] == "revision_unknown"
    assert staff_api("POST", f"/flags/FF_A/history/{10**30}/restore").status_code == 404


def test_going_back_takes_the_permissions_of_what_it_changes(person):
    flag = FeatureFlagFactory(codename="FF_A")
    off = flag.revisions.get().pk
    editing.switch(flag, on=True, **COMMAND)
    call = person("view_featureflag", "change_featureflag")

    refused = call("POST", f"/flags/FF_A/history/{off}/restore")

    assert refused.json()["permission"] == "feature_flags.switch_featureflag"
    assert FeatureFlag.objects.get(codename="FF_A").is_active


def test_people_and_flags_stand_in_the_history_for_those_who_may_see_them(staff_api, person):
    author = UserFactory(email="author@example.org")
    flag = FeatureFlagFactory(codename="FF_A")
    editing.edit(flag, {"label": "x"}, actor=Actor("admin", author))

    shown = staff_api("GET", "/flags/FF_A/history").json()["items"][0]
    hidden = person("view_flagrevision")("GET", f"/flags/FF_A/history/{shown['id']}").json()

    assert shown["who"] == "author@example.org"
    assert (hidden["by"], hidden["who"]) == (author.pk.hex, None)
    assert hidden["changes"] is hidden["diff"] is hidden["snapshot"] is None


def test_the_history_asks_as_many_statements_for_ten_as_for_one(staff_api, django_assert_num_queries):
    flag = FeatureFlagFactory(codename="FF_A")
    staff_api("GET", "/flags/FF_A/history")
    for percent in range(10):
        editing.edit(flag, {"rollout_percent": percent}, actor=Actor("admin", UserFactory()))

    # Three for the call; the flag; its history with who wrote it.
    with django_assert_num_queries(5):
        assert len(staff_api("GET", "/flags/FF_A/history").json()["items"]) == 11


# --- Why --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def explained(db):
    segments.create_segment("beta", constraints=[MAIL], **COMMAND)
    return editing.create("FF_A", rules=[BETA], is_active=True, **COMMAND)


@pytest.mark.parametrize("spell", [lambda user: user.email, lambda user: user.pk.hex])
def test_why_a_person_gets_a_flag(staff_api, explained, spell):
    user = UserFactory(email="ada@example.org")

    found = staff_api("GET", f"/flags/FF_A/why?user={spell(user)}").json()

    assert (found["enabled"], found["value"], found["reason"]) == (True, True, "On, by Beta.")
    assert [(step["kind"], step["passed"]) for step in found["steps"]] == [("switch", True), ("rule", True)]
    assert found["context"]["email"] == "ada@example.org"


def test_why_a_context_does_not(staff_api, explained):
    found = staff_api("POST", "/flags/FF_A/why", {"context": {"email": "x@example.com"}}).json()

    assert found["enabled"] is False
    assert found["reason"] == "Off: Beta is not met: email is one of ada@example.org, and theirs is x@example.com."
    assert staff_api("GET", "/flags/FF_A/why").json()["reason"].endswith("(The context has no email).")


def test_what_is_in_segments_and_who_people_are_is_for_those_who_may_see_it(person, explained):
    UserFactory(email="ada@example.org")
    call = person("view_featureflag")

    found = call("POST", "/flags/FF_A/why", {"context": {"email": "x@example.com"}})
    refused = call("GET", "/flags/FF_A/why?user=ada@example.org")

    assert found.json()["reason"] == "Off: Beta is not met: segment beta does not match."
    assert "ada@" not in found.content.decode()
    assert (refused.status_code, refused.json()["permission"]) == (403, "users.view_user")


def test_what_cannot_be_asked_is_told(staff_api, explained):
    assert staff_api("GET", "/flags/FF_A/why?user=nobody@example.org").json()["code"] == "user_unknown"
    assert staff_api("POST", "/flags/FF_A/why", {"context": []}).status_code == 422
    for odd in ("1e999", str(10**400), f"[{10**400}]", r'"\u0000"', r'"\ud800"'):
        asked = staff_api("POST", "/flags/FF_A/why", f'{{"context": {{"a": {odd}}}}}')
        assert asked.json().get("enabled") is False, asked.content
    editing.archive(explained, **COMMAND)
    assert staff_api("GET", "/flags/FF_A/why").json()["reason"].startswith("Off: the flag is archived")


# --- The schedule -----------------------------------------------------------------------------------------------------


def test_a_change_is_planned_listed_and_cancelled(staff_api):
    FeatureFlagFactory(codename="FF_A")
    at = timezone.now() + timedelta(days=1)

    answer = staff_api("POST", "/flags/FF_A/schedules", {"at": at.isoformat(), "action": "on", "reason": "launch"})
    entry = answer.json()

    assert answer.status_code == 201, answer.content
    assert staff_api("GET", "/flags/FF_A/schedules").json() == {"items": [entry], "next": None}
    path = f"/flags/FF_A/schedules/{entry['id']}"
    assert staff_api("DELETE", path).json() == {"changed": True}
    assert staff_api("DELETE", path).json() == {"changed": False}
    assert staff_api("GET", "/flags/FF_A/schedules").json()["items"] == []
    assert staff_api("GET", "/flags/FF_A/schedules?state=cancelled").json()["items"][0]["id"] == entry["id"]
    actions = FlagRevision.objects.order_by("pk").values_list("action", "door")
    assert list(actions)[-2:] == [("schedule", "staff"), ("cancel", "staff")]
    assert [note.change_message[:9] for note in LogEntry.objects.order_by("pk")] == ["Planned: ", "Cancelled"]


@pytest.mark.parametrize(
    ("plan", "place"),
    [
        ({"at": "2020-01-01T00:00:00Z"}, ["at"]),
        ({"at": "2120-01-01T00:00:00"}, ["at"]),
        ({"percent": 5}, ["percent"]),
        ({"action": "percent"}, ["percent"]),
        ({"action": "flip"}, ["action"]),
        ({"reason": "x" * 201}, ["reason"]),
    ],
)
def test_what_cannot_be_planned_is_told_by_its_place(staff_api, plan, place):
    FeatureFlagFactory(codename="FF_A")

    answer = staff_api("POST", "/flags/FF_A/schedules", {"at": "2120-01-01T00:00:00Z", "action": "on", **plan})

    assert places(answer) == [["body", *place]]
    assert not FlagSchedule.objects.exists()


def test_a_plan_takes_the_permission_of_doing_it_now(person):
    FeatureFlagFactory(codename="FF_A")
    call = person("view_featureflag", "change_featureflag")
    plan = {"at": "2120-01-01T00:00:00Z", "action": "percent", "percent": 5}

    made = call("POST", "/flags/FF_A/schedules", plan)
    refused = call("POST", "/flags/FF_A/schedules", {"at": plan["at"], "action": "on"})
    FlagSchedule.objects.update(action="on", percent=None)

    assert made.status_code == 201
    assert refused.json()["permission"] == "feature_flags.switch_featureflag"
    assert call("DELETE", f"/flags/FF_A/schedules/{made.json()['id']}").status_code == 403
    assert call("DELETE", "/flags/FF_A/schedules/0").json()["code"] == "schedule_unknown"
