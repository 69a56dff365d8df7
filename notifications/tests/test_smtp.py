import socket
import threading
import time
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from django.utils import timezone

from notifications.models import Attempt, Message, ProviderState, Suppression
from notifications.providers import smtp
from notifications.providers.smtp import SmtpProvider
from notifications.rendering.render import build
from notifications.services import delivery
from notifications.tests import kinds
from notifications.tests.factories import MessageFactory
from notifications.tests.sink import eventually

pytestmark = pytest.mark.django_db


def deliver():
    queue_worker = delivery.QueueWorker()
    queue_worker.deliver_due()
    return queue_worker


def pause_is_over():
    ProviderState.objects.exclude(paused_until=None).update(paused_until=timezone.now() - timedelta(seconds=1))


def waits_are_over():
    return Message.objects.filter(state="queued").update(due_at=timezone.now() - timedelta(seconds=1))


def test_a_temporary_refusal_is_tried_again_later(sink):
    sink.replies = ["451 later", "451 later"]
    message = MessageFactory.create()

    deliver()
    message.refresh_from_db()
    assert (message.state, message.attempts, message.last_code) == ("queued", 1, "451")
    assert timedelta(seconds=20) < message.due_at - timezone.now() < timedelta(seconds=40)
    for _ in range(2):
        waits_are_over()
        deliver()

    message.refresh_from_db()
    assert (message.state, message.attempts) == ("sent", 3)
    assert sink.message_ids == [message.message_id]
    assert [attempt.outcome for attempt in message.tries.all()] == ["temporary", "temporary", "accepted"]


def test_attempts_end(sink):
    sink.replies = ["451 later"] * 3
    message = MessageFactory.create(max_attempts=2)

    for _ in range(3):
        deliver()
        waits_are_over()

    message.refresh_from_db()
    assert (message.state, message.reason, message.attempts) == ("failed", "attempts_used", 2)


def test_a_refused_recipient_fails_at_once_and_alone(sink):
    sink.refused_recipients = {"nobody@example.org": "550 5.1.1 no such person"}
    nobody = MessageFactory.create(to_address="nobody@example.org")
    others = MessageFactory.create_batch(2)

    deliver()

    nobody.refresh_from_db()
    assert (nobody.state, nobody.reason, nobody.last_code) == ("failed", "refused", "550")
    assert nobody.last_error == "5.1.1 no such person"
    assert sink.message_ids == [other.message_id for other in others]


def test_while_the_mail_server_is_away_no_attempt_is_burnt(mail_server):
    messages = MessageFactory.create_batch(3)

    queue_worker = deliver()
    assert queue_worker.rest() > 0
    assert set(Message.objects.values_list("state", "attempts")) == {("queued", 0)}
    assert Attempt.objects.get().outcome == "transport_down"
    assert Message.objects.get(last_code="ConnectionRefusedError").handed_at is None
    mail_server.start()
    pause_is_over()
    deliver()

    assert sorted(mail_server.message_ids) == sorted(message.message_id for message in messages)
    assert set(Message.objects.values_list("state", "attempts")) == {("sent", 1)}


def test_the_pause_doubles_and_one_message_tries_the_way(mail_server):
    MessageFactory.create_batch(5)
    queue_worker, pauses = delivery.QueueWorker(), []

    for _ in range(9):
        assert queue_worker.deliver_due() == 1
        pauses.append(queue_worker.rest())
        assert queue_worker.deliver_due() == 0
        pause_is_over()

    for pause, wanted in zip(pauses, [0.5, 1, 2, 4, 8, 16, 32, 60, 60], strict=True):
        assert wanted * 0.7 < pause < wanted * 1.21
    assert Attempt.objects.count() == 9
    mail_server.start()
    assert queue_worker.deliver_due() == 5
    assert queue_worker.rest() == 0
    assert not ProviderState.objects.get().paused


def test_a_login_that_fails_is_nobodys_fault(sink, settings):
    settings.MAILERS["default"]["OPTIONS"] |= {"username": "switchboard", "password": "wrong"}
    MessageFactory.create()

    deliver()

    message = Message.objects.get()
    assert (message.state, message.attempts, message.last_code) == ("queued", 0, "SMTPNotSupportedError")


def test_a_recipient_the_server_hangs_up_on_does_not_hold_up_the_others(sink):
    sink.refused_recipients = {"first@example.org": "421 too many"}
    first = MessageFactory.create(to_address="first@example.org")
    second = MessageFactory.create()

    deliver()

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, first.attempts, first.last_code) == ("queued", 0, "421")
    assert second.state == "sent"


@pytest.mark.parametrize(("reply", "lasts"), [("421 come back later", False), ("530 5.7.0 log in first", True)])
def test_a_server_that_takes_nothing_burns_no_attempt(sink, reply, lasts):
    sink.senders_are_told = reply
    MessageFactory.create_batch(3)

    deliver()

    assert set(Message.objects.values_list("state", "attempts")) == {("queued", 0)}
    assert Attempt.objects.get().outcome == "transport_down"
    assert (ProviderState.objects.get().paused_until is None) == lasts


@pytest.mark.parametrize("words", ["421 busy", None])
def test_a_greeting_that_is_none_is_nobodys_fault(mail_server, settings, words):
    settings.MAILERS["default"]["OPTIONS"]["timeout"] = 0.3
    MessageFactory.create()

    with greeting(mail_server.port, words):
        deliver()

    message = Message.objects.get()
    assert (message.state, message.attempts) == ("queued", 0)
    assert Attempt.objects.get().outcome == "transport_down"


@contextmanager
def greeting(port, words):
    """A server that says this and no more; nothing at all for None."""
    with socket.create_server(("127.0.0.1", port)) as server:
        kept = []

        def answer():
            kept.append(server.accept()[0])
            if words:
                kept[0].sendall(f"{words}\r\n".encode())

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join()
        kept[0].close()


@pytest.mark.parametrize("stage", ["connect", "EHLO", "MAIL", "RCPT", "DATA", "body", "QUIT"])
@pytest.mark.parametrize("words", [b"250 a byte now and then", b"250-line after line\r\n"])
def test_an_answer_that_never_ends_holds_no_worker(mail_server, settings, stage, words):
    settings.MAILERS["default"]["OPTIONS"]["timeout"] = 0.3
    message = MessageFactory.create()

    with endless(mail_server.port, stage, words):
        began = time.monotonic()
        deliver()
        took = time.monotonic() - began

    message.refresh_from_db()
    assert message.state == ("sent" if stage == "QUIT" else "queued")
    assert took < 1.5


@contextmanager
def endless(port, stage, words):
    """A server whose answer at this stage has no end: a byte at a time, or a line."""
    with socket.create_server(("127.0.0.1", port)) as server:

        def answer():
            peer = server.accept()[0]
            with peer, peer.makefile("rb") as heard, suppress(OSError):
                asked = "connect"
                while asked != stage:
                    peer.sendall({"connect": b"220 hi\r\n", "DATA": b"354 go\r\n"}.get(asked, b"250 ok\r\n"))
                    if asked == "DATA":
                        asked = "body"
                        while heard.readline() not in {b".\r\n", b""}:
                            pass
                    else:
                        asked = heard.readline()[:4].decode().upper().strip()
                step = len(words) if words.endswith(b"\n") else 1
                for n in range(60):
                    peer.sendall(words[n * step % len(words) :][:step])
                    time.sleep(0.05)

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join()


@pytest.mark.parametrize(("answer", "state"), [(b"550 5.1.1 no such person", "failed"), (b"250 ok", "sent")])
def test_a_server_that_pipelines_gets_the_envelope_in_one_piece(mail_server, answer, state):
    MessageFactory.create(max_attempts=1)

    with pipelining(mail_server.port, answer) as heard:
        deliver()

    message = Message.objects.get()
    assert (message.state, message.attempts) == (state, 1)
    assert [line[:5] for line in heard[0].splitlines()] == [b"mail ", b"rcpt ", b"data"]
    # Once the recipient is refused, what was begun ends without a mail.
    assert (heard[1] == b".\r\n") == (state == "failed")


@contextmanager
def pipelining(port, answer):
    """A server that says this at RCPT, goes on all the same (RFC 2920, 3.1), and keeps what it hears in one piece."""
    heard = []
    with socket.create_server(("127.0.0.1", port)) as server:

        def run():
            peer = server.accept()[0]
            with peer, suppress(OSError):
                peer.sendall(b"220 hi\r\n")
                peer.recv(9999)
                peer.sendall(b"250-hi\r\n250 PIPELINING\r\n")
                for reply in (b"250 ok\r\n%s\r\n354 go on\r\n" % answer, b"250 ok\r\n", b"221 bye\r\n"):
                    heard.append(peer.recv(99_999))
                    peer.sendall(reply)

        thread = threading.Thread(target=run)
        thread.start()
        yield heard
        thread.join()


@pytest.mark.parametrize("stage", ["MAIL", "RCPT"])
@pytest.mark.parametrize("kind", ["tests.hello", "tests.once"])
def test_a_cut_before_the_mail_itself_is_no_doubt(sink, stage, kind):
    sink.cuts_at = stage
    message = MessageFactory.create(type=kind)

    deliver()
    message.refresh_from_db()
    assert (message.state, message.attempts, message.handed_at) == ("queued", 0, None)
    assert message.tries.get().outcome == ("transport_down" if stage == "MAIL" else "temporary")
    sink.cuts_at = ""
    pause_is_over()
    waits_are_over()
    deliver()

    assert sink.message_ids == [message.message_id]


@pytest.mark.parametrize(
    ("reply", "is_listed"),
    [
        ("550 5.1.1 no such person", True),
        ("550 5.1.10 null MX", True),
        ("550 5.1.2 no such domain", True),
        ("550 5.2.1 receiving mail at a rate that prevents more", False),
        ("550 5.1.90 your daily limit", False),
        ("550 5.1.20 multiple senders", False),
        ("552 5.2.2 over quota", False),
        ("550 user 5.1.1 unknown", False),
        ("550 5.7.1 spam", False),
        ("550 5.1.8 your domain does not exist", False),
        ("550 no", False),
        ("450 4.1.1 not yet", False),
    ],
)
def test_an_address_that_does_not_exist_is_written_to_no_more(sink, reply, is_listed):
    sink.refused_recipients = {"nobody@example.org": reply}
    MessageFactory.create(to_address="nobody@example.org")
    deliver()
    second = MessageFactory.create(to_address="nobody@example.org")

    deliver()

    second.refresh_from_db()
    assert (second.state == "suppressed") == is_listed
    if is_listed:
        listed = Suppression.objects.get()
        assert (listed.address, listed.scope, listed.reason) == ("nobody@example.org", "all", "bounce")
        assert listed.source == reply
        assert timedelta(days=29) < listed.expires_at - timezone.now() < timedelta(days=31)
    else:
        assert not Suppression.objects.exists()


def test_an_address_that_does_not_exist_is_not_written_to_by_the_next_message_of_the_same_claim(sink):
    sink.refused_recipients = {"nobody@example.org": "550 5.1.1 no such person"}
    MessageFactory.create_batch(2, to_address="nobody@example.org")

    deliver()

    assert list(Message.objects.order_by("pk").values_list("state", flat=True)) == ["failed", "suppressed"]


def test_a_bad_address_in_the_mail_itself_lists_nobody(sink):
    sink.replies = ["550 5.1.1 somebody in your text"]
    MessageFactory.create()

    deliver()

    assert not Suppression.objects.exists()


def test_the_row_tells_what_was_handed_over(sink):
    message = MessageFactory.create()

    deliver()

    message.refresh_from_db()
    attempt = message.tries.get()
    assert (message.provider, message.subject) == ("smtp", "Hello from Switchboard")
    assert (message.last_code, message.last_error) == ("250", "")
    assert (attempt.provider, attempt.code, attempt.response) == ("smtp", "250", "OK")


def test_lines_that_begin_with_a_dot_arrive_as_they_are(sink):
    MessageFactory.create(context={"first_name": "…", "number": 1})
    mail = build(Message.objects.get(), {"code": kinds.CODE}, date=timezone.now())
    mail.body = ".one\n..two\nthree\n"
    provider = SmtpProvider()
    provider.ready()

    result = provider.send(provider.pack(mail, uid="", tag=""))

    provider.close()
    assert result.outcome == "accepted"
    assert sink.mails[0].get_payload()[0].get_payload(decode=True) == b".one\r\n..two\r\nthree\r\n"


def test_one_connection_carries_a_hundred_messages(sink, monkeypatch):
    assert smtp.PER_CONNECTION == 100
    monkeypatch.setattr(smtp, "PER_CONNECTION", 10)
    MessageFactory.create_batch(11)

    deliver()

    assert len(sink.mails) == 11
    assert sink.connections == 2


def test_a_local_part_that_mail_servers_cannot_read_is_refused(sink):
    message = MessageFactory.create(to_address="jürgen@example.org")

    deliver()

    message.refresh_from_db()
    assert (message.state, message.reason, message.last_code) == ("failed", "refused", "smtputf8")
    assert not sink.mails


def test_a_cut_line_is_tried_again_under_the_same_message_id(sink):
    sink.replies = [None]
    message = MessageFactory.create()

    deliver()
    message.refresh_from_db()
    assert (message.state, message.tries.get().outcome) == ("queued", "ambiguous")
    waits_are_over()
    deliver()

    message.refresh_from_db()
    assert message.state == "sent"
    assert sink.message_ids == [message.message_id] * 2
    assert sink.mails[0]["Date"] == sink.mails[1]["Date"]


def test_a_type_that_must_not_come_twice_is_not_tried_again_after_a_cut(sink):
    sink.replies = [None]
    message = MessageFactory.create(type="tests.once")

    deliver()

    message.refresh_from_db()
    assert (message.state, message.reason) == ("unknown", "ambiguous")
    assert message.handed_at is not None
    assert len(sink.mails) == 1


def test_silence_costs_one_timeout(sink, settings):
    settings.MAILERS["default"]["OPTIONS"]["timeout"] = 0.2
    sink.is_holding = True
    message = MessageFactory.create()

    deliver()

    message.refresh_from_db()
    assert (message.state, message.tries.get().outcome, message.attempts) == ("queued", "ambiguous", 1)
    assert "timed out" in message.last_error


def test_secrets_are_scrubbed_from_what_the_server_says(sink):
    sink.replies = [f"550 spam: {kinds.CODE}"]
    message = MessageFactory.create()

    deliver()

    message.refresh_from_db()
    assert message.last_error == message.tries.get().response == "spam: ••••••"


def test_a_connection_the_server_closed_is_not_taken_for_a_lost_message(sink):
    sink.hangs_up = True
    provider, mail = SmtpProvider(), build(MessageFactory.create(), {"code": "1"}, date=timezone.now())
    payload = provider.pack(mail, uid="", tag="")
    provider.ready()
    provider.send(payload)
    eventually(lambda: not provider._answers())

    provider.ready()

    assert provider.send(payload).outcome == "accepted"
    provider.close()


def test_the_address_to_unsubscribe_at_is_not_encoded(sink, settings):
    settings.BASE_URL = f"https://api.{'long-' * 30}name.example.org"
    context = {"title": "Grüße", "body": "News", "url": "", "severity": "info"}
    MessageFactory.create(type="notifications.announcement", category="announcement", context=context)

    deliver()

    header = sink.mails[0]["List-Unsubscribe"].strip()
    assert header.startswith(f"<{settings.BASE_URL}/api/notifications/unsubscribe/")
    assert header.endswith(">")
    assert "\n" not in header
