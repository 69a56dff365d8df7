"""Who calls: the network and program on the other side, or the member of staff, or the command."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from django.http import HttpRequest

from lib.actors import accepted_language
from lib.net import client_ip, network
from lib.text import is_storable
from users.models import User
from users.services import devices, tokens


@dataclass(frozen=True)
class Caller:
    """The other end of a request. `user_agent` is cut to 256 characters; `language` is one mails are written in.

    Who it is follows from none of this; `device`, the cookie a sign-in leaves, counts as far as `devices.known` says.
    """

    ip: str = ""
    user_agent: str = ""
    language: str = ""
    door: str = "api"
    session_id: uuid.UUID | None = None
    device: str = ""

    @classmethod
    def of(cls, request: HttpRequest, door: str = "api") -> Caller:
        """Read from the request, with the session of whoever has been authenticated in it."""
        agent = request.META.get("HTTP_USER_AGENT", "")[:256]
        person = getattr(request, "auth", None) or getattr(request, "user", None)
        return cls(
            client_ip(request),
            agent if is_storable(agent) else "",
            accepted_language(request.META.get("HTTP_ACCEPT_LANGUAGE", "")),
            door,
            getattr(person, "session_id", None),
            request.COOKIES.get(devices.COOKIE, ""),
        )

    @property
    def network(self) -> str:
        return network(self.ip)

    @property
    def network_mac(self) -> str:
        """The same for one program in one network, and nothing that could be read back."""
        return self.network_macs[0]

    @property
    def network_macs(self) -> list[str]:
        """With every key; the first is the one that is written."""
        return [mac.hex() for mac in tokens.subject_macs("place", self.network, self.user_agent)]

    @property
    def label(self) -> str:
        """A short name for people, such as `Firefox on Linux`."""
        browser, system = _named(_BROWSERS, self.user_agent), _named(_SYSTEMS, self.user_agent)
        program = browser or _program(self.user_agent) or "Unknown client"
        return (f"{program} on {system}" if system else program)[:64]


_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


def _named(names: tuple[tuple[str, str], ...], agent: str) -> str:
    return next((name for mark, name in names if mark in agent), "")


def _program(agent: str) -> str:
    """The first word of what is no browser: `curl`, `okhttp`."""
    found = re.match(r"[\w.-]{1,40}", agent)
    return found.group() if found else ""


@dataclass(frozen=True)
class Actor:
    """Who presses a button or runs a command; `label` stays when the account is gone."""

    label: str
    user: User | None = None
    caller: Caller = Caller(door="command")

    @classmethod
    def staff(cls, user: User, request: HttpRequest | None = None) -> Actor:
        return cls(user.pk.hex, user, Caller.of(request, "admin") if request else Caller(door="admin"))

    @classmethod
    def oneself(cls, user: User, caller: Caller) -> Actor:
        """The person acts on the own account."""
        return cls(user.pk.hex, user, caller)

    @classmethod
    def schedule(cls, name: str) -> Actor:
        return cls(f"schedule:{name}", None, Caller(door="schedule"))
