"""What holds while one request is answered, and what tests override."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction

from feature_flags.engine.model import RANDOM

if TYPE_CHECKING:
    from feature_flags.runtime.snapshot import Snapshot


@dataclass(slots=True)
class Scope:
    """What holds while one request is answered: its snapshot, time and random value; and what tests override."""

    overrides: Mapping[str, Any] = field(default_factory=dict)
    is_request: bool = False
    snapshot: Snapshot | None = None
    seen: dict[str, Any] = field(default_factory=dict)
    random_value: str = ""
    time: str = ""

    def fixed(self, context: dict[str, str]) -> dict[str, str]:
        """The context with this request's time and random value."""
        if not self.random_value:
            self.random_value = secrets.token_hex(8)
            self.time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        context[RANDOM] = self.random_value
        context.setdefault("currentTime", self.time)
        return context


scopes: ContextVar[Scope | None] = ContextVar("feature_flags", default=None)


def enter_request() -> Scope:
    """Begin a request: from here to its end no flag changes its answer."""
    outer = scopes.get()
    scope = Scope(overrides=outer.overrides if outer else {}, is_request=True)
    scopes.set(scope)
    return scope


def leave_request() -> None:
    """End a request: what follows in this thread is no part of it."""
    scope = scopes.get()
    scopes.set(Scope(overrides=scope.overrides) if scope and scope.overrides else None)


class override_flags(ContextDecorator):  # noqa: N801 (reads like Django's override_settings)
    """Answers for tests, as decorator or context manager: `override_flags(FF_NEW=True, **{"price": 5})`.

    A boolean switches; any other value is the flag's value, and a text also the name of its variant. Lives in a
    context variable: no row is touched, and no other thread, task or test sees it.
    """

    def __init__(self, answers: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        self.answers = {**(answers or {}), **named}
        self._tokens: list[Token[Scope | None]] = []

    def __enter__(self) -> override_flags:
        outer = scopes.get()
        merged = {**(outer.overrides if outer else {}), **self.answers}
        self._tokens.append(scopes.set(Scope(overrides=merged, is_request=bool(outer and outer.is_request))))
        return self

    def __exit__(self, *error: object) -> None:
        scopes.reset(self._tokens.pop())

    def __call__(self, func: Callable[..., Any]) -> Any:
        if not iscoroutinefunction(func):
            return super().__call__(func)

        @wraps(func)
        async def inner(*args: Any, **kwargs: Any) -> Any:
            with override_flags(self.answers):
                return await func(*args, **kwargs)

        return inner
