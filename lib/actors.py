"""Who acts, and through which door: what the API, the admin and commands pass to every verb and the audit log."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from django.conf import settings
from django.http import HttpRequest

from lib.net import client_ip, network
from lib.private import accepted_languages
from lib.text import is_storable

#: The cookie that a sign-in leaves (users/services/tokens.py).
DEVICE_COOKIE = "device"

_BROWSERS = {"Edg/": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
_SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac OS": "macOS",
    "Linux": "Linux",
}


def accepted_language(header: str) -> str:
    """The best of NOTIFICATIONS_LANGUAGES by `Accept-Language` (RFC 9110); empty when the header asks for none."""
    for code in accepted_languages(header):
        for known in (code, code.partition("-")[0]):
            if known in settings.NOTIFICATIONS_LANGUAGES:
                return known
    return ""


@dataclass(frozen=True)
class RequestInfo:
    """What a request brings of its client; none of it proves who that is.

    `user_agent` is cut to 256 characters, `language` is one that mails are written in, `session_id` the UserSession of
    the signed-in user, `device` the value of the cookie as it was sent, `api_key` the first characters of the key that
    acts in place of a session, `proposed_by` those of the key whose proposal a person approved.
    """

    ip: str = ""
    user_agent: str = ""
    language: str = ""
    session_id: uuid.UUID | None = None
    device: str = ""
    api_key: str = ""
    proposed_by: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> RequestInfo:
        agent = request.META.get("HTTP_USER_AGENT", "")[:256]
        user = getattr(request, "auth", None) or getattr(request, "user", None)
        return cls(
            client_ip(request),
            agent if is_storable(agent) else "",
            accepted_language(request.META.get("HTTP_ACCEPT_LANGUAGE", "")),
            getattr(user, "session_id", None),
            request.COOKIES.get(DEVICE_COOKIE, ""),
            getattr(getattr(user, "api_key", None), "prefix", ""),
            getattr(request, "proposed_by", ""),
        )

    @property
    def network(self) -> str:
        return network(self.ip)

    @property
    def client_name(self) -> str:
        """A short name for display, such as `Firefox on Linux`; of other programs the first word, such as `curl`."""
        browser = next((name for mark, name in _BROWSERS.items() if mark in self.user_agent), "")
        system = next((name for mark, name in _SYSTEMS.items() if mark in self.user_agent), "")
        program = re.match(r"[\w.-]{1,40}", self.user_agent)
        name = browser or (program.group() if program else "Unknown client")
        return (f"{name} on {system}" if system else name)[:64]


class AuditKeeper(Protocol):
    def __call__(self, actor: Actor, event: str, /, **details: Any) -> None: ...


#: Writes what is noted of actors; set once, while the apps start.
audit_keeper: AuditKeeper | None = None
#: What surrounds every operation for staff (lib/staff_api.py); set likewise.
staff_guard: Callable[..., Any] | None = None
#: Raises for people of staff who have not proved lately who they are; set beside it.
proof_keeper: Callable[[Actor], None] | None = None


@dataclass(frozen=True)
class Actor:
    """Who acts, through which `door`: `api`, `staff` (its operations for staff), `admin`, `command`, `import` or
    `schedule`.

    `user` is a row of AUTH_USER_MODEL; None for commands, schedules and clients that have not signed in. `label` (at
    most 64 characters) stays in the history when the account is gone: the user's id in hex, `command:NAME` or
    `schedule:NAME`; empty while the user is unknown.
    """

    door: str
    user: Any = None
    label: str = ""
    request: RequestInfo = RequestInfo()

    def __post_init__(self) -> None:
        if self.user is not None and not self.label:
            object.__setattr__(self, "label", self.user.pk.hex)

    @classmethod
    def of(cls, request: HttpRequest, door: str) -> Actor:
        """The signed-in user of a request: at the API the owner of the token, elsewhere that of the Django session."""
        user = getattr(request, "auth", None)
        if user is None and door != "api" and request.user.is_authenticated:
            user = request.user
        return cls(door, user, request=RequestInfo.of(request))

    @classmethod
    def anonymous(cls, request: HttpRequest, door: str) -> Actor:
        """The client of a request that signs in; who was signed in before does not count."""
        return cls(door, request=RequestInfo.of(request))

    @classmethod
    def command(cls, name: str) -> Actor:
        return cls("command", label=f"command:{name}")

    @classmethod
    def schedule(cls, name: str) -> Actor:
        return cls("schedule", label=f"schedule:{name}")

    def as_user(self, user: Any) -> Actor:
        """The same request, proved to come from this user, for example by a mailed token."""
        return replace(self, user=user, label=user.pk.hex)

    def noted(self, reason: str) -> str:
        """A reason as history keeps it: with who proposed what this person approved."""
        by = self.request.proposed_by
        return f"{reason.strip()} (proposed by {by})".strip() if by else reason.strip()

    def note(self, event: str, /, **details: Any) -> None:
        """Record in the audit log what the actor did, in the transaction that does it.

        `email` or `user_id` is the account concerned, `reason` a text typed by staff; further keys are listed in
        users/services/audit.py.
        """
        if audit_keeper is not None:
            audit_keeper(self, event, **details)

    def require_proof(self) -> None:
        """What is sensitive asks people of staff for. Raises: REAUTHENTICATION_REQUIRED (403)."""
        if proof_keeper is not None:
            proof_keeper(self)
