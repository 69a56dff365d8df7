"""What an evaluation goes by: a request, a user or a mapping, made flat for the engine; and what holds meanwhile.

Reads no database.
"""

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
from django.http import HttpRequest

from feature_flags.engine.model import RANDOM, normal_context
from lib.conf import conf
from lib.net import client_ip

if TYPE_CHECKING:
    from feature_flags.runtime.snapshot import Snapshot

Flat = dict[str, str]


def flat(source: Any) -> Flat:
    """The context of a mapping (Unleash or OpenFeature names), a request, a user, or None.

    Without `userId`, `targetingKey` stands in for it. A request is its user (`request.auth`, else `request.user`)
    with `remoteAddress` and `sessionId`. A user has `flag_context()`, else `userId`.
    """
    if source is None:
        context: Flat = {}
    elif isinstance(source, Mapping):
        context = normal_context(source)
        if "userId" not in context and "targetingKey" in context:
            context["userId"] = context["targetingKey"]
    elif isinstance(source, HttpRequest):
        # `request.user` is lazy: in an async view await `request.auser()` first, as for every other use of it.
        user = getattr(source, "auth", None) or getattr(source, "user", None)
        context = _of_user(user) if user is not None else {}
        if address := client_ip(source):
            context["remoteAddress"] = address
        if key := getattr(getattr(source, "session", None), "session_key", None):
            context["sessionId"] = key
    else:
        context = _of_user(source)
    context.setdefault("environment", conf.FLAGS_ENVIRONMENT)
    return context


def _of_user(user: Any) -> Flat:
    if hasattr(user, "flag_context"):
        return normal_context(user.flag_context())
    if getattr(user, "is_anonymous", False) or getattr(user, "pk", None) is None:
        return {}
    return {"userId": str(user.pk)}


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
