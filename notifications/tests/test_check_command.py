"""`notifications_check` against servers on loopback: SMTP, HTTP, DNS."""

import socket
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest
from django.core.management import CommandError, call_command

from lib import email_url
from lib.actors import Actor
from notifications import registry
from notifications.management.commands import notifications_check
from notifications.services import circuit_breaker
from notifications.tests.esp import Esp
from notifications.tests.sink import free_port

COMMAND = Actor.command("tests")

pytestmark = pytest.mark.django_db

GOOD = {
    "example.org": ["something-else", "v=spf1 include:mail.example.org -all"],
    "s1._domainkey.example.org": ["v=DKIM1; p=abc"],
    "_dmarc.example.org": ["v=DMARC1; p=quarantine"],
}


@pytest.fixture(autouse=True)
def _sound_types(_types):
    registry.forget("tests.broken")


@pytest.fixture
def zone(monkeypatch):
    """The TXT records of the world; a name server on loopback tells them."""
    records = dict(GOOD)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def answer():
        while True:
            wire, peer = server.recvfrom(4096)
            if wire == b"end":
                return
            question = dns.message.from_wire(wire)
            reply = dns.message.make_response(question)
            reply.flags |= dns.flags.RA
            name = question.question[0].name
            if texts := records.get(name.to_text(omit_final_dot=True)):
                reply.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", *(f'"{text}"' for text in texts)))
            else:
                reply.set_rcode(dns.rcode.NXDOMAIN)
            server.sendto(reply.to_wire(), peer)

    thread = threading.Thread(target=answer)
    thread.start()
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], server.getsockname()[1]
    monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
    yield records
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"end", server.getsockname())
    thread.join()
    server.close()


@pytest.fixture
def check(capsys):
    """`check()` is the exit code and what was printed."""

    def run(*arguments):
        try:
            call_command("notifications_check", *arguments)
        except CommandError as error:
            return error.returncode, capsys.readouterr().out + str(error)
        return 0, capsys.readouterr().out

    return run


def test_all_is_well(sink, zone, check):
    code, output = check("--send-to", "ada@example.org")

    assert code == 0, output
    assert "No findings." in output
    for line in (
        "Name: 127.0.0.1 is",
        "Login: none is used",
        "SPF: example.org has",
        "DKIM: example.org has a key, s1",
    ):
        assert line in output
    assert "Mail: to ada@example.org: Accepted: 250 OK" in output
    assert [mail["To"] for mail in sink.mails] == ["ada@example.org"]


def test_nobody_answers(mail_server, zone, check):
    code, output = check("--send-to", "ada@example.org")

    assert code == 1
    assert f"! Connection: 127.0.0.1 does not answer on port {mail_server.port} (Connection refused)." in output
    assert output.endswith("1 finding.")


def test_a_name_that_does_not_exist(mail_server, zone, check, settings):
    settings.MAILERS["default"]["OPTIONS"]["host"] = "no-such-host.invalid"

    assert "! Name: no-such-host.invalid cannot be resolved" in check()[1]


def test_a_login_that_is_refused(mail_server, zone, check, settings):
    mail_server.password = "right"
    settings.MAILERS["default"]["OPTIONS"] |= {"username": "switchboard", "password": "wrong-horse"}
    mail_server.start()

    code, output = check()

    assert code == 1
    assert "! Login: refused: 535" in output
    assert "wrong-horse" not in output


def test_tls_that_is_not_offered(sink, zone, check, settings):
    settings.MAILERS["default"]["OPTIONS"]["use_tls"] = True

    assert "! Conversation: refused: SMTPNotSupportedError" in check()[1]


def test_tls_that_is_none(sink, zone, check, settings):
    settings.MAILERS["default"]["OPTIONS"]["use_ssl"] = True

    code, output = check()

    assert code == 1
    assert "! TLS: refused: SSLError" in output


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"example.org": []}, "! SPF: example.org has no record"),
        ({"example.org": ["v=spf1 -all", "v=spf1 ~all"]}, "! SPF: example.org has 2 records"),
        ({"example.org": ["v=spf1 +all"]}, "! SPF: example.org lets everybody send for it"),
        ({"_dmarc.example.org": []}, "! DMARC: example.org has no record"),
        ({"s1._domainkey.example.org": []}, "  DKIM: example.org has no key under the usual names"),
    ],
)
def test_records_that_are_missing(sink, zone, check, changes, finding):
    zone.update(changes)

    code, output = check()

    assert finding in output
    assert code == (1 if finding.startswith("!") else 0)


def test_the_organisations_dmarc_record_counts(sink, zone, check, settings):
    settings.DEFAULT_FROM_EMAIL = "noreply@mail.example.org"
    zone["mail.example.org"] = ["v=spf1 -all"]

    assert "DMARC: example.org has a record" in check()[1]


def test_without_dnspython_it_says_what_was_not_looked_at(sink, check, monkeypatch):
    monkeypatch.setattr(notifications_check.importlib.util, "find_spec", lambda name: None)

    code, output = check()

    assert code == 0
    assert "SPF, DKIM, DMARC: not looked at" in output


def test_a_pause_and_a_short_lease_are_findings(sink, zone, check, settings):
    circuit_breaker.pause("email", actor=COMMAND, reason="spring cleaning")
    settings.NOTIFICATIONS_LEASE = 20

    code, output = check()

    assert code == 1
    assert "! Pause: email is paused by command:tests, until it is resumed: spring cleaning" in output
    assert "! Settings: NOTIFICATIONS_LEASE must be at least" in output
    assert output.endswith("2 findings.")


def test_mail_that_is_off_is_a_finding(check, settings):
    settings.NOTIFICATIONS_ENGINE = "off"

    assert check() == (1, check()[1])
    assert "set EMAIL_URL" in check()[1]


def test_mail_that_stays_here_has_nothing_to_look_at(check, mailoutbox):
    code, output = check("--send-to", "ada@example.org")

    assert code == 0
    assert "memory: mail stays on this machine" in output
    assert len(mailoutbox) == 1


def test_an_address_that_is_not_allowed_gets_nothing(sink, zone, check, settings):
    settings.NOTIFICATIONS_ALLOW_TO = ["*@example.net"]

    code, output = check("--send-to", "ada@example.org")

    assert code == 1
    assert "NOTIFICATIONS_ALLOW_TO" in output
    assert not sink.mails


def test_a_usage_error_exits_2(check):
    assert check("--send-to", "nobody")[0] == 2


def test_a_provider_is_reached_and_its_key_is_tried_by_a_mail(zone, check, settings):
    for setting, value in email_url.parse("postmark://key-108@").items():
        setattr(settings, setting, value)
    with Esp((401, {}, "who is key-108?")) as esp:
        settings.ANYMAIL = {**settings.ANYMAIL, "POSTMARK_API_URL": esp.url}

        code, output = check("--send-to", "ada@example.org")

    assert code == 1
    assert f"Connection: {esp.url} answers" in output
    assert "! Mail: to ada@example.org: Mail server away: 401 who is ••••••?" in output


def test_a_provider_that_cannot_be_reached(zone, check, settings):
    for setting, value in email_url.parse("postmark://key-108@").items():
        setattr(settings, setting, value)
    settings.ANYMAIL = {**settings.ANYMAIL, "POSTMARK_API_URL": f"http://127.0.0.1:{free_port()}/"}

    code, output = check("--send-to", "ada@example.org")

    assert code == 1
    assert "! Connection: http://127.0.0.1" in output
    assert "key-108" not in output
