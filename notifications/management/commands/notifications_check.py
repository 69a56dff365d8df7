"""`manage.py notifications_check`: would mail arrive? Checked step by step."""

from __future__ import annotations

import importlib.util
import ipaddress
import socket
import ssl
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from email.utils import format_datetime, make_msgid
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.core.management.base import CommandError
from django.utils import timezone

from lib import commands, email_url
from lib.addresses import ascii_form, valid_email
from lib.text import printable
from notifications import checks, providers
from notifications.models import Attempt
from notifications.providers import base
from notifications.providers.anymail import AnymailProvider
from notifications.providers.base import Answer, Provider
from notifications.providers.smtp import SmtpProvider
from notifications.services import circuit_breaker, overrides, recipients
from notifications.services.outbox import sending_domain


def _address(value: str) -> str:
    try:
        return valid_email(value)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


class Command(commands.Command):
    help = "Look at the settings, the mail server and the records of the sending domain; exit 1 with findings."
    # The findings include what the checks say.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--send-to", type=_address, metavar="ADDRESS", help="send a mail there, too")

    def handle(self, *args: Any, send_to: str | None, **options: Any) -> None:
        findings = 0
        for line in look(send_to=send_to):
            findings += line.is_finding
            self.stdout.write(printable(f"{'!' if line.is_finding else ' '} {line.what}: {line.text}"))
        if findings:
            raise CommandError("1 finding." if findings == 1 else f"{findings} findings.")
        self.stdout.write("No findings.")


# A selector is known to the signer alone: these are the ones that providers commonly use.
SELECTORS = (
    *("default", "dkim", "mail", "google", "k1", "k2", "s1", "s2", "selector1", "selector2", "mlsend", "mlsend2"),
    *("mailo", "mg", "mx", "smtp", "pic", "pm", "resend", "brevo1", "brevo2"),
)


@dataclass(frozen=True, slots=True)
class Line:
    what: str
    text: str
    is_finding: bool = False


# Lines, and in the end whether the way is open.
Steps = Generator[Line, None, bool]


def look(*, send_to: str | None = None) -> Iterator[Line]:
    """One line per thing looked at; a step that fails ends the steps that stand on it."""
    for message in (message for check in checks.ALL for message in check()):
        yield Line("Settings", f"{message.msg} {message.hint or ''}".strip(), True)
    yield Line("Lease", f"{settings.NOTIFICATIONS_LEASE} s, with a timeout of {settings.NOTIFICATIONS_TIMEOUT} s.")
    for row, why in overrides.broken():
        yield Line("Template", f"{row} of staff is not sent, the file is: {why}", True)
    if settings.NOTIFICATIONS_ENGINE == "off":
        yield Line("Engine", "mail is off: set EMAIL_URL, and NOTIFICATIONS_ENGINE to anything but off.", True)
        return
    for state in circuit_breaker.states():
        if state.is_paused(timezone.now()):
            by = f" by {state.paused_by}" if state.paused_by else ""
            until = f" until {state.paused_until:%H:%M:%S} UTC" if state.paused_until else ", until somebody resumes it"
            yield Line("Pause", f"{state.alias} is paused{by}{until}: {state.reason or 'no reason was given'}", True)
    provider = providers.configured()
    try:
        if isinstance(provider, SmtpProvider):
            is_there = yield from _smtp(provider)
        elif isinstance(provider, AnymailProvider):
            is_there = yield from _http(provider)
        else:
            yield Line("Provider", f"{provider.alias}: mail stays on this machine, so there is nothing to look at.")
            is_there = yield from _opened(provider)
        if providers.is_real():
            yield from _records(sending_domain())
        if send_to and is_there:
            yield _sent(provider, send_to)
    finally:
        provider.close()


def _smtp(provider: SmtpProvider) -> Steps:
    options = email_url.mailer()[1]
    host, port = options["host"], options["port"]
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        yield Line("Name", f"{host} cannot be resolved ({_kind(error)}).", True)
        return False
    yield Line("Name", f"{host} is {', '.join(sorted(found))}.")
    try:
        socket.create_connection((host, port), timeout=settings.NOTIFICATIONS_TIMEOUT).close()
    except OSError as error:
        yield Line("Connection", f"{host} does not answer on port {port} ({_kind(error)}).", True)
        return False
    yield Line("Connection", f"{host} answers on port {port}.")
    if not (yield from _opened(provider)):
        return False
    line = provider.backend.connection.sock
    if isinstance(line, ssl.SSLSocket):
        until = dict(line.getpeercert() or {}).get("notAfter", "?")
        yield Line("TLS", f"{line.version()}, certificate valid until {until}.")
    elif all(ipaddress.ip_address(address.split("%")[0]).is_loopback for address in found):
        yield Line("TLS", "none, and none is needed on this machine.")
    else:
        what = "the password travels" if options["username"] else "mail, codes and links travel"
        yield Line("TLS", f"none: {what} in the clear. Use smtp+tls:// or smtp+ssl://.", True)
    yield Line("Login", "accepted." if options["username"] else "none is used.")
    return True


def _http(provider: AnymailProvider) -> Steps:
    if not (yield from _opened(provider)):
        return False
    import requests

    backend = provider.backend
    url = getattr(backend, "api_url", None) or backend.client.meta.endpoint_url
    try:
        status = requests.head(url, timeout=settings.NOTIFICATIONS_TIMEOUT).status_code
    except requests.RequestException as error:
        what = "TLS" if isinstance(error, requests.exceptions.SSLError) else "Connection"
        yield Line(what, f"{url} cannot be reached: {_scrubbed(str(error))}", True)
        return False
    yield Line("Connection", f"{url} answers (HTTP {status}).")
    yield Line("Key", "not tried: only a mail shows whether it is accepted. Use --send-to.")
    return True


def _opened(provider: Provider) -> Steps:
    try:
        provider.ready()
    except Answer as answer:
        result = answer.result
        what = "Login" if result.needs_staff else "TLS" if result.code.startswith("SSL") else "Conversation"
        yield Line(what, f"refused: {result.code} {_scrubbed(result.text)}", True)
        return False
    return True


def _records(domain: str) -> Iterator[Line]:
    if importlib.util.find_spec("dns") is None:
        yield Line("SPF, DKIM, DMARC", "not looked at: that needs `python -m pip install dnspython`.")
        return
    from dns.exception import DNSException

    try:
        yield _spf(domain)
        yield _dkim(domain)
        yield _dmarc(domain)
    except (DNSException, UnicodeError) as error:
        yield Line("SPF, DKIM, DMARC", f"the records of {domain} cannot be looked up ({_kind(error)}).", True)


def _spf(domain: str) -> Line:
    found = [record for record in _texts(domain) if record.lower().split(" ")[0] == "v=spf1"]
    if not found:
        return Line("SPF", f"{domain} has no record: receivers cannot tell who may send for it.", True)
    if len(found) > 1:
        return Line("SPF", f"{domain} has {len(found)} records: receivers treat that as none.", True)
    if {"+all", "all"} & set(found[0].lower().split()):
        return Line("SPF", f"{domain} lets everybody send for it: {found[0]}", True)
    return Line("SPF", f"{domain} has a record: {found[0]}")


def _dkim(domain: str) -> Line:
    for selector in SELECTORS:
        if any("p=" in record for record in _texts(f"{selector}._domainkey.{domain}")):
            return Line("DKIM", f"{domain} has a key, {selector}.")
    return Line(
        "DKIM",
        f"{domain} has no key under the usual names. Look for dkim=pass in a mail that arrived, and for "
        "list-unsubscribe and list-unsubscribe-post in the h= of its signature.",
    )


def _dmarc(domain: str) -> Line:
    labels = domain.split(".")
    for start in range(max(len(labels) - 1, 1)):
        name = ".".join(labels[start:])
        for record in _texts(f"_dmarc.{name}"):
            if record.lower().replace(" ", "").startswith("v=dmarc1"):
                return Line("DMARC", f"{name} has a record: {record}")
    return Line("DMARC", f"{domain} has no record: large receivers refuse or hide its mail.", True)


def _texts(name: str) -> list[str]:
    import dns.resolver

    try:
        answer = dns.resolver.resolve(name, "TXT", lifetime=5)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]


def _sent(provider: Provider, address: str) -> Line:
    if not recipients.is_allowed(address):
        return Line("Mail", f"not sent: NOTIFICATIONS_ALLOW_TO does not name {address}.", True)
    product = settings.PRODUCT_NAME
    identity = make_msgid(domain=sending_domain())
    mail = EmailMultiAlternatives(
        subject=f"{product}: mail works",
        body=f"This mail was sent by `notifications_check`. {product} can send.\n",
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[ascii_form(address)],
        headers={"Message-ID": identity, "Date": format_datetime(timezone.now()), "Auto-Submitted": "auto-generated"},
    )
    try:
        payload = provider.pack(mail, uid=identity.strip("<>"), tag="notifications.check")
        provider.ready()
        result = provider.send(payload)
    except Answer as answer:
        result = answer.result
    text = f"{result.outcome.label}: {result.code} {_scrubbed(result.text or result.provider_message_id)}".rstrip(": ")
    return Line("Mail", f"to {address}: {text}", result.outcome != Attempt.Outcome.ACCEPTED)


def _scrubbed(text: str) -> str:
    return " ".join(base.scrub(text, providers.credentials()).split())


def _kind(error: BaseException) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
