"""The words of mails at /api/staff: by key and by person."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.core import mail

from lib.actors import Actor
from notifications import registry
from notifications.models import Message, TemplateOverride
from notifications.services import overrides
from notifications.tests.staff import key, member
from users.models import AuditEvent

pytestmark = pytest.mark.django_db
WELCOME = "/staff/templates/users.welcome/en"
CODE = "/staff/templates/tests.hello/en"
WORDS = {"subject": "Hello {{ first_name }}", "paragraphs": ["Good to see you.", "[Sign in]({{ login_url }})"]}


@pytest.fixture
def bearer():
    return key("templates:read", "templates:write")


def get(api, path=WELCOME, **more):
    answer = api.call("GET", path, **more)
    assert answer.status_code == 200, answer.content
    return answer


def save(api, path=WELCOME, *, tag=None, **body):
    return api.call(
        "PUT", path, {"note": "Nicer", **body}, **{"if-match": get(api, path)["ETag"] if tag is None else tag}
    )


def test_the_list_names_every_mail_in_every_language_and_what_staff_changed(api, bearer, django_assert_max_num_queries):
    overrides.save(registry.get("users.welcome"), language="de", bodies={"subject": "Hallo!"}, actor=Actor.command("t"))

    with django_assert_max_num_queries(5):
        items = get(api, "/staff/templates", bearer=bearer).json()["items"]

    changed = [item for item in items if item["changed"]]
    assert {item["language"] for item in items} == {"en", "de"}
    assert [(item["type"], item["language"], item["changed"]) for item in changed] == [
        ("users.welcome", "de", ["subject"])
    ]


def test_words_are_read_changed_by_key_and_that_is_on_record(api, bearer):
    api.bearer = bearer
    first = get(api).json()
    assert first["words"]["paragraphs"]
    assert first["changed"] == []

    answer = save(api, words=WORDS)

    assert answer.status_code == 200, answer.content
    assert answer.json()["words"] == WORDS
    assert answer.json()["changed"] == ["subject", "text", "html"]
    assert answer["ETag"] == get(api)["ETag"]
    event = AuditEvent.objects.get(event="template.saved")
    assert (event.door, event.data["name"], event.data["reason"]) == ("staff", "users.welcome en", "Nicer")
    assert sorted(entry.change_message for entry in LogEntry.objects.all()) == [
        f"Saved: {part}. Reason: Nicer" for part in ("html", "subject", "text")
    ]


def test_source_of_one_part_is_changed_and_the_others_stay(api, bearer):
    api.bearer = bearer
    before = get(api).json()["parts"]

    after = save(api, parts={"subject": "Welcome"}).json()

    assert after["parts"] == before | {"subject": "Welcome"}
    assert after["changed"] == ["subject"]
    assert after["words"] is None or after["words"]["subject"] == "Welcome"


def test_a_change_says_what_it_was_made_of(api, bearer):
    api.bearer = bearer
    stale = get(api)["ETag"]
    save(api, parts={"subject": "Theirs"})

    lost = save(api, tag=stale, parts={"subject": "Mine"})
    bare = api.call("PUT", WELCOME, {"note": "Nicer", "parts": {"subject": "Mine"}})

    assert (lost.status_code, lost.json()["code"]) == (412, "template_changed")
    assert (bare.status_code, bare.json()["code"]) == (428, "if_match_missing")
    assert TemplateOverride.objects.get(active=True).body == "Theirs"
    assert save(api, tag="*", parts={"subject": "Mine"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"parts": {"subject": "{{ nickname }}"}}, 400),
        ({"words": {"subject": "Hi", "paragraphs": ["{% now %}"]}}, 400),
        ({"parts": {}}, 422),
        ({}, 422),
        ({"words": WORDS, "parts": {"subject": "x"}}, 422),
        ({"parts": {"subject": "x"}, "note": ""}, 422),
        ({"parts": {"subject": "x"}, "note": "x" * 201}, 422),
        ({"parts": {"footer": "x"}}, 422),
    ],
)
def test_what_breaks_a_rule_is_named_and_nothing_is_kept(api, bearer, body, status):
    api.bearer = bearer

    answer = save(api, **body)

    assert answer.status_code == status, answer.content
    assert status == 422 or list(answer.json()["problems"]) == ["subject" if "parts" in body else "words"]
    assert not TemplateOverride.objects.exists()


def test_a_mail_with_a_code_takes_a_superuser(api, bearer):
    body = {"parts": {"subject": "Hi"}}
    user = member(api, "view_templateoverride", "change_templateoverride")
    of_clerk = key("templates:write", owner=user)

    for own in (None, of_clerk):
        for answer in (
            save(api, CODE, **body)
            if own is None
            else api.call("PUT", CODE, {"note": "x", **body}, bearer=own, **{"if-match": "*"}),
            api.call("POST", f"{CODE}/preview", body, bearer=own),
            api.call("POST", f"{CODE}/versions/file/use", {"note": "x"}, bearer=own),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "superusers_only")
    api.bearer = bearer
    assert save(api, CODE, **body).status_code == 200


def test_people_save_and_put_back_with_a_fresh_proof(api):
    member(api, "view_templateoverride", "change_templateoverride", proof=timedelta(hours=3))

    saved = save(api, words=WORDS)
    used = api.call("POST", f"{WELCOME}/versions/file/use", {"note": "Back"})
    member(api, "view_templateoverride", "change_templateoverride")

    assert [saved.json()["code"], used.json()["code"]] == ["reauthentication_required"] * 2
    assert save(api, words=WORDS).status_code == 200


def test_versions_are_listed_and_put_back_whole_or_by_part(api, bearer):
    api.bearer = bearer
    save(api, words=WORDS)
    save(api, parts={"subject": "Second", "text": get(api).json()["parts"]["text"]}, note="Again")

    first = get(api, f"{WELCOME}/versions?limit=1").json()
    rest = get(api, f"{WELCOME}/versions?limit=1&cursor={first['next']}").json()
    (second,), (original,) = first["items"], rest["items"]

    assert (second["note"], second["in_use"], second["parts"]["subject"]) == ("Again", True, "Second")
    assert (original["note"], original["in_use"], set(original["parts"])) == (
        "Nicer",
        False,
        {"subject", "text", "html"},
    )
    assert rest["next"] is None
    use = f"{WELCOME}/versions/{original['version']}/use"
    assert api.call("POST", use, {"note": "Better", "part": "subject"}).json()["words"] == WORDS
    assert AuditEvent.objects.get(event="template.restored").data["changed"] == ["subject"]
    back = api.call("POST", f"{WELCOME}/versions/file/use", {"note": "Enough"})
    assert (back.status_code, back.json()["changed"]) == (200, [])
    assert api.call("POST", use, {"note": "After all"}).json()["words"] == WORDS
    assert AuditEvent.objects.filter(event="template.restored").count() == 3
    assert LogEntry.objects.filter(change_message="Back to the file: html. Reason: Enough").exists()


def test_a_preview_keeps_nothing(api, bearer):
    drafted = api.call("POST", f"{WELCOME}/preview", {"words": WORDS}, bearer=bearer).json()
    as_it_is = api.call("POST", f"{WELCOME}/preview", bearer=bearer).json()

    assert "Good to see you." in drafted["text"]
    assert "Good to see you." in drafted["html"]
    assert "Good to see you." not in as_it_is["text"]
    assert not TemplateOverride.objects.exists()


def test_a_test_goes_to_oneself(api, settings):
    settings.NOTIFICATIONS_ENGINE = "off"
    user = member(api, "change_templateoverride")

    answer = api.call("POST", f"{CODE}/test")

    assert (answer.status_code, answer.json()["to"], answer.json()["state"]) == (202, user.email, "queued")
    assert str(Message.objects.get().uid) == answer.json()["uid"]
    assert mail.outbox == []


WITHOUT = ["users.welcome/en/versions/9/use", "users.welcome/en/versions/x/use"]
DOORS = {
    ("GET", "/staff/templates"): "view_templateoverride",
    ("GET", WELCOME): "view_templateoverride",
    ("GET", f"{WELCOME}/versions"): "view_templateoverride",
    ("PUT", WELCOME): "change_templateoverride",
    ("POST", f"{WELCOME}/preview"): "change_templateoverride",
    ("POST", f"{WELCOME}/test"): "change_templateoverride",
    ("POST", f"{WELCOME}/versions/file/use"): "change_templateoverride",
}


def test_each_needs_its_permission_and_of_a_key_its_scope(api, subtests):
    wrong = key("messages:read", "messages:write")
    member(api, "view_message")

    for (method, path), permission in DOORS.items():
        with subtests.test(path, method=method):
            body = {"note": "x", "parts": {"subject": "x"}} if method != "GET" else None
            if path.endswith("/test"):
                body = None

            for bearer in (None, wrong):
                answer = api.call(method, path, body, bearer=bearer)
                assert (answer.status_code, answer.json()["permission"]) == (403, f"notifications.{permission}")
            assert api.call(method, path, body, bearer="x").status_code == 401
    assert not TemplateOverride.objects.exists()


@pytest.mark.parametrize(
    "path",
    ["users.nothing/en", "users.welcome/fr", "users.welcome/en/versions/999/use", "users.welcome/en/versions/x/use"],
)
def test_what_there_is_not_is_404(api, bearer, path):
    method, body = ("POST", {"note": "x"}) if path.endswith("use") else ("GET", None)

    assert api.call(method, f"/staff/templates/{path}", body, bearer=bearer).status_code == 404
