"""Who calls: the network and program on the other side, or the member of staff, or the command."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.http import HttpRequest

from lib.net import client_ip, network
from users.models import User
from users.services import tokens


@dataclass(frozen=True)
class Caller:
    """The other end of a request. `user_agent` is cut to 256 characters."""

    ip: str = ""
    user_agent: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> Caller:
        agent = request.META.get("HTTP_USER_AGENT", "")[:256]
        return cls(client_ip(request), agent.replace("\x00", ""))

    @property
    def network(self) -> str:
        return network(self.ip)

    @property
    def network_mac(self) -> str:
        """The same for one program in one network, and nothing that could be read back."""
        return tokens.subject_mac("place", self.network, self.user_agent).hex()

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

    @classmethod
    def staff(cls, user: User) -> Actor:
        return cls(user.pk.hex, user)
