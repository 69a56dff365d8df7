"""Evaluate flags from code. Does no I/O: sync and async code call the same functions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.conf import settings

from feature_flags import declarations
from feature_flags.context import flat, scopes
from feature_flags.declarations import Flag
from feature_flags.engine.model import DISABLED, CompiledFlag, Result, Variant
from feature_flags.runtime import store, usage

if TYPE_CHECKING:
    from feature_flags.runtime.snapshot import Snapshot

logger = logging.getLogger("switchboard.flags")

T = TypeVar("T")


class UnknownFlagError(LookupError):
    """FLAGS_STRICT is on and no flag has this name."""


def is_enabled(flag: Flag | str, context: Any = None, *, default: bool | None = None) -> bool:
    """Whether the flag is on for this context: a mapping, a request, a user, or None.

    Without a row or a snapshot: the declared default, then `default`, then False. UnknownFlagError with FLAGS_STRICT
    for a name that is not declared and that no flag has.
    """
    codename = flag if type(flag) is str else flag.codename if type(flag) is Flag else str(flag)
    if scopes.get() is not None:
        return bool(_evaluate(codename, context, default, lambda compiled, result: result.enabled))
    snapshot = store.snapshot
    compiled = snapshot.flags.get(codename) if snapshot is not None else None
    if compiled is None:
        return bool(_evaluate(codename, context, default, lambda compiled, result: result.enabled))
    result = compiled.constant
    if result is None:
        result = compiled.evaluate(flat(context), snapshot.flags)  # type: ignore[union-attr]
    if result.enabled:
        compiled.cell[0] += 1
        return True
    compiled.cell[1] += 1
    return False


def variant(flag: Flag | str, context: Any = None) -> Variant:
    """The variant for this context: `name`, `payload` (`{"type", "value"}` or None), `enabled`; “disabled” for none."""
    codename = str(flag)
    found = _evaluate(codename, context, None, lambda compiled, result: result.variant)
    if not hasattr(found, "payload"):
        return DISABLED
    if found.enabled:
        usage.cell(codename, found.name)[0] += 1
    return cast("Variant", found)


def value_string(flag: Flag | str, context: Any = None, default: str = "") -> str:
    """The value of a string flag: of its variant when on, `off_value` when off; `default` without one."""
    return _value(flag, context, default, "string")


def value_int(flag: Flag | str, context: Any = None, default: int = 0) -> int:
    """The same for an integer flag."""
    return _value(flag, context, default, "integer")


def value_float(flag: Flag | str, context: Any = None, default: float = 0.0) -> float:
    """The same for a float flag."""
    return _value(flag, context, default, "float")


def value_json(flag: Flag | str, context: Any = None, default: Any = None) -> Any:
    """The same for an object flag. The value is shared: do not change it."""
    return _value(flag, context, default, "object")


def exposed(context: Any = None) -> dict[str, Any]:
    """`{codename: value}` of every exposed flag, for a page's own script."""
    snapshot = _pinned()
    if snapshot is None:
        return {}
    return {
        flag.name: _evaluate(flag.name, context, None, lambda compiled, result: result.value)
        for flag in snapshot.exposed
    }


def _value(flag: Flag | str, context: Any, default: T, value_type: str) -> T:
    def pick(compiled: CompiledFlag | None, result: Result) -> Any:
        if compiled is not None and compiled.definition.value_type != value_type:
            _warn_once(f"{compiled.name} is {compiled.definition.value_type}, asked for as {value_type}")
            return None
        return result.value

    found = _evaluate(str(flag), context, None, pick)
    return default if found is None else cast(T, found)


def _evaluate(codename: str, context: Any, default: Any, pick: Callable[[Any, Any], Any]) -> Any:
    """What `pick` takes of the flag (None for an override) and its result; without a flag the declared default, else
    `default`. A request keeps its snapshot, time and random value, and records what it was answered."""
    scope = scopes.get()
    if scope is not None and codename in scope.overrides:
        given = scope.overrides[codename]
        if isinstance(given, bool):
            return pick(None, Result(codename, given, given, DISABLED))
        name = given if isinstance(given, str) else "override"
        return pick(None, Result(codename, True, given, Variant(name, None, True)))
    request = scope if scope is not None and scope.is_request else None
    snapshot = _pinned()
    compiled = snapshot.flags.get(codename) if snapshot is not None else None
    if snapshot is None or compiled is None:
        answer = _missing(codename, default, snapshot is not None)
        if request is not None:
            request.seen[codename] = answer
        return answer
    result = compiled.constant
    if result is None:
        flat_context = flat(context)
        result = compiled.evaluate(request.fixed(flat_context) if request is not None else flat_context, snapshot.flags)
    compiled.cell[0 if result.enabled else 1] += 1
    if request is not None:
        request.seen[codename] = result.enabled if compiled.definition.value_type == "boolean" else result.value
    return pick(compiled, result)


def _pinned() -> Snapshot | None:
    scope = scopes.get()
    if scope is None or not scope.is_request:
        return store.current()
    if scope.snapshot is None:
        scope.snapshot = store.current()
    return scope.snapshot


def _missing(codename: str, default: Any, is_loaded: bool) -> Any:
    declaration = declarations.find(codename)
    if declaration is not None:
        return declaration.default
    if is_loaded:
        if settings.FLAGS_STRICT:
            raise UnknownFlagError(f"No flag is called {codename!r}: declare it, or create it in the admin.")
        if usage.count_unknown(codename):
            _warn_once(f"no flag is called {codename}")
    return default


_warned: dict[str, float] = {}
_WARN_AGAIN_SECONDS = 3600.0


def _warn_once(message: str) -> None:
    """Once an hour for each message."""
    now = time.monotonic()
    if len(_warned) < 1000 and now - _warned.get(message, -_WARN_AGAIN_SECONDS) >= _WARN_AGAIN_SECONDS:
        _warned[message] = now
        logger.warning(message)
