"""Announcements, from the first word to the last mail, through the admin."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from lib.actors import Actor
from lib.errors import ProductError
from notifications import audiences
from notifications.models import Announcement, InAppNotification, Message, PeriodicJob, Preference, Suppression, Worker
from notifications.services import announcements, delivery, periodic_jobs
from notifications.tests.factories import MessageFactory
from notifications.tests.staff import ANNOUNCEMENTS, MESSAGES, clerk, faults, rows, told
from users.models import AuditEvent
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
MAY = ("add_inappnotification", "add_message")
FORM = {
    "title_en": "News <b>now</b> & more",
    "body_en": "There is <i>something</i> new.",
    "title_de": "Neues",
    "body_de": "Es gibt etwas Neues.",
    "url": "https://example.org/?a=1&b=2",
    "severity": "warning",
    "channels": ["email", "in_app"],
    "audience": "everybody",
    "people": "",
}
WORDS = {"en": {"title": "News", "body": "There is something new."}}


@pytest.fixture
def client():
    client = clerk(*MAY)
    client.user.user_permissions.add(Permission.objects.get(codename="view_group"))
    return client


def may_see(client, *models):
    client.user.user_permissions.add(*Permission.objects.filter(codename__in=[f"view_{model}" for model in models]))


def people(count, **fields):
    return UserFactory.create_batch(count, **fields)


def drafted(client, **form):
    """A draft, as the form makes it, and its page."""
    answer = client.post(f"{ANNOUNCEMENTS}add/", {**FORM, **form})
    assert answer.status_code == 302, answer.context["form"].errors
    row = Announcement.objects.latest("pk")
    assert answer.headers["Location"] == page(row, "preview")
    return row


def draft_of(audience="everybody", choice="", named=None, **more):
    given = {"words": WORDS, "channels": ["email", "in_app"], **more}
    actor = Actor.command("tests")
    return announcements.save(Announcement(), audience=audience, choice=choice, people=named, actor=actor, **given)


def page(row, end="change"):
    return f"{ANNOUNCEMENTS}{row.pk}/{end}/"


def press(client, row, verb, **more):
    return client.post(page(row, verb), {"version": row.version, **more}, follow=True)


def said(response):
    """The one message, without the title it begins with."""
    (text,) = told(response)
    return text.removeprefix("“").partition("”: ")[2] or text


def run():
    """What a worker does in the background, until nothing is left."""
    for _ in announcements.work():
        pass


def sent(row):
    announcements.send(row, actor=Actor.command("tests"))
    run()
    row.refresh_from_db()
    return row


@pytest.fixture
def slices(monkeypatch):
    monkeypatch.setattr(announcements, "SLICE", 2)


# --- Writing and looking at it ----------------------------------------------------------------------------------------


def test_a_draft_is_written_looked_at_and_sent(client):
    ada, bob = people(2), people(1, language="de")[0]
    assert faults(client.get(f"{ANNOUNCEMENTS}add/")) == []
    row = drafted(client)

    shown = client.get(page(row, "preview"))

    text = shown.content.decode()
    assert faults(shown) == []
    assert "Send to 3 people" in text
    assert text.count("&lt;b&gt;now") > 2
    assert "Neues" in text
    assert not Message.objects.exists()
    done = press(client, row, "send")
    assert told(done) == [f"“{FORM['title_en']}”: sending to 3 people (Everybody)."]
    run()
    row.refresh_from_db()
    assert (row.state, row.counts["people"], row.counts["mails"], row.counts["in_app"]) == ("sending", 3, 3, 3)
    mail, inside = Message.objects.get(user=bob), InAppNotification.objects.get(user=bob)
    assert (mail.language, mail.context["title"], inside.title) == ("de", "Neues", "Neues")
    mail, inside = Message.objects.get(user=ada[0]), InAppNotification.objects.get(user=ada[0])
    assert (mail.language, mail.context["title"], inside.body) == ("en", FORM["title_en"], FORM["body_en"])
    assert (inside.url, inside.severity, mail.announcement) == (FORM["url"], "warning", row)
    entry = LogEntry.objects.first()
    assert (entry.user, entry.change_message) == (client.user, "Send: sending to 3 people (Everybody).")
    event = AuditEvent.objects.get(event="announcement.sent")
    assert event.data == {"name": FORM["title_en"], "scope": "everybody", "count": 3}


def test_each_language_has_its_frame_and_the_missing_one_is_named(client):
    row = drafted(client, title_de="", body_de="")

    frame = client.get(page(row, "frame/en"))

    assert "There is &lt;i&gt;something" in frame.content.decode()
    assert "default-src 'none'" in frame.headers["Content-Security-Policy"]
    assert client.get(page(row, "frame/de")).status_code == 404
    assert (
        "Not written in German: those readers get it in English." in client.get(page(row, "preview")).content.decode()
    )


def test_words_in_a_language_that_the_product_has_no_more_are_still_shown_and_sent(client, settings):
    people(1)
    row = drafted(client, title_en="", body_en="")
    settings.NOTIFICATIONS_LANGUAGES = ["en"]

    assert "Es gibt etwas Neues." in client.get(page(row, "preview")).content.decode()
    assert client.get(page(row)).status_code == client.get(ANNOUNCEMENTS).status_code == 200
    sent(row)
    assert Message.objects.get().context["title"] == "Neues"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"title_en": "", "body_en": "", "title_de": "", "body_de": ""}, "at least one language"),
        ({"body_de": ""}, "Write both, or neither."),
        ({"title_en": "x" * 151}, "at most 150"),
        ({"title_en": "one\u2028two"}, "Use one line without control characters."),
        ({"title_en": "a\u202eb"}, "Use one line without control characters."),
        ({"body_en": "x" * 4001}, "at most 4000"),
        ({"body_en": "\x00"}, "Null characters are not allowed."),
        ({"url": "javascript:alert(1)"}, "Enter a valid URL."),
        ({"severity": "loud"}, "Select a valid choice"),
        ({"channels": []}, "Choose at least one."),
        ({"channels": ["pigeon"]}, "Select a valid choice"),
        ({"audience": "group:999"}, "Select a valid choice"),
        ({"audience": "people", "people": " , "}, "Name at least one person."),
        ({"audience": "people", "people": "a&c@example.org"}, "There is no user a&amp;c@example.org."),
    ],
)
def test_what_cannot_be_announced_is_told(client, wrong, says):
    response = client.post(f"{ANNOUNCEMENTS}add/", {**FORM, **wrong})

    assert response.status_code == 200
    assert says in response.content.decode()
    assert faults(response) == []
    assert not Announcement.objects.exists()


def test_a_draft_can_be_changed_and_its_people_stay(client):
    ada, bob = people(2)
    may_see(client, "user")
    row = drafted(client, audience="people", people=f" {ada.email.upper()} ,\n{bob.email}\n")
    form = client.get(page(row)).context["form"]
    assert set(form.initial["people"].split()) == {ada.email, bob.email}

    client.post(page(row), {**FORM, "audience": "people", "title_en": "Other", "people": "", "version": "1"})

    row.refresh_from_db()
    assert (str(row), row.version, row.audience_label) == ("Other", 2, "2 people by address")
    assert set(row.people.all()) == {ada, bob}
    stale = client.post(page(row), {**FORM, "version": "1"})
    assert "It was changed since you looked at it" in stale.content.decode()


def test_addresses_are_shown_to_those_alone_who_see_users(client):
    ada = people(1)[0]
    row = drafted(client, audience="people", people=ada.email)
    other = clerk(*MAY, email="other@example.org")

    for reader in (client, other):
        assert "1 are named" in reader.get(page(row)).content.decode()
        assert ada.email not in reader.get(page(row)).content.decode()
    saved = other.post(page(row), {**FORM, "audience": "people", "people": "", "version": "1"})
    assert saved.status_code == 302
    assert ada.email not in other.get(page(row)).content.decode()
    may_see(other, "user")
    assert other.get(page(row)).context["form"].initial["people"] == ada.email


def test_what_was_changed_since_it_was_looked_at_does_not_go(client):
    people(1)
    row = drafted(client)
    client.post(page(row), {**FORM, "title_en": "Other", "version": "1"})

    for answer in (press(client, row, "send"), client.post(page(row, "send"), follow=True)):
        assert said(answer) == "It was changed since you looked at it: look at it once more."
    row.refresh_from_db()
    assert row.state == "draft"


def test_what_was_counted_anew_does_not_go_from_a_page_with_the_older_count(client):
    people(1)
    row = drafted(client)
    people(2)
    client.post(page(row, "count"), follow=True)

    stale = press(client, row, "send")

    assert said(stale) == "It was changed since you looked at it: look at it once more."
    row.refresh_from_db()
    assert row.state == "draft"
    assert "Send to 3 people" in stale.content.decode()
    assert told(press(client, row, "send")) == [f"“{FORM['title_en']}”: sending to 3 people (Everybody)."]


def test_pressing_twice_sends_once(client):
    people(2)
    row = drafted(client)

    press(client, row, "send")
    again = press(client, row, "send")
    run()
    run()

    assert told(again) == [f"“{FORM['title_en']}”: it was sent before."]
    assert Message.objects.count() == InAppNotification.objects.count() == 2


def test_no_one_to_send_it_to(client):
    row = drafted(client, audience=f"group:{Group.objects.create(name='Beta').pk}")

    assert "disabled" in client.get(page(row, "preview")).content.decode()
    assert said(press(client, row, "send")) == "There is no one to send it to."


def test_without_a_worker_its_page_says_that_it_does_not_go_on(client, settings):
    people(1)
    row = drafted(client)
    press(client, row, "send")
    settings.NOTIFICATIONS_ENGINE = "worker"
    note = "It does not go on: no worker has given a sign of life."
    assert note in client.get(page(row)).content.decode()

    Worker.objects.create(host="a", pid=1, engine="worker")

    assert note not in client.get(page(row)).content.decode()


def test_of_too_many_choices_the_first_are_offered(client, monkeypatch):
    monkeypatch.setattr("notifications.audiences.OFFERED", 2)
    for name in ("Alpha", "Beta", "Gamma"):
        Group.objects.create(name=name)

    text = client.get(f"{ANNOUNCEMENTS}add/").content.decode()

    assert "Gamma" not in text
    assert "Of each kind only the first 2 are offered." in text


def test_a_test_goes_to_oneself_alone(client):
    people(2)
    row = drafted(client)
    assert said(client.post(page(row, "test/de"), follow=True)) == "Your own address is not verified."
    client.user.email_verified_at = timezone.now()
    client.user.save()

    assert said(client.post(page(row, "test/de"), follow=True)) == "A test in German is on its way to you."

    message, inside = Message.objects.get(), InAppNotification.objects.get()
    assert (message.user, message.context["title"], message.language) == (client.user, "[Test] Neues", "de")
    assert (inside.user, inside.title, message.announcement) == (client.user, "[Test] Neues", None)
    assert client.get(page(row, "test/de")).status_code == 405


def test_a_draft_can_be_deleted_and_what_was_sent_cannot(client):
    people(1)
    row, other = drafted(client), drafted(client)
    press(client, other, "send")

    assert client.post(page(row, "delete")).headers["Location"] == ANNOUNCEMENTS
    client.post(page(other, "delete"))
    client.post(page(other), FORM)

    assert list(Announcement.objects.values_list("pk", "state")) == [(other.pk, "sending")]


# --- Whom it reaches --------------------------------------------------------------------------------------------------


def test_those_who_do_not_want_or_must_not_get_it_are_left_out(client):
    ada, bob, eve, joe, mia, max_ = people(6)
    people(1, inactive=True)
    people(1, unverified=True)
    Suppression.objects.create(address=ada.email, scope="announcement", reason="unsubscribe")
    Suppression.objects.create(address=bob.email, scope="all", reason="bounce")
    for user, channel in ((eve, "email"), (joe, "in_app")):
        Preference.objects.create(user=user, category="announcement", channel=channel, enabled=False)
    row = drafted(client)
    may_see(client, "user", "preference", "suppression")

    text = re.sub(r"\s+", " ", client.get(page(row, "preview")).content.decode())
    assert "<li>Unsubscribed from announcements by mail: 1</li>" in text
    assert "<li>Address that is not written to: 2</li>" in text
    assert "<li>Announcements in the product switched off: 1</li>" in text
    assert "<li>Address not verified: 2</li>" in text  # and the clerk
    assert "<li>Account not active: 1</li>" in text
    sent(row)

    states = dict(Message.objects.values_list("user", "reason"))
    assert states == {
        ada.pk: "suppressed",
        bob.pk: "suppressed",
        eve.pk: "preference",
        **dict.fromkeys((joe.pk, mia.pk, max_.pk), ""),
    }
    assert set(InAppNotification.objects.values_list("user", flat=True)) == {
        user.pk for user in (ada, bob, eve, mia, max_)
    }


@pytest.mark.parametrize(
    ("sees", "shown"),
    [
        ([], {"Reasons not shown to you": "4"}),
        (["preference"], {"Unsubscribed from announcements by mail": "1", "Reasons not shown to you": "3"}),
        (["suppression"], {"Address that is not written to": "1", "Reasons not shown to you": "3"}),
        (["user"], {"Address not verified": "1", "Account not active": "1", "Reasons not shown to you": "2"}),
    ],
)
def test_why_people_are_left_out_is_told_to_those_who_may_look_it_up(client, sees, shown):
    ada, bob = people(2)
    Suppression.objects.create(address=ada.email, scope="all", reason="bounce")
    Preference.objects.create(user=bob, category="announcement", channel="email", enabled=False)
    named = [ada, bob, *people(1, inactive=True), *people(1, unverified=True)]
    row = draft_of("people", named=named)
    may_see(client, *sees)

    assert dict(client.get(page(row, "preview")).context["left_out"]) == shown


def test_too_many_to_one_address_are_throttled():
    ada = people(1)[0]
    for _ in range(4):
        sent(draft_of())

    assert sorted(Message.objects.filter(user=ada).values_list("reason", flat=True)) == ["", "", "", "throttled"]


def test_a_group_and_named_people():
    ada, bob, eve = people(3)
    group = Group.objects.create(name="Beta")
    group.user_set.add(ada, bob)

    beta = draft_of("group", str(group.pk))
    named = draft_of("people", named=[eve])

    assert (beta.audience_label, beta.counts["people"]) == ("Group Beta", 2)
    assert (named.audience_label, named.counts["people"]) == ("1 person by address", 1)
    sent(beta)
    sent(named)
    assert set(Message.objects.filter(announcement=beta).values_list("user", flat=True)) == {ada.pk, bob.pk}
    assert Message.objects.get(announcement=named).user == eve


def test_a_person_who_is_deleted_is_named_no_more():
    ada, bob = people(2)
    row = draft_of("people", named=[ada, bob])

    ada.delete()

    sent(row)
    assert list(row.people.all()) == [bob]
    assert Message.objects.get().user == bob


def test_only_the_chosen_ways_are_taken():
    people(1)

    sent(draft_of(channels=["in_app"]))

    assert (Message.objects.count(), InAppNotification.objects.count()) == (0, 1)
    assert Announcement.objects.get().state == "done"
    sent(draft_of(channels=["email"]))
    assert (Message.objects.count(), InAppNotification.objects.count()) == (1, 1)


def test_whoever_registers_after_it_was_sent_is_not_meant(slices):
    people(3)
    row = draft_of()
    announcements.send(row, actor=Actor.command("tests"))
    people(3)

    run()

    assert Message.objects.count() == 3


def test_a_group_that_is_gone_stops_it_and_says_so(client):
    people(1)
    group = Group.objects.create(name="Beta")
    group.user_set.add(*people(1))
    row = draft_of("group", str(group.pk))
    announcements.send(row, actor=Actor.command("tests"))
    group.delete()

    run()

    row.refresh_from_db()
    assert (row.state, row.note) == ("paused", "The group does not exist any more.")
    assert row.note in client.get(page(row)).content.decode()
    assert not Message.objects.exists()


# --- Slice by slice ---------------------------------------------------------------------------------------------------


def test_large_audiences_are_counted_in_the_background_and_wait_for_it(client, slices):
    people(7)
    row = drafted(client)

    text = client.get(page(row, "preview")).content.decode()
    assert "of 4 that were looked at. It goes on in the background." in text
    assert said(press(client, row, "send")) == "Its people are still being counted."
    assert PeriodicJob.objects.get(name=announcements.JOB).next_run_at <= timezone.now()
    run()

    row.refresh_from_db()
    assert (row.counts["people"], row.counts["looked"]) == (7, 8)
    assert "Send to 7 people" in client.get(page(row, "preview")).content.decode()
    assert not Message.objects.exists()


def test_it_stops_where_it_is_paused_and_goes_on_there(client, slices):
    everyone = people(7)
    row = draft_of("people", named=everyone)
    run()
    announcements.send(row, actor=Actor.command("tests"))
    work = announcements.work()
    next(work)
    next(work)
    assert Message.objects.count() == 4
    row.refresh_from_db()
    assert "4 of about 7" in client.get(page(row)).content.decode()

    press(client, row, "pause")
    list(work)
    run()

    row.refresh_from_db()
    assert row.state == "paused"
    assert Message.objects.count() == 4
    assert not Message.objects.filter(due_at__lt=timezone.now() + timedelta(days=29)).exists()
    press(client, row, "resume")
    run()
    assert set(Message.objects.values_list("user", flat=True)) == {user.pk for user in everyone}
    assert not Message.objects.filter(due_at__gt=timezone.now()).exists()
    assert Message.objects.filter(expires_at__gt=timezone.now() + timedelta(days=2)).count() == 7


def test_what_was_held_back_goes_to_the_accounts_as_they_are_when_it_leaves(settings):
    settings.NOTIFICATIONS_ENGINE = "off"
    ada, bob, eve, joe = people(4)
    row = sent(draft_of())
    announcements.pause(row)
    run()
    type(ada).objects.filter(pk=ada.pk).update(is_active=False)
    type(bob).objects.filter(pk=bob.pk).update(email="bob.new@example.org")
    type(eve).objects.filter(pk=eve.pk).update(email_verified_at=None)

    announcements.resume(row)
    run()
    delivery.QueueWorker().deliver_due()

    found = Message.objects.values_list("user", "state", "reason")
    assert {user: (state, reason) for user, state, reason in found} == {
        ada.pk: ("suppressed", "inactive"),
        bob.pk: ("sent", ""),
        eve.pk: ("suppressed", "unverified"),
        joe.pk: ("sent", ""),
    }
    assert Message.objects.get(user=bob).to_address == "bob.new@example.org"
    assert {address for each in mail.outbox for address in each.to} == {"bob.new@example.org", joe.email}


def test_only_what_is_announced_asks_for_accounts(settings):
    settings.NOTIFICATIONS_ENGINE = "off"
    MessageFactory.create_batch(5, user=people(1)[0])
    with CaptureQueriesContext(connection) as captured:
        delivery.QueueWorker().deliver_due()
    assert not [query for query in captured if 'FROM "users_user"' in query["sql"]]
    people(5)
    sent(draft_of())

    with CaptureQueriesContext(connection) as captured:
        delivery.QueueWorker().deliver_due()

    assert len(mail.outbox) == 11
    assert len([query for query in captured if 'FROM "users_user"' in query["sql"]]) == 1


def test_what_waits_is_cancelled_with_it(client, slices):
    people(5)
    row = draft_of()
    run()
    sent(row)
    Message.objects.filter(pk=Message.objects.first().pk).update(state="sent", due_at=None, finished_at=timezone.now())

    asked = press(client, row, "cancel")
    assert "No one else gets it" in asked.content.decode()
    press(client, row, "cancel", reason="A mistake")
    run()

    row.refresh_from_db()
    assert (row.state, row.delivery, row.is_settled) == ("cancelled", {"sent": 1, "cancelled": 4}, True)
    assert said(press(client, row, "resume")) == "It is cancelled: this is not possible any more."
    assert AuditEvent.objects.get(event="announcement.cancelled").data["reason"] == "A mistake"


def test_it_is_done_when_nothing_is_on_its_way():
    people(2)
    row = sent(draft_of())
    assert (row.state, row.delivery) == ("sending", {"queued": 2})
    Message.objects.update(state="sent", due_at=None, finished_at=timezone.now())

    run()

    row.refresh_from_db()
    assert (row.state, row.delivery) == ("done", {"sent": 2})
    assert row.finished_at
    assert list(announcements.work()) == []


def test_a_crash_between_two_slices_neither_loses_nor_doubles_anyone(slices, monkeypatch):
    everyone = people(5)
    row = draft_of()
    run()
    announcements.send(row, actor=Actor.command("tests"))
    write, calls = announcements._Slice.write, []

    def dies(self, **options):
        write(self, **options)
        calls.append(1)
        if len(calls) == 2:
            raise SystemExit

    monkeypatch.setattr(announcements._Slice, "write", dies)
    with pytest.raises(SystemExit):
        run()
    assert Message.objects.count() == 2

    run()

    keys = list(Message.objects.values_list("user", flat=True))
    assert sorted(keys) == sorted(user.pk for user in everyone)


def test_a_worker_that_comes_late_with_a_slice_moves_nothing_back(slices):
    people(6)
    row = draft_of()
    run()
    announcements.send(row, actor=Actor.command("tests"))
    late = Announcement.objects.get()
    for _ in range(2):
        announcements._next_slice(Announcement.objects.get())
    before = Announcement.objects.values().get()

    announcements._next_slice(late)

    assert Announcement.objects.values().get() == before


def test_one_that_fails_does_not_stop_the_others(monkeypatch):
    people(1)
    broken, good = draft_of(), draft_of()
    Announcement.objects.filter(pk=broken.pk).update(words={"en": {"title": "", "body": ""}})
    for row in (broken, good):
        announcements.send(row, actor=Actor.command("tests"))

    run()

    broken.refresh_from_db()
    assert (broken.state, broken.note) == ("paused", "Stopped by an error (ProductError).")
    assert Message.objects.get().announcement == good


def test_the_job_does_it(slices):
    people(5)
    row = draft_of()
    announcements.count(row)
    assert periodic_jobs.run_due(only=announcements.JOB) == [announcements.JOB]
    announcements.send(row, actor=Actor.command("tests"))

    assert periodic_jobs.run_due(only=announcements.JOB) == [announcements.JOB]

    assert Message.objects.count() == 5


def test_a_slice_takes_as_many_queries_however_many_people_it_has(django_assert_max_num_queries):
    counts = []
    for _ in range(2):
        people(10)
        row = draft_of()
        announcements.send(row, actor=Actor.command("tests"))
        row.refresh_from_db()
        # The people, the list, two of preferences, rates; the clock, two INSERTs; the cursor and its transaction.
        with django_assert_max_num_queries(11):
            announcements._next_slice(row)
        counts.append(Message.objects.count())
    assert counts == [10, 30]


# --- Who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lacking", MAY)
def test_whoever_may_not_announce_cannot(client, lacking):
    people(1)
    row = drafted(client)
    other = clerk(*(set(MAY) - {lacking}), "view_announcement", email="other@example.org")

    assert "add/" not in other.get(ANNOUNCEMENTS).content.decode()
    assert other.get(f"{ANNOUNCEMENTS}add/").status_code == 403
    assert other.post(f"{ANNOUNCEMENTS}add/", FORM).status_code == 403
    assert other.post(page(row), FORM).status_code == 403
    for verb in ("send", "pause", "resume", "cancel", "count", "delete", "test/en"):
        assert other.post(page(row, verb), {"version": 1}).status_code == 403
    shown = other.get(page(row, "preview"))
    assert shown.status_code == 200
    assert "<button" not in shown.content.decode().split('id="content-main"')[1]
    row.refresh_from_db()
    assert row.state == "draft"


def test_who_sees_nothing_of_announcements_finds_no_page(client):
    row = drafted(client)
    other = clerk("view_message", email="other@example.org")

    for where in (ANNOUNCEMENTS, page(row), page(row, "preview"), page(row, "frame/en")):
        assert other.get(where).status_code == 403


def test_groups_are_for_those_who_may_see_them(client):
    group = Group.objects.create(name="Secret circle")
    group.user_set.add(*people(1))
    row = drafted(client, audience=f"group:{group.pk}")
    other = clerk(*MAY, email="other@example.org")

    assert "Secret circle" not in other.get(f"{ANNOUNCEMENTS}add/").content.decode()
    refused = other.post(f"{ANNOUNCEMENTS}add/", {**FORM, "audience": f"group:{group.pk}"})
    assert "Select a valid choice" in refused.content.decode()
    for where in (ANNOUNCEMENTS, page(row), page(row, "preview")):
        assert "Secret circle" not in other.get(where).content.decode()
    for verb in ("send", "count"):
        assert other.post(page(row, verb), {"version": 1}).status_code == 403
    assert other.post(page(row), FORM).status_code == 403


def test_the_name_of_a_group_stays_out_of_history_and_audit_trail(client):
    group = Group.objects.create(name="Secret circle")
    group.user_set.add(*people(1))
    row = drafted(client, audience=f"group:{group.pk}")
    for verb in ("send", "pause", "resume"):
        press(client, row, verb)
    other = clerk(*MAY, email="other@example.org")
    may_see(other, "auditevent")

    for where in (page(row, "history"), "/admin/users/auditevent/", "/admin/activity/"):
        assert "Secret circle" not in other.get(where, follow=True).content.decode()
    scopes = {event.data["scope"] for event in AuditEvent.objects.filter(event__startswith="announcement.")}
    assert scopes == {f"group:{group.pk}"}
    assert "sending to 1 person (Group)" in other.get(page(row, "history")).content.decode()


# --- Lists and limits -------------------------------------------------------------------------------------------------


def test_the_list_shows_each_and_filters(client, django_assert_max_num_queries):
    people(1)
    first, second = draft_of(), draft_of()
    for _ in range(5):
        draft_of()
    announcements.send(first, actor=Actor.command("tests"))

    with django_assert_max_num_queries(8):
        shown = client.get(ANNOUNCEMENTS)

    assert faults(shown) == []
    assert second.pk in rows(shown)
    assert rows(client.get(ANNOUNCEMENTS, {"state__exact": "sending"})) == [first.pk]


def test_a_page_asks_the_same_however_many_people_there_are(client, django_assert_max_num_queries):
    people(30)
    row = sent(draft_of())

    with django_assert_max_num_queries(12):
        shown = client.get(page(row))

    assert faults(shown) == []
    assert "Queued: 30" in shown.content.decode()
    assert "0 of 30 are through" in shown.content.decode()
    Message.objects.update(state="sent", due_at=None, finished_at=timezone.now())
    assert "30 of 30 are through" in client.get(page(row)).content.decode()


def test_its_messages_are_listed_for_those_who_see_messages(client):
    people(2)
    row = sent(draft_of())
    sent(draft_of())
    where = f"{MESSAGES}?announcement={row.pk}&state__exact=queued"
    assert where.replace("&", "&amp;") not in client.get(page(row)).content.decode()
    client.user.user_permissions.add(Permission.objects.get(codename="view_message"))

    assert where.replace("&", "&amp;") in client.get(page(row)).content.decode()
    assert set(rows(client.get(where))) == set(row.messages.values_list("pk", flat=True))
    assert rows(client.get(f"{MESSAGES}?announcement=x")) == []
    assert "By announcement" not in client.get(MESSAGES).content.decode()


def test_a_slice_that_is_written_once_more_adds_nothing(slices):
    people(4)
    row = draft_of()
    run()
    sent(row)

    Announcement.objects.update(cursor="", written_at=None, counts={})
    run()

    assert Message.objects.filter(announcement=row).count() == InAppNotification.objects.count() == 4


def test_too_many_addresses_are_refused(monkeypatch):
    monkeypatch.setattr(announcements, "PEOPLE_LIMIT", 2)

    with pytest.raises(ProductError, match="At most 2 people"):
        announcements.named_people("a@example.org\nb@example.org\nc@example.org")


def test_an_audience_that_is_not_registered_is_refused():
    for audience, choice in (("nowhere", ""), ("group", "999"), ("everybody", "x")):
        with pytest.raises(ProductError, match="audience"):
            draft_of(audience, choice)
    with pytest.raises(audiences.Gone):
        audiences.get("nowhere")
