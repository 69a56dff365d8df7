from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from notifications.admin.common import type_label
from notifications.models import Message, Suppression
from notifications.services import delivery
from notifications.tests.factories import MessageFactory
from notifications.tests.staff import MESSAGES, clerk, faults, page, rows, told

pytestmark = pytest.mark.django_db

#: name, state it applies to, permission, what it says, the state afterwards
VERBS = [
    ("retry", {"state": "failed", "due_at": None}, "retry_message", "queued again.", "queued"),
    ("cancel", {}, "cancel_message", "cancelled.", "cancelled"),
    ("resend", {"finished": True}, "resend_message", "queued again as", "sent"),
    ("suppress", {}, "add_suppression", "address suppressed (optional).", "queued"),
]
each_verb = pytest.mark.parametrize(("name", "fields", "permission", "says", "after"), VERBS)
ANSWER = {"reason": "Asked by phone", "scope": "optional"}


@pytest.fixture
def staff(staff_client):
    return staff_client


def test_the_list_shows_and_finds(staff):
    later = timezone.now() + timedelta(hours=1)
    message = MessageFactory.create(to_address="a&b@example.org", last_code="451", attempts=2, due_at=later)
    MessageFactory.create(to_address="other@example.org", finished=True)

    shown = staff.get(MESSAGES).content.decode()
    assert "a&amp;b@example.org" in shown
    assert '<span class="chip chip-waiting">Queued</span>' in shown
    assert ">Attempt 2 of 8 did not succeed (451); the next is at" in shown
    for term in ("a&b@example.org", "A&B@", str(message.uid), message.message_id, message.message_id[1:-1]):
        assert rows(staff.get(MESSAGES, {"q": term})) == [message.pk]
    assert rows(staff.get(MESSAGES, {"q": "b@example.org"})) == []


def test_a_page_is_titled_by_what_became_of_its_message(staff):
    message = MessageFactory.create(to_address="rosa@example.org", state="failed", due_at=None, type="tests.code")

    shown = staff.get(page(message)).content.decode()

    assert f"<h1>{type_label(message.type)} to rosa@example.org: Failed</h1>" in shown
    assert shown.index("What happened") < shown.index("Message-ID")


def test_odd_searches_find_nothing_and_break_nothing(staff):
    MessageFactory.create(to_address="axb@example.org")

    for term in ["\x00", "a_b%", "'", "<>", "9" * 5000, "q\U0010ffff"]:
        response = staff.get(MESSAGES, {"q": term})

        assert response.status_code == 200, term
        assert rows(response) == [] or term == "\x00"


def test_the_list_is_asked_nothing_but_its_filters(staff):
    queries = {"to_address__regex": "(", "to_address__contains": "a", "lease_token": "x", "state__in": "sent,failed"}
    for name, value in queries.items():
        assert staff.get(MESSAGES, {name: value}).status_code == 400, name


def test_a_list_without_a_search_box_ignores_one(staff):
    for name in ["providerstate", "worker"]:
        assert staff.get(f"/admin/notifications/{name}/", {"q": "x"}).status_code == 200, name


def test_an_action_on_what_is_no_row_is_refused(staff):
    for key in ["x", "\x00", "9" * 30, ""]:
        response = staff.post(MESSAGES, {"action": "retry", "_selected_action": [key], **ANSWER})

        assert response.status_code == 400, key


def test_filters_are_by_known_values(staff):
    message = MessageFactory.create(provider="smtp", category="account")
    MessageFactory.create(finished=True, type="tests.bulk", channel="other", provider="console")

    for query in (
        {"state__exact": "queued"},
        {"type": "tests.hello"},
        {"category": "account"},
        {"channel__exact": "email"},
        {"provider": "smtp"},
        {"state__exact": "queued", "type": "tests.hello"},
    ):
        assert rows(staff.get(MESSAGES, query)) == [message.pk], query


def test_by_state_the_one_that_ended_last_comes_first(staff):
    first, second = MessageFactory.create_batch(2, finished=True)
    Message.objects.filter(pk=first.pk).update(finished_at=second.finished_at.replace(year=2100))

    assert rows(staff.get(MESSAGES, {"state__exact": "sent"})) == [first.pk, second.pk]


def test_a_filter_without_an_index_looks_at_the_newest_only(staff, monkeypatch):
    monkeypatch.setattr("lib.admin.lists.WINDOW", 2)
    monkeypatch.setattr("notifications.admin.messages.WINDOW", 1)
    made = MessageFactory.create_batch(4, finished=True)

    assert rows(staff.get(MESSAGES, {"type": "tests.hello"})) == [made[3].pk, made[2].pk]
    assert rows(staff.get(MESSAGES, {"type": "tests.hello", "state__exact": "sent"})) == [made[3].pk, made[2].pk]
    assert len(rows(staff.get(MESSAGES, {"state__exact": "sent"}))) == 4
    assert len(rows(staff.get(MESSAGES, {"type": "tests.hello", "q": "person"}))) == 4


def test_the_list_counts_to_a_thousand_and_no_further(staff, monkeypatch):
    monkeypatch.setattr("lib.admin.lists.COUNT_LIMIT", 3)
    MessageFactory.create_batch(3)
    assert "3 messages" in staff.get(MESSAGES).content.decode()
    MessageFactory.create()

    assert "3+ messages" in staff.get(MESSAGES).content.decode()
    assert "3+ results" in staff.get(MESSAGES, {"q": "person"}).content.decode()


def test_nothing_is_added_changed_or_deleted_by_form(staff):
    message = MessageFactory.create()

    assert staff.get(f"{MESSAGES}add/").status_code == 403
    assert staff.post(page(message), {"state": "sent"}).status_code == 403
    assert staff.post(page(message, "delete"), {"post": "yes"}).status_code == 403
    assert "_save" not in staff.get(page(message)).content.decode()


@pytest.mark.parametrize("count", [1, 10])
def test_the_list_takes_a_fixed_number_of_queries(staff, queries, count):
    MessageFactory.create_batch(count)
    staff.get(MESSAGES)

    with queries() as made:
        staff.get(MESSAGES)

    assert made() == 7


# --- Verbs ------------------------------------------------------------------------------------------------------------


@each_verb
def test_a_button_asks_and_then_acts_and_is_logged(name, fields, permission, says, after):
    message = MessageFactory.create(to_address="a&b@example.org", **fields)
    client = clerk("view_message", permission)
    assert page(message, name) in client.get(page(message)).content.decode()

    asked = client.post(page(message, name))
    assert "a&amp;b@example.org" in asked.content.decode()
    assert faults(asked) == []
    message.refresh_from_db()
    assert not LogEntry.objects.exists()
    done = client.post(page(message, name), ANSWER, follow=True)

    assert says in told(done)[0]
    entry = LogEntry.objects.get()
    assert entry.user == client.user
    assert entry.object_id == str(message.pk)
    assert "Asked by phone" in entry.change_message
    assert "example.org" not in entry.change_message + entry.object_repr
    message.refresh_from_db()
    assert message.state == after


@each_verb
def test_whoever_may_only_look_sees_no_button_and_cannot_press(name, fields, permission, says, after):
    message = MessageFactory.create(**fields)
    client = clerk("view_message", "view_suppression")

    assert f"/{name}/" not in client.get(page(message)).content.decode()
    assert f"/{name}/" not in client.get(MESSAGES).content.decode()
    assert client.post(page(message, name), ANSWER).status_code == 403
    chosen = {"action": name, "_selected_action": [message.pk], **ANSWER}
    assert client.post(MESSAGES, chosen).status_code == 403
    assert client.get(page(message, name)).status_code == 405
    assert clerk(permission, email="blind@example.org").post(page(message, name), ANSWER).status_code == 403
    assert not LogEntry.objects.exists()


@each_verb
def test_a_selection_is_acted_on_row_by_row(name, fields, permission, says, after):
    good = MessageFactory.create(**fields)
    client = clerk("view_message", permission)
    chosen = {"action": name, "_selected_action": [good.pk]}
    assert "Reason" in client.post(MESSAGES, chosen).content.decode()

    client.post(MESSAGES, {**chosen, **ANSWER})

    assert LogEntry.objects.get().object_id == str(good.pk)


def test_rows_have_buttons_for_what_can_be_done(staff):
    waiting, failed = MessageFactory.create(), MessageFactory.create(state="failed", due_at=None)
    shown = staff.get(MESSAGES).content.decode()

    assert f'formaction="{waiting.pk}/cancel/"' in shown
    assert f'formaction="{failed.pk}/retry/"' in shown
    assert f'formaction="{waiting.pk}/retry/"' not in shown


def test_a_late_press_is_refused_in_words(staff):
    message = MessageFactory.create(finished=True)

    response = staff.post(page(message, "cancel"), ANSWER, follow=True)

    assert told(response) == [f"“{message.to_address}”: Only a message that waits can be cancelled."]
    assert not LogEntry.objects.exists()


def test_a_dead_code_sends_staff_to_the_page_of_the_user(staff):
    message = MessageFactory.create(state="failed", due_at=None, context={"first_name": "Ada", "number": -1})

    for name in ("retry", "resend"):
        assert "send a new one from the user's page" in told(staff.post(page(message, name), ANSWER, follow=True))[0]


def test_a_copy_shows_whose_copy_it_is(staff, settings):
    settings.NOTIFICATIONS_ENGINE = "off"
    message = MessageFactory.create(finished=True)
    staff.post(page(message, "resend"), ANSWER)
    copy = Message.objects.exclude(pk=message.pk).get()

    assert str(message.uid) in staff.get(page(copy)).content.decode()
    assert str(copy.uid) in staff.get(page(message)).content.decode()


def test_suppressing_needs_a_reason_and_a_known_scope(staff):
    message = MessageFactory.create()

    assert "Say why." in staff.post(page(message, "suppress"), {"reason": "", "scope": "all"}).content.decode()
    assert "valid choice" in staff.post(page(message, "suppress"), {"reason": "x", "scope": "any"}).content.decode()
    assert "valid choice" in staff.post(page(message, "suppress"), {**ANSWER, "days": "7"}).content.decode()
    assert not Suppression.objects.exists()

    staff.post(page(message, "suppress"), {**ANSWER, "scope": "all", "days": "30"})
    row = Suppression.objects.get()
    assert (row.address, row.scope, row.reason, row.source) == (message.to_address, "all", "staff", "Asked by phone")
    assert row.expires_at is not None
    staff.post(page(message, "suppress"), {**ANSWER, "scope": "all"})
    assert Suppression.objects.get().expires_at is None
    repeat = staff.post(page(message, "suppress"), {**ANSWER, "scope": "all", "days": "30"}, follow=True)
    assert "on the list already" in told(repeat)[-1]


# --- The page of one --------------------------------------------------------------------------------------------------


def test_the_page_of_a_message_tells_its_story_in_one_order(staff, mail_server):
    message = MessageFactory.create()
    delivery.QueueWorker().deliver_due()
    message.events.create(provider="smtp", event_id="1", kind="bounced", at=message.created_at, detail="<b>gone</b>")

    response = staff.get(page(message))

    told = [entry["what"] for entry in response.context["timeline"]]
    assert told == ["Queued", "Reported: bounced", "Attempt 1: Mail server away"]
    shown = response.content.decode()
    assert "ConnectionRefusedError" in shown
    assert "&lt;b&gt;gone&lt;/b&gt;" in shown
    assert '<p class="why" role="note">' in shown


def test_what_a_message_says_is_shown_without_its_secrets(staff):
    message = MessageFactory.create(
        context={"first_name": "<b>Ada</b>", "number": 1},
        subject="<script>alert(1)</script>",
        to_address="a&b@example.org",
    )

    shown = staff.get(page(message)).content.decode()
    body = staff.get(page(message, "body"))

    assert "••••••" in shown
    assert "481516" not in shown + body.content.decode()
    assert "<script>alert" not in shown
    assert "&lt;script&gt;alert(1)" in shown
    assert f'<iframe class="mail-body" sandbox src="{page(message, "body")}"' in shown
    assert "<dt>Message-ID</dt><dd>&lt;a&amp;b.example.org@example.org&gt;</dd>" in shown
    assert "••••••" in body.content.decode()
    assert "<b>Ada" not in body.content.decode()
    assert body["Content-Security-Policy"].endswith("sandbox")
    assert body["X-Frame-Options"] == "SAMEORIGIN"


def test_a_live_code_is_not_even_derived(staff):
    message = MessageFactory.create(context={"first_name": "Ada", "number": 666})

    assert "••••••" in staff.get(page(message)).content.decode()


def test_the_body_needs_a_permission_of_its_own(staff):
    message = MessageFactory.create()
    client = clerk("view_message")

    shown = client.get(page(message)).content.decode()

    assert "iframe" not in shown
    assert "••••••" not in shown
    assert client.get(page(message, "body")).status_code == 403
    assert clerk("view_message_body", email="b@example.org").get(page(message, "body")).status_code == 403
    assert (
        clerk("view_message", "view_message_body", email="c@example.org").get(page(message, "body")).status_code == 200
    )
    assert staff.get(f"{MESSAGES}999999/body/").status_code == 404
    assert staff.get(f"{MESSAGES}x/body/").status_code == 404


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"context": {}}, "was deleted when its time to be kept was over"),
        ({"type": "tests.gone"}, "does not know this type any more"),
        ({"type": "tests.broken"}, "cannot be rendered today: "),
    ],
)
def test_a_body_that_cannot_be_shown_says_so(staff, fields, says):
    message = MessageFactory.create(**fields)

    assert says in staff.get(page(message)).content.decode()
    assert staff.get(page(message, "body")).status_code == 404


def test_a_template_that_was_changed_since_is_told(staff):
    message = MessageFactory.create(finished=True, template_source="file:0000")
    same = MessageFactory.create(finished=True, template_source="")

    assert "The template has been changed since it was sent." in staff.get(page(message)).content.decode()
    assert "The template has been changed" not in staff.get(page(same)).content.decode()


def test_the_pages_work_under_a_strict_policy(staff):
    message = MessageFactory.create()

    for path in (MESSAGES, page(message), "/admin/"):
        assert faults(staff.get(path)) == []


@pytest.mark.parametrize("count", [1, 6])
def test_the_page_of_a_message_takes_a_fixed_number_of_queries(staff, queries, count):
    message = MessageFactory.create()
    for n in range(count):
        message.tries.create(n=n, worker="w", created_at=message.created_at, duration_ms=1, outcome="temporary")
        message.events.create(provider="smtp", event_id=str(n), kind="deferred", at=message.created_at)
    staff.get(page(message))

    with queries() as made:
        staff.get(page(message))

    assert made() == 9
