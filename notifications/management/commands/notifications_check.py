"""`manage.py notifications_check`: would mail arrive? Checked step by step."""

from __future__ import annotations

import importlib.util
import ipaddress
import socket
import ssl
from argparse import ArgumentParser, ArgumentTypeError
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
from notifications.providers.base import NotHandedOver, Provider
from notifications.providers.smtp import SmtpProvider
from notifications.rendering.checks import OF_TYPES
from notifications.services import circuit_breaker, overrides, recipients
from notifications.services.outbox import sending_domain


def _address(value: str) -> str:
    try:
        return valid_email(value)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


# A selector is known to the signer alone: these are the ones that providers commonly use.
SELECTORS = (
    *("default", "dkim", "mail", "google", "k1", "k2", "s1", "s2", "selector1", "selector2", "mlsend", "mlsend2"),
    *("mailo", "mg", "mx", "smtp", "pic", "pm", "resend", "brevo1", "brevo2"),
)


class Command(commands.Command):
    help = "Look at the settings, the mail server and the records of the sending domain; exit 1 with findings."
    # The findings include what the checks say.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--send-to", type=_address, metavar="ADDRESS", help="send a mail there, too")

    def handle(self, *args: Any, send_to: str | None, **options: Any) -> None:
        self.findings = 0
        self._settings()
        if settings.NOTIFICATIONS_ENGINE == "off":
            self._find("Engine", "mail is off: set EMAIL_URL, and NOTIFICATIONS_ENGINE to anything but off.")
        else:
            provider = providers.configured()
            try:
                is_open = self._way(provider)
                if providers.is_real():
                    self._records(sending_domain())
                if send_to and is_open:
                    self._send(provider, send_to)
            finally:
                provider.close()
        if self.findings:
            raise CommandError("1 finding." if self.findings == 1 else f"{self.findings} findings.")
        self.stdout.write("No findings.")

    def _say(self, what: str, text: str, *, is_finding: bool = False) -> None:
        self.findings += is_finding
        self.stdout.write(printable(f"{'!' if is_finding else ' '} {what}: {text}"))

    def _find(self, what: str, text: str) -> None:
        self._say(what, text, is_finding=True)

    def _settings(self) -> None:
        for message in (message for check in (*checks.OF_SETTINGS, *OF_TYPES) for message in check()):
            self._find("Settings", f"{message.msg} {message.hint or ''}".strip())
        self._say("Lease", f"{settings.NOTIFICATIONS_LEASE} s, with a timeout of {settings.NOTIFICATIONS_TIMEOUT} s.")
        for row, why in overrides.broken():
            self._find("Template", f"{row} of staff is not sent, the file is: {why}")
        if settings.NOTIFICATIONS_ENGINE == "off":
            return
        for state in circuit_breaker.states():
            if state.is_paused(timezone.now()):
                by = f" by {state.paused_by}" if state.paused_by else ""
                ends = state.paused_until
                until = f" until {ends:%H:%M:%S} UTC" if ends else ", until it is resumed"
                self._find("Pause", f"{state.alias} is paused{by}{until}: {state.reason or 'no reason was given'}")

    # Each of these ends where the next step could only fail, and returns whether the way is open.

    def _way(self, provider: Provider) -> bool:
        if isinstance(provider, SmtpProvider):
            return self._smtp(provider)
        if isinstance(provider, AnymailProvider):
            return self._http(provider)
        self._say("Provider", f"{provider.alias}: mail stays on this machine, so there is nothing to look at.")
        return self._opened(provider)

    def _smtp(self, provider: SmtpProvider) -> bool:
        options = email_url.mailer()[1]
        host, port = options["host"], options["port"]
        try:
            found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        except (OSError, UnicodeError) as error:
            self._find("Name", f"{host} cannot be resolved ({_kind(error)}).")
            return False
        self._say("Name", f"{host} is {', '.join(sorted(found))}.")
        try:
            socket.create_connection((host, port), timeout=settings.NOTIFICATIONS_TIMEOUT).close()
        except OSError as error:
            self._find("Connection", f"{host} does not answer on port {port} ({_kind(error)}).")
            return False
        self._say("Connection", f"{host} answers on port {port}.")
        if not self._opened(provider):
            return False
        line = provider.backend.connection.sock
        if isinstance(line, ssl.SSLSocket):
            until = dict(line.getpeercert() or {}).get("notAfter", "?")
            self._say("TLS", f"{line.version()}, certificate valid until {until}.")
        elif all(ipaddress.ip_address(address.split("%")[0]).is_loopback for address in found):
            self._say("TLS", "none, and none is needed on this machine.")
        else:
            what = "the password travels" if options["username"] else "mail, codes and links travel"
            self._find("TLS", f"none: {what} in the clear. Use smtp+tls:// or smtp+ssl://.")
        self._say("Login", "accepted." if options["username"] else "none is used.")
        return True

    def _http(self, provider: AnymailProvider) -> bool:
        if not self._opened(provider):
            return False
        import requests

        backend = provider.backend
        url = getattr(backend, "api_url", None) or backend.client.meta.endpoint_url
        try:
            status = requests.head(url, timeout=settings.NOTIFICATIONS_TIMEOUT).status_code
        except requests.RequestException as error:
            what = "TLS" if isinstance(error, requests.exceptions.SSLError) else "Connection"
            self._find(what, f"{url} cannot be reached: {_scrubbed(str(error))}")
            return False
        self._say("Connection", f"{url} answers (HTTP {status}).")
        self._say("Key", "not tried: only a mail shows whether it is accepted. Use --send-to.")
        return True

    def _opened(self, provider: Provider) -> bool:
        try:
            provider.ready()
        except NotHandedOver as answer:
            result = answer.result
            what = "Login" if result.needs_staff else "TLS" if result.code.startswith("SSL") else "Conversation"
            self._find(what, f"refused: {result.code} {_scrubbed(result.text)}")
            return False
        return True

    def _records(self, domain: str) -> None:
        if importlib.util.find_spec("dns") is None:
            self._say("SPF, DKIM, DMARC", "not looked at: that needs `python -m pip install dnspython`.")
            return
        from dns.exception import DNSException

        try:
            self._spf(domain)
            self._dkim(domain)
            self._dmarc(domain)
        except (DNSException, UnicodeError) as error:
            self._find("SPF, DKIM, DMARC", f"the records of {domain} cannot be looked up ({_kind(error)}).")

    def _spf(self, domain: str) -> None:
        found = [record for record in _texts(domain) if record.lower().split(" ")[0] == "v=spf1"]
        if not found:
            self._find("SPF", f"{domain} has no record: receivers cannot tell who may send for it.")
        elif len(found) > 1:
            self._find("SPF", f"{domain} has {len(found)} records: receivers treat that as none.")
        elif {"+all", "all"} & set(found[0].lower().split()):
            self._find("SPF", f"{domain} lets everybody send for it: {found[0]}")
        else:
            self._say("SPF", f"{domain} has a record: {found[0]}")

    def _dkim(self, domain: str) -> None:
        for selector in SELECTORS:
            if any("p=" in record for record in _texts(f"{selector}._domainkey.{domain}")):
                self._say("DKIM", f"{domain} has a key, {selector}.")
                return
        self._say(
            "DKIM",
            f"{domain} has no key under the usual names. Look for dkim=pass in a mail that arrived, and for "
            "list-unsubscribe and list-unsubscribe-post in the h= of its signature.",
        )

    def _dmarc(self, domain: str) -> None:
        labels = domain.split(".")
        for start in range(max(len(labels) - 1, 1)):
            name = ".".join(labels[start:])
            for record in _texts(f"_dmarc.{name}"):
                if record.lower().replace(" ", "").startswith("v=dmarc1"):
                    self._say("DMARC", f"{name} has a record: {record}")
                    return
        self._find("DMARC", f"{domain} has no record: large receivers refuse or hide its mail.")

    def _send(self, provider: Provider, address: str) -> None:
        if not recipients.is_allowed(address):
            self._find("Mail", f"not sent: NOTIFICATIONS_ALLOW_TO does not name {address}.")
            return
        product, identity = settings.PRODUCT_NAME, make_msgid(domain=sending_domain())
        date = format_datetime(timezone.now())
        mail = EmailMultiAlternatives(
            subject=f"{product}: mail works",
            body=f"This mail was sent by `notifications_check`. {product} can send.\n",
            from_email=settings.DEFAULT_FROM_EMAIL,
            to=[ascii_form(address)],
            headers={"Message-ID": identity, "Date": date, "Auto-Submitted": "auto-generated"},
        )
        try:
            payload = provider.pack(mail, uid=identity.strip("<>"), tag="notifications.check")
            provider.ready()
            result = provider.send(payload)
        except NotHandedOver as answer:
            result = answer.result
        answered = _scrubbed(result.text or result.provider_message_id)
        text = f"to {address}: {result.outcome.label}: {result.code} {answered}".rstrip(": ")
        self._say("Mail", text, is_finding=result.outcome != Attempt.Outcome.ACCEPTED)


def _texts(name: str) -> list[str]:
    import dns.resolver

    try:
        answer = dns.resolver.resolve(name, "TXT", lifetime=5)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]


def _scrubbed(text: str) -> str:
    return " ".join(base.scrub(text, providers.credentials()).split())


def _kind(error: BaseException) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
