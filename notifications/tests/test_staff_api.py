import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core import mail
from django.utils import timezone

import notifications
from lib.actors import Actor
from notifications import registry
from notifications.models import Attempt, InAppNotification, Message
from notifications.services.recipients import suppress
from notifications.tests import kinds, offers
from notifications.tests.factories import MessageFactory
from users.models import UserSession
from users.services import api_keys
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
PATH = "/staff/messages"


@pytest.fixture(autouse=True)
def _offers():
    offers.declare()


@pytest.fixture
def member():
    return UserFactory.create(staff=True)


@pytest.fixture
def staff(api, member):
    api.sign_in(member)
    prove_second_factor()

    def allowed(*permissions):
        member.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
        return api

    return allowed


def prove_second_factor():
    """In every session there is."""
    UserSession.objects.update(amr=["pwd", "otp"])


def send(api, *, key=None, bearer=None, **body):
    body = {"type": "tests.offer", "to": "ada@example.org", "context": {"title": "Summer"}} | body
    return api.call("POST", PATH, body, bearer=bearer, **({"idempotency-key": key} if key is not None else {}))


def failed(**fields):
    return MessageFactory.create(finished=True, **{"state": "failed"} | fields)


def code(answer):
    detail = answer.json()["detail"]
    return answer.status_code, detail["code"] if isinstance(detail, dict) else detail


ALL = (
    ("GET", "", "view_message"),
    ("GET", "/stats", "view_message"),
    ("GET", "/{uid}", "view_message"),
    ("POST", "", "add_message"),
    ("POST", "/{uid}/retry", "retry_message"),
    ("POST", "/{uid}/cancel", "cancel_message"),
    ("POST", "/{uid}/resend", "resend_message"),
)


def test_each_door_needs_a_bearer_of_staff_with_its_permission(api, user, member, subtests):
    message = failed()
    bearers = [api.sign_in(person)["access_token"] for person in (user, member)]
    prove_second_factor()

    for method, end, permission in ALL:
        with subtests.test(end, method=method):
            path = f"{PATH}{end.format(uid=message.uid)}"
            body = {"type": "tests.offer", "to": "ada@example.org"} if method == "POST" else None
            others = Permission.objects.filter(content_type__app_label="notifications").exclude(codename=permission)
            member.user_permissions.set(others)
            user.user_permissions.set(Permission.objects.filter(codename=permission))

            assert api.call(method, path, body, bearer="").status_code == 401
            for bearer in bearers:
                assert code(api.call(method, path, body, bearer=bearer)) == (403, "Forbidden")
    assert Message.objects.count() == 1
    assert not LogEntry.objects.exists()


def test_a_password_alone_does_not_act_as_staff(api, superuser, subtests):
    message = failed()
    api.sign_in(superuser)

    for method, path, _ in ALL:
        with subtests.test(path, method=method):
            body = {"type": "tests.offer", "to": "ada@example.org"} if method == "POST" else None
            answer = api.call(method, PATH + path.format(uid=message.uid), body)

            assert code(answer) == (403, "ErrorCode.SECOND_FACTOR_REQUIRED")


def test_where_a_second_factor_is_optional_a_password_does(api, superuser, settings):
    settings.USERS_STAFF_MFA = "optional"
    api.sign_in(superuser)

    assert api.call("GET", PATH).status_code == 200


def test_a_list_is_the_newest_first_page_by_page(staff):
    api, rows = staff("view_message"), MessageFactory.create_batch(3)

    first = api.call("GET", f"{PATH}?limit=2").json()
    second = api.call("GET", f"{PATH}?limit=2&cursor={first['next']}").json()

    assert [item["uid"] for item in first["items"] + second["items"]] == [str(row.uid) for row in reversed(rows)]
    assert second["next"] is None
    assert api.call("GET", f"{PATH}?cursor=x").status_code == 400


def test_a_list_is_filtered(staff):
    api = staff("view_message")
    row = MessageFactory.create(to_address="ada@example.org", type="tests.bulk", category="account")
    failed()

    for query in (
        "state=queued",
        "type=tests.bulk",
        "category=account",
        "to=ADA@example.org",
        f"until={timezone.now().isoformat().replace('+', '%2B')}&channel=email&state=queued",
    ):
        assert [item["uid"] for item in api.call("GET", f"{PATH}?{query}").json()["items"]] == [str(row.uid)], query
    assert api.call("GET", f"{PATH}?since=2999-01-01T00:00:00Z").json() == {"items": [], "next": None}


@pytest.mark.parametrize(
    "query",
    ["state=x", "type=%00", "to=%00", "since=2026-01-01", "since=0001-01-01T00:00:00%2B14:00", "limit=0", "until=0.5"],
)
def test_a_filter_that_is_none_is_told_so(staff, query):
    assert staff("view_message").call("GET", f"{PATH}?{query}").status_code == 422


def test_lists_take_a_fixed_number_of_queries(staff, queries):
    api = staff("view_message")
    MessageFactory.create(parent=MessageFactory.create())
    with queries() as made:
        api.call("GET", PATH)
    few = made()

    for row in MessageFactory.create_batch(10):
        MessageFactory.create(parent=row)
    with queries() as made:
        api.call("GET", f"{PATH}?limit=100")

    assert made() == few


def test_a_message_tells_its_story(staff):
    message = failed(last_code="550")
    now = timezone.now()
    Attempt.objects.create(
        message=message, n=1, worker="w", created_at=now, duration_ms=3, outcome="permanent", code="550", response="No"
    )
    message.events.create(provider="postmark", event_id="1", kind="bounced", recipient=message.to_address, at=now)

    found = staff("view_message").call("GET", f"{PATH}/{message.uid.hex}").json()

    assert (found["uid"], found["state"], found["last_code"]) == (str(message.uid), "failed", "550")
    assert [(attempt["n"], attempt["outcome"]) for attempt in found["history"]] == [(1, "permanent")]
    assert [event["kind"] for event in found["events"]] == ["bounced"]
    assert (found["text"], found["html"]) == (None, None)
    assert "context" not in found


def test_who_may_read_it_sees_the_text_without_its_code(staff):
    message = failed()

    found = staff("view_message", "view_message_body").call("GET", f"{PATH}/{message.uid}").json()

    assert "Hello Ada, 1: ••••••" in found["text"]
    assert "••••••" in found["html"]
    assert kinds.CODE not in str(found)


def test_the_body_blots_the_link_that_unsubscribes(staff):
    message = MessageFactory.create(
        type="notifications.announcement", category="announcement", context={"title": "Hello", "body": "World"}
    )

    found = staff("view_message", "view_message_body").call("GET", f"{PATH}/{message.uid}").json()

    for part in (found["text"], found["html"]):
        assert "World" in part
        assert "••••••" in part
        assert "/unsubscribe/" not in part


@pytest.mark.parametrize("fields", [{"type": "gone.type"}, {"type": "tests.broken"}, {"context": {}}])
def test_what_can_no_longer_be_told_is_left_out(staff, fields):
    message = failed(**fields)

    answer = staff("view_message", "view_message_body").call("GET", f"{PATH}/{message.uid}")

    assert answer.status_code == 200
    assert answer.json()["text"] is None


@pytest.mark.parametrize("uid", ["x", "00000000-0000-4000-8000-000000000000", "%00", "1" * 500])
def test_a_message_that_is_none_is_not_there(staff, uid):
    api = staff("view_message", "retry_message")

    assert code(api.call("GET", f"{PATH}/{uid}")) == (404, "ErrorCode.MESSAGE_NOT_FOUND")
    assert code(api.call("POST", f"{PATH}/{uid}/retry")) == (404, "ErrorCode.MESSAGE_NOT_FOUND")


def test_the_figures(staff):
    MessageFactory.create()
    failed()

    found = staff("view_message").call("GET", f"{PATH}/stats").json()

    assert found["states"] == dict.fromkeys(Message.State.values, 0) | {"queued": 1, "failed": 1}
    assert found["last_hour"] == {"sent": 0, "failed": 1}
    assert 1 <= found["oldest_due_seconds"] <= 60


# --- Sending ----------------------------------------------------------------------------------------------------------


def test_a_message_is_sent_and_its_sender_noted(staff, member, user, django_capture_on_commit_callbacks):
    api = staff("add_message")

    with django_capture_on_commit_callbacks(execute=True):
        answer = send(api, to=user.email.upper())

    message = Message.objects.get()
    assert (answer.status_code, answer.json()) == (202, {"uid": str(message.uid)})
    assert (message.state, message.user) == ("sent", user)
    assert mail.outbox[0].subject == "Offer: Summer"
    assert InAppNotification.objects.get().user == user
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id, entry.action_flag) == (member, str(message.pk), 1)
    assert "Summer" not in str(vars(entry))


def test_a_repeat_with_the_same_key_gets_the_first_message(staff):
    api = staff("add_message")

    first, second = send(api, key="a-1"), send(api, key="a-1", to=" ADA@example.org")
    other = send(api, key="a-2")

    assert first.json() == second.json() != other.json()
    assert (first.status_code, second.status_code) == (202, 202)
    assert Message.objects.count() == LogEntry.objects.count() == 2


@pytest.mark.parametrize(
    "body", [{"context": {"title": "Winter"}}, {"to": "grace@example.org"}, {"type": "tests.quiet"}, {"language": "de"}]
)
def test_a_key_is_good_for_one_message(staff, body):
    notifications.declare("tests.quiet", label="Quiet", context=offers.Offer, category="announcement")
    api = staff("add_message")
    send(api, key="a-1")

    assert code(send(api, key="a-1", **body)) == (409, "ErrorCode.IDEMPOTENCY_KEY_REUSED")
    assert Message.objects.count() == 1


def test_a_key_belongs_to_who_used_it(staff, api, superuser):
    send(staff("add_message"), key="a-1")
    api.sign_in(superuser)
    prove_second_factor()

    assert send(api, key="a-1", to="grace@example.org").status_code == 202


def test_two_api_keys_of_one_person_repeat_nothing_of_each_other(api, superuser):
    secrets = [
        api_keys.create(superuser, actor=Actor.command("test"), name=name, scopes=["messages:send"])[1]
        for name in ("nightly", "weekly")
    ]

    first, second, again = (
        send(api, key="a-1", to=to, bearer=secret)
        for secret, to in zip(
            (*secrets, secrets[0]), ("ada@example.org", "grace@example.org", "ada@example.org"), strict=True
        )
    )

    assert [answer.status_code for answer in (first, second, again)] == [202, 202, 202]
    assert first.json() == again.json() != second.json()


def test_a_key_still_finds_a_message_that_has_forgotten_what_it_said(staff):
    api = staff("add_message")
    first = send(api, key="a-1")
    Message.objects.update(context={})

    assert send(api, key="a-1").json() == first.json()


@pytest.mark.parametrize("key", ["", "ü", "x" * 129, "a\tb"])
def test_a_key_that_is_none_is_told_so(staff, key):
    assert code(send(staff("add_message"), key=key)) == (400, "ErrorCode.BAD_IDEMPOTENCY_KEY")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"type": "tests.nothing"}, "UNKNOWN_TYPE"),
        ({"type": "notifications.test", "context": {"about": "tests.nothing"}}, "INVALID_MESSAGE"),
        ({"type": "tests.hello"}, "TYPE_HAS_SECRETS"),
        ({"type": "tests.hint"}, "INVALID_MESSAGE"),
        ({"context": {"title": 1}}, "INVALID_MESSAGE"),
        ({"context": {"name": "x"}}, "INVALID_MESSAGE"),
        ({"context": {"title": "\x00"}}, "INVALID_MESSAGE"),
        ({"context": {"data": {"a": [{"\x00": 1}]}}}, "INVALID_MESSAGE"),
        ({"context": {"title": "x" * 20_000}}, "INVALID_MESSAGE"),
        ({"language": "xx"}, "UNKNOWN_LANGUAGE"),
        ({"language": "../.."}, "UNKNOWN_LANGUAGE"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_a_reason(staff, body, expected):
    for key in (None, "a-1"):
        answer = send(staff("add_message"), key=key, **body)
        assert code(answer) == (400, f"ErrorCode.{expected}")
    assert not Message.objects.exists()
    assert not LogEntry.objects.exists()


def test_a_link_no_client_may_follow_is_refused(staff, user):
    answer = send(staff("add_message"), to=user.email, context={"url": "javascript:alert(1)"})

    assert code(answer) == (400, "ErrorCode.INVALID_MESSAGE")
    assert not InAppNotification.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        '{"type": "tests.offer", "to": "nobody"}',
        '{"type": "tests.offer", "to": "a\\u0000@example.org"}',
        '{"type": "tests.offer", "to": "ada@example.org", "context": []}',
        '{"type": 1, "to": "ada@example.org"}',
        '{"type": "tests.offer", "to": "ada@example.org", "context": {"data": {"a": NaN}}}',
    ],
)
def test_what_is_no_message_is_told_so(staff, body):
    assert staff("add_message").call("POST", PATH, body).status_code == 422


@pytest.mark.parametrize("data", ['{"a": 1e999}', '{"a": "\\ud800"}'])
def test_what_no_database_holds_is_refused(staff, data):
    body = f'{{"type": "tests.offer", "to": "ada@example.org", "context": {{"data": {data}}}}}'

    assert staff("add_message").call("POST", PATH, body).status_code == 400


def test_a_suppressed_recipient_is_accepted_and_shown(staff):
    suppress("ada@example.org", scope="all", reason="bounce", source="test")
    api = staff("add_message", "view_message")

    uid = send(api).json()["uid"]

    assert api.call("GET", f"{PATH}/{uid}").json()["state"] == "suppressed"


# --- Again, a copy, stop ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["failed", "unknown", "expired"])
def test_retry_queues_the_same_message_again(staff, member, state):
    message = failed(state=state, attempts=8)

    answer = staff("retry_message").call("POST", f"{PATH}/{message.uid}/retry")

    assert answer.status_code == 200
    found = answer.json()
    assert (found["uid"], found["state"], found["attempts"]) == (str(message.uid), "queued", 0)
    assert found["message_id"] == message.message_id
    assert LogEntry.objects.get().user == member


def test_cancel_stops_what_waits(staff):
    message = MessageFactory.create()
    api = staff("cancel_message")

    found = api.call("POST", f"{PATH}/{message.uid}/cancel").json()
    again = api.call("POST", f"{PATH}/{message.uid}/cancel")

    assert (found["state"], found["reason"], found["due_at"]) == ("cancelled", "staff", None)
    assert code(again) == (409, "ErrorCode.MESSAGE_STATE")
    assert LogEntry.objects.count() == 1


def test_resend_queues_a_copy(staff):
    message = MessageFactory.create(finished=True, event_key="tests:1")
    api = staff("resend_message")

    first, second = (api.call("POST", f"{PATH}/{message.uid}/resend").json() for _ in range(2))

    assert first["parent"] == second["parent"] == str(message.uid)
    assert [first["event_key"], second["event_key"]] == ["tests:1#resend-1", "tests:1#resend-2"]
    assert len({message.message_id, first["message_id"], second["message_id"]}) == 3
    assert first["state"] == "queued"


def test_resend_makes_a_copy_whatever_keys_are_taken(staff):
    message = MessageFactory.create(finished=True, event_key="tests:1")
    api = staff("resend_message")
    elder, younger = (api.call("POST", f"{PATH}/{message.uid}/resend").json() for _ in range(2))
    Message.objects.filter(uid=elder["uid"]).delete()

    copy = api.call("POST", f"{PATH}/{message.uid}/resend").json()

    assert copy["uid"] != younger["uid"]
    assert (copy["event_key"], copy["state"]) == ("tests:1#resend-3", "queued")


@pytest.mark.parametrize(("verb", "state"), [("retry", "sent"), ("retry", "queued"), ("resend", "queued")])
def test_the_wrong_state_is_refused(staff, verb, state):
    message = MessageFactory.create(**{"finished": True} if state == "sent" else {})

    answer = staff(f"{verb}_message").call("POST", f"{PATH}/{message.uid}/{verb}")

    assert code(answer) == (409, "ErrorCode.MESSAGE_STATE")
    assert Message.objects.count() == 1
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("verb", ["retry", "resend"])
@pytest.mark.parametrize(
    "fields", [{"context": {"number": -1}}, {"context": {}}, {"type": "gone.type"}, {"context": {"number": 666}}]
)
def test_there_is_nothing_to_say_any_more(staff, verb, fields, caplog):
    message = failed(**fields)

    answer = staff(f"{verb}_message").call("POST", f"{PATH}/{message.uid}/{verb}")

    assert code(answer) == (409, "ErrorCode.MESSAGE_WITHDRAWN")
    assert kinds.CODE not in answer.content.decode() + caplog.text


# --- Preview ----------------------------------------------------------------------------------------------------------


def test_a_type_is_shown_with_its_sample(staff):
    api = staff("view_message")

    found = api.call("GET", "/staff/types/tests.offer/preview?lang=en").json()

    assert found["subject"] == "Offer: Summer"
    assert "/summer" in found["text"]
    assert "<html" in found["html"]
    assert code(api.call("GET", "/staff/types/tests.nothing/preview")) == (404, "ErrorCode.UNKNOWN_TYPE")
    assert code(api.call("GET", "/staff/types/tests.offer/preview?lang=xx")) == (400, "ErrorCode.UNKNOWN_LANGUAGE")


def test_every_declared_type_can_be_shown(staff):
    api = staff("view_message")

    for kind in registry.declared_types():
        answer = api.call("GET", f"/staff/types/{kind.code}/preview")
        assert answer.status_code == (409 if kind.code == "tests.broken" else 200), kind.code


def test_a_preview_is_for_staff_who_may_see_messages(api, user, staff):
    assert staff().call("GET", "/staff/types/tests.offer/preview").status_code == 403
