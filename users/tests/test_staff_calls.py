"""What surrounds every operation for staff: limits that are announced, repeats that are answered once."""

import pytest
from django.contrib.auth.models import Permission

from conftest import ApiClient
from feature_flags.models import FlagRevision
from feature_flags.tests.factories import FeatureFlagFactory
from lib.actors import Actor
from users.models import AuditEvent, GivenAnswer, User
from users.services import api_keys, deletion, rate_limits, staff_calls
from users.tests.factories import UserFactory
from users.tests.own import at_once

OPERATOR = Actor.command("test")
PERSON = {"email": "new@example.org"}
ENDPOINT = {"name": "chat", "url": "https://hooks.example.org/", "events": ["user.created"]}


@pytest.fixture
def key(db):
    scopes = ("people:write", "people:export", "people:activate", "webhooks:write")
    scopes += ("flags:switch", "flags:write", "flags:archive")
    return api_keys.create(UserFactory(superuser=True), actor=OPERATOR, name="job", scopes=scopes)[1]


@pytest.fixture
def call(api, key):
    def call(method, path, body=None, repeat=None, **headers):
        headers |= {"idempotency-key": repeat} if repeat else {}
        return api.call(method, f"/staff/{path}", body, bearer=key, **headers)

    return call


def test_a_repeat_gets_what_the_first_was_answered(call):
    first = call("POST", "people", PERSON, repeat="a1")
    again = call("POST", "people", PERSON, repeat="a1")

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert AuditEvent.objects.filter(event="user.created").count() == 1
    assert call("POST", "people", PERSON, repeat="a2").json()["code"] == "user_exists"


def test_a_repeat_gets_the_very_bytes_and_the_tag_of_the_first(call):
    body = {"document": {"codename": "FF_NEW", "rollout_percent": 5}}

    first, again = (call("POST", "flags", body, repeat="a1") for _ in range(2))

    assert first.status_code == 201, first.content
    assert (again.content, again["ETag"]) == (first.content, first["ETag"])


def test_a_tag_that_a_proxy_made_weak_still_names_what_was_read(call):
    tag = call("POST", "flags", {"document": {"codename": "FF_NEW"}})["ETag"]

    def edit(tag):
        return call("PUT", "flags/FF_NEW", {"document": {"label": "New"}}, **{"if-match": tag}).status_code

    assert [edit(f"W/{tag}"), edit(f"W/{tag}")] == [200, 412]


def test_a_key_with_another_body_is_refused(call):
    call("POST", "people", PERSON, repeat="a1")

    answer = call("POST", "people", {"email": "other@example.org"}, repeat="a1")

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert not User.objects.filter(email="other@example.org").exists()


def test_an_answer_is_for_the_rights_it_was_given_to(api, db):
    writer = UserFactory(staff=True)
    names = ("add_segment", "change_segment", "view_segment", "view_featureflag")
    writer.user_permissions.set(Permission.objects.filter(codename__in=names))
    key = api_keys.create(writer, actor=OPERATOR, name="b", scopes=("segments:write", "flags:read"))[1]

    def make():
        body = {"document": {"name": "beta", "constraints": []}}
        return api.call("POST", "/staff/segments", body, bearer=key, **{"idempotency-key": "a1"})

    assert make().json()["used_by"] == []
    writer.user_permissions.remove(Permission.objects.get(codename="view_featureflag"))
    assert (make().status_code, make().json()["code"]) == (422, "idempotency_key_reused")
    writer.user_permissions.clear()
    assert make().json()["permission"] == "feature_flags.add_segment"
    User.objects.filter(pk=writer.pk).update(is_active=False)
    assert make().status_code == 401


@pytest.mark.django_db(transaction=True)
def test_of_eight_at_once_one_acts_and_all_are_answered_alike(key):
    FeatureFlagFactory(codename="FF_X", is_active=False)

    def switch():
        path, headers = "/staff/flags/FF_X/switch/on", {"idempotency-key": "a1"}
        return ApiClient().call("POST", path, bearer=key, **headers).content

    assert set(at_once([switch] * 8)) == {b'{"changed":true,"message":"switched on."}'}
    assert FlagRevision.objects.filter(action="switch").count() == 1


def test_what_only_reads_and_what_holds_a_secret_is_not_kept(call):
    FeatureFlagFactory(codename="FF_X")

    why = call("POST", "flags/FF_X/why", {"context": {"a": "\0"}}, repeat="a1")
    made = call("POST", "webhook-endpoints", ENDPOINT, repeat="a1")

    assert (why.status_code, made.status_code) == (200, 201), made.content
    assert not GivenAnswer.objects.exists()


def test_a_refusal_leaves_the_key_unused(call):
    someone = UserFactory(email="new@example.org")
    assert call("POST", "people", PERSON, repeat="a1").status_code == 400

    someone.delete()

    assert call("POST", "people", PERSON, repeat="a1").status_code == 201


def test_keys_of_repeats_are_those_of_one_caller_and_one_operation(call, api):
    FeatureFlagFactory(codename="FF_X", is_active=False)
    other = api_keys.create(UserFactory(superuser=True), actor=OPERATOR, name="b", scopes=("flags:switch",))[1]

    assert call("POST", "flags/FF_X/switch/on", repeat="a1").json()["changed"] is True
    assert call("POST", "flags/FF_X/switch/off", repeat="a1").json()["changed"] is True
    same = api.call("POST", "/staff/flags/FF_X/switch/on", bearer=other, **{"idempotency-key": "a1"})

    assert same.json()["changed"] is True
    assert FlagRevision.objects.filter(action="switch").count() == 3


def test_a_dry_run_is_another_call_than_what_it_tries(call):
    for _ in range(2):
        assert call("POST", "people", PERSON, repeat="a1").status_code == 201
    assert call("POST", "people?dry=1", {"email": "b@example.org"}, repeat="a1").status_code == 201


def test_a_file_is_made_again(call):
    path = f"people/{UserFactory().pk.hex}/export"

    answers = [call("POST", path, {"reason": "asked for"}, repeat="a1") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert not GivenAnswer.objects.exists()


def test_a_key_too_long_is_refused(call):
    assert call("POST", "people", PERSON, repeat="a" * 256).json()["code"] == "idempotency_key_invalid"
    assert not User.objects.filter(email=PERSON["email"]).exists()


def test_answers_are_forgotten_after_a_day(call):
    call("POST", "people", PERSON, repeat="a1")
    assert deletion.purge()["answers to repeats"] == 0

    GivenAnswer.objects.update(created_at="2020-01-01T00:00:00Z")

    assert deletion.purge()["answers to repeats"] == 1


def test_refused_calls_count_as_well(call, monkeypatch):
    monkeypatch.setattr(staff_calls, "LIMIT", rate_limits.Limit("staff_api", 3, window=60))

    answers = [
        call("GET", "templates"),
        call("POST", "people", {"email": "no address"}),
        call("GET", "people?cursor=nonsense"),
        call("GET", "templates"),
    ]

    assert [answer.status_code for answer in answers] == [403, 422, 400, 429]
    assert [answer["RateLimit"].partition(";t=")[0] for answer in answers] == [f'"staff";r={n}' for n in (2, 1, 0, 0)]


def test_each_answer_says_how_many_calls_are_left(call, monkeypatch):
    monkeypatch.setattr(staff_calls, "LIMIT", rate_limits.Limit("staff_api", 3, window=60))

    answers = [call("GET", "people") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert {answer["RateLimit-Policy"] for answer in answers} == {'"staff";q=3;w=60'}
    assert [answer["RateLimit"].partition(";t=")[0] for answer in answers] == [f'"staff";r={n}' for n in (2, 1, 0, 0)]
    assert 0 < int(answers[-1]["Retry-After"]) <= 60
