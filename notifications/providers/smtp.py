"""Mail servers. The dialogue is run here, because Django's backend does not report how far it came when it failed."""

from __future__ import annotations

import io
import re
import select
import smtplib
import socket
import time
from datetime import timedelta
from email.generator import BytesGenerator
from email.header import Header
from email.utils import parseaddr
from enum import IntEnum
from functools import lru_cache, partial
from typing import Any, cast

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.smtp import EmailBackend

from lib import email_url
from notifications.models import Attempt
from notifications.providers.base import Payload, Provider, ProviderDown, Result
from notifications.reports import by_status

#: Servers limit the messages of one connection, commonly at 100.
PER_CONNECTION = 100

Outcome = Attempt.Outcome
Reply = tuple[int, bytes]

_UNAUTHENTICATED = {530, 534, 535, 538}
#: Replies about the conversation (RFC 5321, 4.2.2 and 4.2.4; RFC 4954, 6): no message is to blame for them.
CONVERSATION = {421, 500, 502, 503, 504} | _UNAUTHENTICATED

#: Seconds after which a connection counts as idle; and how long it may take to part.
IDLE = PARTING = 1.0

#: No reply is longer.
REPLY_LIMIT = 64_000

#: No line of a mail is longer (RFC 5322, 2.1.1).
_LINE = 998


class Stage(IntEnum):
    MAIL, RCPT, DATA, BODY = range(4)


class _Replies(io.RawIOBase):
    """Replies of the server, limited in time and size: a socket's own timeout begins anew with each byte."""

    def __init__(self, link: _Link) -> None:
        self.link, self.sock = link, cast("socket.socket", link.sock)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.link.until - time.monotonic()
        if left <= 0 or self.link.received > REPLY_LIMIT:
            raise TimeoutError("The answer takes too long.")
        self.sock.settimeout(left)
        count: int = self.sock.recv_into(buffer)
        self.link.received += count
        return count


class _Link(smtplib.SMTP):
    """A connection whose replies end by `until`, however slowly they come."""

    def __init__(self, *args: Any, **named: Any) -> None:
        self.until, self.received = time.monotonic() + named["timeout"], 0
        super().__init__(*args, **named)

    def getreply(self) -> Reply:
        self.received = 0
        if self.file is None:
            self.file = io.BufferedReader(_Replies(self))
        return super().getreply()


class _TlsLink(_Link, smtplib.SMTP_SSL):
    """The same, in TLS from the first byte."""


class _Backend(EmailBackend):
    @property
    def connection_class(self) -> Any:
        return partial(_TlsLink if self.use_ssl else _Link, timeout=_timeout(self))


def _timeout(backend: Any) -> float:
    return float(backend.timeout or settings.NOTIFICATIONS_TIMEOUT)


class SmtpProvider(Provider):
    alias = "smtp"

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0
        self.accepted_at = 0.0

    def pack(self, mail: EmailMultiAlternatives, *, uid: str, tag: str) -> Payload:
        envelope = _address(mail.from_email), _address(mail.to[0])
        "".join(envelope).encode("ascii")  # raises UnicodeEncodeError for what no mail server can take
        if not "".join(envelope).isprintable():
            raise ValueError("An address holds a line break.")
        # Every try sends the same bytes.
        data = _written(mail, f"={uid}=") or _generated(mail, f"={uid}=")
        return Payload(mail, uid, envelope, re.sub(rb"(?m)^\.", b"..", data) if b"\n." in data else data)

    def ready(self) -> None:
        if self.backend is not None and (self.sent >= PER_CONNECTION or not self._answers()):
            self.close()
        if self.backend is None:
            self.sent = 0
            try:
                self.backend = email_url.create_backend(_Backend)
                self.backend.open()
                self.backend.connection.ehlo_or_helo_if_needed()
            except Exception as error:
                # Name, route, TLS, greeting, login: whatever it was, the next message would meet it too.
                self.close()
                code, text = describe(error)
                needs_staff = isinstance(error, smtplib.SMTPAuthenticationError) and error.smtp_code >= 500
                raise ProviderDown(code, text, needs_staff=needs_staff) from None

    def send(self, payload: Payload) -> Result:
        link, dialogue = self.backend.connection, _Dialogue(self.backend.connection, _timeout(self.backend))
        is_reused = self.sent > 0
        self.sent += 1
        # Until a message is accepted its transaction is open: the next one begins with RSET (RFC 5321, 4.1.4).
        self.accepted_at = 0.0
        try:
            text = dialogue.send(payload)
        except Exception as error:
            # smtplib has closed the line where what came was no reply.
            reply = error.smtp_code if isinstance(error, smtplib.SMTPResponseException) and link.sock else 0
            result = self._failed(error, dialogue.stage, reply, is_reused=is_reused)
            if self.backend is not None:
                try:
                    dialogue.read_rest()
                except Exception:
                    # The message was refused all the same.
                    self.close()
            return result
        self.accepted_at = time.monotonic()
        return Result(Outcome.ACCEPTED, "250", text)

    def _failed(self, error: Exception, stage: Stage, reply: int, *, is_reused: bool) -> Result:
        code, text = describe(error)
        if 400 <= reply < 500 and reply not in CONVERSATION:
            return Result(Outcome.TEMPORARY, code, text)
        if 500 <= reply < 600 and reply not in CONVERSATION:
            # Only at RCPT is a refusal about the recipient.
            return Result(Outcome.PERMANENT, code, text, refusal=by_status(text) if stage == Stage.RCPT else None)
        self.close()
        if stage == Stage.BODY and reply not in CONVERSATION:
            # The mail itself was begun: it may have been accepted all the same.
            return Result(Outcome.AMBIGUOUS, code, text, is_doubtful=True)
        # The connection's trouble: the message is tried again over another one, and loses no attempt.
        if stage > Stage.MAIL:
            return Result(Outcome.TEMPORARY, code, text, counts=False, is_doubtful=True)
        if is_reused:
            # Such as a server that takes fewer messages per connection than it was given: a fresh one will do.
            return Result(Outcome.TEMPORARY, code, text, counts=False, wait=timedelta(0))
        # No recipient was named yet: it would answer every message so.
        return Result(Outcome.TRANSPORT_DOWN, code, text, needs_staff=reply in _UNAUTHENTICATED)

    def close(self) -> None:
        if link := getattr(self.backend, "connection", None):
            link.until = time.monotonic() + PARTING
        super().close()

    def takes_more(self) -> bool:
        """Whether the last message was accepted just now and the server is silent since.

        A server that has hung up, or sent 421, has left something to read.
        """
        if self.backend is None or self.sent >= PER_CONNECTION or time.monotonic() - self.accepted_at >= IDLE:
            return False
        waiting = select.poll()
        try:
            waiting.register(self.backend.connection.sock, select.POLLIN)
            return not waiting.poll(0)
        except (OSError, AttributeError, TypeError):
            # smtplib has closed it, and holds no socket any more.
            return False

    def _answers(self) -> bool:
        """Whether the connection still stands: asked with RSET, unless it `takes_more`."""
        if self.takes_more():
            return True
        try:
            self.backend.connection.until = time.monotonic() + _timeout(self.backend)
            return bool(self.backend.connection.rset()[0] == 250)
        except (OSError, AttributeError, TypeError):
            return False


@lru_cache(maxsize=256)
def _address(text: str) -> str:
    return parseaddr(text)[1]


def _generated(mail: EmailMultiAlternatives, boundary: str) -> bytes:
    """The mail as it travels, by Python's email package: lines end in CRLF, and “From” begins one as it is."""
    message, buffer = mail.message(), io.BytesIO()
    message.set_boundary(boundary)
    BytesGenerator(buffer, mangle_from_=False).flatten(message, linesep="\r\n")
    data = buffer.getvalue()
    return data if data.endswith(b"\r\n") else data + b"\r\n"


def _written(mail: EmailMultiAlternatives, boundary: str) -> bytes | None:
    """The same, in a tenth of the time, for text and html whose lines and headers need no folding; else None."""
    alternatives: Any = mail.alternatives
    is_usual = [each.mimetype for each in alternatives] == ["text/html"] and not (mail.attachments or mail.cc)
    if not is_usual or not {"Date", "Message-ID"} <= mail.extra_headers.keys():
        return None
    headers = {"Subject": mail.subject, "From": mail.from_email, "To": ", ".join(mail.to)}
    if mail.reply_to:
        headers["Reply-To"] = ", ".join(mail.reply_to)
    lines = [f'Content-Type: multipart/alternative; boundary="{boundary}"', "MIME-Version: 1.0"]
    for name, value in (headers | mail.extra_headers).items():
        if (text := _header(name, str(value))) is None:
            return None
        lines.append(f"{name}: {text}")
    data = "\r\n".join([*lines, ""]).encode()
    for subtype, content in (("plain", mail.body), ("html", alternatives[0].content)):
        rows = str(content).encode().splitlines()
        if max(map(len, rows), default=0) > _LINE:
            return None
        kind, encoding = f'text/{subtype}; charset="utf-8"', "7bit" if content.isascii() else "8bit"
        head = f"Content-Type: {kind}\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
        data += f"\r\n--{boundary}\r\n{head}".encode() + b"\r\n".join([*rows, b""])
    return data + f"\r\n--{boundary}--\r\n".encode()


@lru_cache(maxsize=256)
def _header(name: str, value: str) -> str | None:
    """The value as a header has it (RFC 5322, RFC 2047); None where it takes more than a line or an encoded word."""
    if not value.isprintable() or len(value) > _LINE - 80:
        return None
    if value.isascii():
        # A name that is not ASCII comes encoded; an encoded word has at most 75 characters.
        return value if "=?" not in value or (name in {"From", "To", "Reply-To"} and len(value) <= 75) else None
    return Header(value, "utf-8", header_name=name).encode(linesep="\r\n") if name == "Subject" else None


class _Dialogue:
    """One message over an open connection. The envelope has one timeout and the mail another: with a lease of twice
    that, no other worker takes the message meanwhile."""

    def __init__(self, link: smtplib.SMTP, timeout: float) -> None:
        self.link: Any = link
        self.timeout = timeout
        self.stage = Stage.MAIL
        #: Answers to the envelope that are still to come.
        self.unread = 0

    def send(self, payload: Payload) -> str:
        """Where the server says that it can (RFC 2920), the envelope goes in one piece, and its answers come in one."""
        sender, recipient = payload.envelope
        size = f" size={len(payload.data)}" if self.link.has_extn("size") else ""
        body = " body=8bitmime" if not payload.data.isascii() and self.link.has_extn("8bitmime") else ""
        commands = f"mail FROM:<{sender}>{size}{body}", f"rcpt TO:<{recipient}>", "data"
        is_pipelined = self.link.has_extn("pipelining")
        self._begin()
        if is_pipelined:
            self.link.send("".join(f"{command}\r\n" for command in commands))
            self.unread = len(commands)
        for stage, command, codes in zip(Stage, commands, ((250,), (250, 251), (354,)), strict=False):
            self.stage = stage
            if not is_pipelined:
                self.link.putcmd(command)
            self._expect(*codes)
        self.stage = Stage.BODY
        self._begin()
        self.link.send(payload.data + b".\r\n")
        return self._expect(250)

    def read_rest(self) -> None:
        """Of an envelope that went in one piece and was refused: without a recipient no mail is begun, but by an empty
        one (RFC 2920, 3.1)."""
        while self.unread:
            code, _ = self._reply()
            if code == 354:
                self.link.send(b".\r\n")
                self._reply()

    def _begin(self) -> None:
        self.link.until = time.monotonic() + self.timeout
        self.link.sock.settimeout(self.timeout)

    def _reply(self) -> Reply:
        self.unread = max(0, self.unread - 1)
        reply: Reply = self.link.getreply()
        return reply

    def _expect(self, *codes: int) -> str:
        code, text = self._reply()
        if code not in codes:
            raise smtplib.SMTPResponseException(code, text)
        return _readable(text)


def describe(error: BaseException) -> tuple[str, str]:
    """Code and text of a reply; of any other error its class and message."""
    if isinstance(error, smtplib.SMTPResponseException):
        return str(error.smtp_code), _readable(error.smtp_error)
    return type(error).__name__, str(error)


def _readable(text: bytes | str) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
