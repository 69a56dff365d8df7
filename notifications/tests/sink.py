"""A mail server on loopback that answers as a test tells it to."""

import asyncio
import logging
import socket
import time
from collections import Counter
from email import message_from_bytes

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

# Every line of every conversation would bury the one a failing test is about.
logging.getLogger("mail.log").setLevel(logging.ERROR)


class Server(SMTP):
    """Strict about the order of commands, as aiosmtpd is; DATA itself can be refused, too."""

    async def smtp_DATA(self, arg):  # noqa: N802
        if reply := self.event_handler.at("DATA"):
            await self.push(reply)
        else:
            await super().smtp_DATA(arg)


class StrictController(Controller):
    def factory(self):
        return Server(self.handler, **self.SMTP_kwargs)


class Sink:
    """Takes mail; `replies` are used up one per message, `None` standing for a cut line. Then all is accepted.

    `says[stage, n]` answers the n-th MAIL, RCPT, DATA or end of data ("BODY"), counted from 0 over all connections.
    """

    def __init__(self, port=None):
        self.port = port or free_port()
        self.replies = []
        self.says = {}
        self.seen = Counter()
        self.refused_recipients = {}
        self.senders_are_told = ""
        self.cuts_at = ""
        self.password = ""
        self.connections = 0
        self.mails = []
        self.is_holding = False
        self.hangs_up = False
        self.is_pipelined = False
        self.controller = None

    def start(self):
        # Without a name of its own the server looks one up in the DNS at every connection.
        options = {"server_hostname": "localhost"}
        if self.password:
            options |= {"authenticator": self.is_right, "auth_require_tls": False}
        self.controller = StrictController(self, hostname="127.0.0.1", port=self.port, **options)
        self.controller.start()
        return self

    def stop(self):
        if self.controller is not None:
            self.controller.stop()
            self.controller = None

    @property
    def message_ids(self):
        return [mail["Message-ID"] for mail in self.mails]

    def at(self, stage):
        self.seen[stage] += 1
        return self.says.get((stage, self.seen[stage] - 1))

    def is_right(self, server, session, envelope, mechanism, login):
        return AuthResult(success=login.password == self.password.encode(), handled=False)

    async def handle_EHLO(  # noqa: N802
        self, server, session, envelope, hostname, responses
    ):
        self.connections += 1
        session.host_name = hostname
        return ["250-PIPELINING", *responses] if self.is_pipelined else responses

    async def handle_MAIL(  # noqa: N802
        self, server, session, envelope, address, options
    ):
        if self.cuts_at == "MAIL":
            server.transport.close()
        if reply := self.at("MAIL") or self.senders_are_told:
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server, session, envelope, address, options
    ):
        if self.cuts_at == "RCPT":
            server.transport.close()
        if reply := self.at("RCPT") or self.refused_recipients.get(address):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server, session, envelope
    ):
        mail = message_from_bytes(envelope.content)
        reply = self.at("BODY") or (self.replies.pop(0) if self.replies else "250 OK")
        if reply is None or reply.startswith("250"):
            self.mails.append(mail)
        while self.is_holding:  # noqa: ASYNC110  (set from another thread)
            await asyncio.sleep(0.01)
        if self.hangs_up:
            asyncio.get_running_loop().call_later(0.05, server.transport.close)
        if reply is None:
            server.transport.close()
            return "250 never heard"
        return reply


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(fact, *, within=5.0):
    """Wait until `fact()` is true; fail loudly when it does not become so."""
    deadline = time.monotonic() + within
    while not (value := fact()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return value
