"""The kinds of messages the product sends. Pure Python: `<app>/notifications.py` declares, nothing here reads a row."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from django.utils.functional import Promise
from pydantic import BaseModel

SECURITY, ACCOUNT, BULK = 0, 1, 2
PRIORITIES = (SECURITY, ACCOUNT, BULK)

Derive = Callable[[dict[str, Any]], dict[str, str]]
Backoff = Literal["standard", "prompt"]
OnAmbiguous = Literal["retry", "hold"]


class UnknownType(LookupError):
    """No such type is declared."""


class Withdrawn(Exception):
    """Raised by `derive`: there is nothing left to say. The message ends `cancelled` with this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class NotificationType:
    code: str
    label: str | Promise
    context: type[BaseModel]
    category: str
    priority: int
    secrets: tuple[str, ...]
    derive: Derive | None
    expires_in: timedelta
    backoff: Backoff
    on_ambiguous: OnAmbiguous

    @property
    def folder(self) -> str:
        """Where its templates are, below every template directory."""
        return f"emails/{self.code.replace('.', '/')}"


_types: dict[str, NotificationType] = {}


def declare(
    code: str,
    *,
    label: str | Promise,
    context: type[BaseModel],
    category: str = "security",
    priority: int = SECURITY,
    secrets: tuple[str, ...] = (),
    derive: Derive | None = None,
    expires_in: timedelta = timedelta(hours=72),
    backoff: Backoff = "standard",
    on_ambiguous: OnAmbiguous = "retry",
) -> NotificationType:
    """Make a type known; `context` is the schema of what a row stores, never of a secret.

    `derive(context)` gives the secret variables while the message is rendered. It must be deterministic for one
    context, since a retry sends the same code or link again, and raises Withdrawn when that code or link is dead.
    """
    declared = NotificationType(
        code, label, context, category, priority, secrets, derive, expires_in, backoff, on_ambiguous
    )
    _refuse_mistakes(declared)
    _types[code] = declared
    return declared


def _refuse_mistakes(declared: NotificationType) -> None:
    code = declared.code
    if code in _types:
        raise ValueError(f"{code} is declared twice.")
    app, _, name = code.partition(".")
    if not (app.isidentifier() and name.isidentifier()):
        raise ValueError(f"{code!r} is not of the form app.name.")
    if declared.priority not in PRIORITIES:
        raise ValueError(f"{code}: the priority is SECURITY, ACCOUNT or BULK.")
    if declared.context.model_config.get("extra") != "forbid":
        raise ValueError(f"{code}: its context must forbid extra keys.")
    if stored := set(declared.secrets) & set(declared.context.model_fields):
        raise ValueError(f"{code}: {', '.join(sorted(stored))} is secret, so no context may store it.")
    if declared.secrets and declared.derive is None:
        raise ValueError(f"{code}: its secrets need a derive that gives them.")


def get(code: str) -> NotificationType:
    """The declared type; UnknownType when there is none."""
    try:
        return _types[code]
    except KeyError:
        raise UnknownType(f"{code!r} is not a declared notification type.") from None


def declared_types() -> tuple[NotificationType, ...]:
    return tuple(_types.values())


def forget(code: str) -> None:
    """Undo a declaration, so that one test leaves nothing to the next."""
    _types.pop(code, None)
