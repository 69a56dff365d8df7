"""The kinds of messages the product sends. Pure Python: `<app>/notifications.py` declares, nothing here reads a row.

Those modules load when a type is first asked for: a command that sends nothing needs no schema of a mail.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal

from django.utils.functional import Promise
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

SECURITY, ACCOUNT, BULK = 0, 1, 2
PRIORITIES = (SECURITY, ACCOUNT, BULK)

Derive = Callable[[dict[str, Any]], dict[str, str]]
Backoff = Literal["standard", "prompt"]
OnAmbiguous = Literal["retry", "hold"]

EMAIL, IN_APP = CHANNELS = "email", "in_app"
#: Stands where a secret of a message would.
MASK = "••••••"

#: As often as mails to one address that anyone can cause.
BY_STAFF = ("3/1m", "5/10m", "20/1d")
_RATE = re.compile(r"([1-9]\d{0,5})/([1-9]\d{0,3})([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class UnknownType(LookupError):
    """No such type is declared."""


class Withdrawn(Exception):
    """Raised by `derive`: the code or link is no longer valid. The message ends `cancelled` with this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Category:
    """What users switch on and off as one; a fixed one cannot be switched off."""

    code: str
    label: str | Promise
    is_fixed: bool = False


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` messages of a type to one address within `window`."""

    count: int
    window: timedelta

    @classmethod
    def of(cls, text: str) -> Rate:
        if (found := _RATE.fullmatch(text)) is None:
            raise ValueError(f"{text!r} is no rate such as 5/10m.")
        return cls(int(found[1]), timedelta(**{_UNITS[found[3]]: int(found[2])}))


@dataclass(frozen=True, slots=True, eq=False)
class NotificationType:
    code: str
    label: str | Promise
    context: type[BaseModel]
    category: str
    priority: int
    required: bool
    channels: tuple[str, ...]
    secrets: tuple[str, ...]
    derive: Derive | None
    expires_in: timedelta
    throttle: tuple[Rate, ...]
    backoff: Backoff
    on_ambiguous: OnAmbiguous

    @property
    def folder(self) -> str:
        """Where its templates are, below every template directory."""
        return f"emails/{self.code.replace('.', '/')}"

    @property
    def in_app_file(self) -> str:
        """Its first line is the title, the rest the body."""
        return f"inapp/{self.code.replace('.', '/')}.txt"


_types: dict[str, NotificationType] = {}
_categories = {
    category.code: category
    for category in (
        Category("security", _("Security"), is_fixed=True),
        Category("account", _("Account"), is_fixed=True),
        Category("announcement", _("Announcements")),
    )
}


_loading, _is_loaded = RLock(), False


def _load() -> None:
    global _is_loaded
    if not _is_loaded:
        with _loading:
            autodiscover_modules("notifications")
            _is_loaded = True


def declare_category(code: str, *, label: str | Promise) -> Category:
    """A category of the deployment's own, which people may switch off."""
    if not code.isidentifier() or code in {"all", "optional"}:
        raise ValueError(f"{code!r} cannot name a category.")
    return _categories.setdefault(code, Category(code, label))


def category(code: str) -> Category:
    """The category; one that is no longer declared is shown by its code."""
    _load()
    return _categories.get(code) or Category(code, code)


def categories() -> tuple[Category, ...]:
    _load()
    return tuple(_categories.values())


def declare(
    code: str,
    *,
    label: str | Promise,
    context: type[BaseModel],
    category: str = "security",
    priority: int = SECURITY,
    required: bool = False,
    channels: tuple[str, ...] = (EMAIL,),
    secrets: tuple[str, ...] = (),
    derive: Derive | None = None,
    expires_in: timedelta = timedelta(hours=72),
    throttle: tuple[str, ...] = (),
    backoff: Backoff = "standard",
    on_ambiguous: OnAmbiguous = "retry",
) -> NotificationType:
    """Make a type known; `context` is the schema of what a row stores, never of a secret.

    A required type, as are all of a fixed category, is sent whatever people have switched off. `throttle` lists rates
    such as `5/10m` (s, m, h, d) for one type and address; what is above is suppressed.

    `derive(context)` gives the secret variables while the message is rendered. It must be deterministic for one
    context, since a retry sends the same code or link again, and raises Withdrawn when that code or link is dead.
    """
    if category not in _categories:
        raise ValueError(f"{code}: declare the category {category!r} first.")
    if code in _types:
        raise ValueError(f"{code} is declared twice.")
    app, _, name = code.partition(".")
    if not (app.isidentifier() and name.isidentifier()):
        raise ValueError(f"{code!r} is not of the form app.name.")
    if priority not in PRIORITIES:
        raise ValueError(f"{code}: the priority is SECURITY, ACCOUNT or BULK.")
    if not channels or set(channels) - set(CHANNELS):
        raise ValueError(f"{code}: its channels are some of {', '.join(CHANNELS)}.")
    if secrets and IN_APP in channels:
        raise ValueError(f"{code}: what is read in the product is stored as it is, so it can hold no secret.")
    if context.model_config.get("extra") != "forbid":
        raise ValueError(f"{code}: its context must forbid extra keys.")
    if stored := set(secrets) & set(context.model_fields):
        raise ValueError(f"{code}: {', '.join(sorted(stored))} is secret, so no context may store it.")
    if secrets and derive is None:
        raise ValueError(f"{code}: its secrets need a derive that gives them.")
    _types[code] = NotificationType(
        code=code,
        label=label,
        context=context,
        category=category,
        priority=priority,
        required=required or _categories[category].is_fixed,
        channels=channels,
        secrets=secrets,
        derive=derive,
        expires_in=expires_in,
        throttle=tuple(Rate.of(text) for text in throttle),
        backoff=backoff,
        on_ambiguous=on_ambiguous,
    )
    return _types[code]


def find(code: str) -> NotificationType | None:
    """The declared type; rows of types that are declared no more stay for a while."""
    _load()
    return _types.get(code)


def get(code: str) -> NotificationType:
    """The declared type; UnknownType when there is none."""
    if (kind := find(code)) is None:
        raise UnknownType(f"{code!r} is not a declared notification type.")
    return kind


def declared_types() -> tuple[NotificationType, ...]:
    _load()
    return tuple(_types.values())


def forget(code: str) -> None:
    """Undo a declaration, so that one test leaves nothing to the next."""
    _types.pop(code, None)


def wrong_fields(error: ValidationError) -> str:
    """What does not fit a context: names and rules only, since pydantic would repeat values that belong to a person."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in error.errors(include_input=False))
