"""Evaluate flags from code. Does no I/O: sync and async code call the same functions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.conf import settings

from feature_flags import declarations
from feature_flags.context import flat
from feature_flags.declarations import Flag
from feature_flags.engine.model import DISABLED, CompiledFlag, Result, Variant
from feature_flags.runtime import store, usage
from feature_flags.scope import Scope, scopes

if TYPE_CHECKING:
    from feature_flags.runtime.snapshot import Snapshot

logger = logging.getLogger("switchboard.flags")

T = TypeVar("T")


class UnknownFlagError(LookupError):
    """FLAGS_STRICT is on and no flag has this name."""


def is_enabled(flag: Flag | str, context: Any = None, *, default: bool | None = None) -> bool:
    """Whether the flag is on for this context: a mapping, a request, a person, or None for nobody in particular.

    Without a row or a snapshot: the declared default, then `default`, then False. UnknownFlagError with FLAGS_STRICT
    for a name that nobody declared and no flag has.
    """
    codename = flag if type(flag) is str else flag.codename if type(flag) is Flag else str(flag)
    if scopes.get() is not None:
        return bool(_in_scope(codename, context, default, _enabled))
    snapshot = store.snapshot
    compiled = snapshot.flags.get(codename) if snapshot is not None else None
    if compiled is None:
        return bool(_outside(codename, context, default, _enabled))
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
    found = _ask(codename, context, None, lambda compiled, result: result.variant)
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
    return {flag.name: _ask(flag.name, context, None, _just_value) for flag in snapshot.exposed}


def _value(flag: Flag | str, context: Any, default: T, value_type: str) -> T:
    def pick(compiled: CompiledFlag | None, result: Result) -> Any:
        if compiled is not None and compiled.definition.value_type != value_type:
            _once(f"{compiled.name} is {compiled.definition.value_type}, asked for as {value_type}")
            return None
        return result.value

    found = _ask(str(flag), context, None, pick)
    return default if found is None else cast(T, found)


def _ask(codename: str, context: Any, default: Any, pick: Callable[[Any, Any], Any]) -> Any:
    if scopes.get() is not None:
        return _in_scope(codename, context, default, pick)
    return _outside(codename, context, default, pick)


def _enabled(compiled: Any, result: Any) -> Any:
    return result.enabled


def _just_value(compiled: Any, result: Any) -> Any:
    return result.value


def _outside(codename: str, context: Any, default: Any, pick: Callable[[Any, Any], Any]) -> Any:
    snapshot = store.current()
    compiled = snapshot.flags.get(codename) if snapshot is not None else None
    if snapshot is None or compiled is None:
        return _missing(codename, default, snapshot is not None)
    result = compiled.constant or compiled.evaluate(flat(context), snapshot.flags)
    compiled.cell[0 if result.enabled else 1] += 1
    return pick(compiled, result)


def _in_scope(codename: str, context: Any, default: Any, pick: Callable[[Any, Any], Any]) -> Any:
    scope = cast(Scope, scopes.get())
    if codename in scope.overrides:
        return pick(None, _overridden(codename, scope.overrides[codename]))
    if not scope.is_request:
        return _outside(codename, context, default, pick)
    snapshot = _pinned()
    compiled = snapshot.flags.get(codename) if snapshot is not None else None
    if snapshot is None or compiled is None:
        answer = _missing(codename, default, snapshot is not None)
        scope.seen[codename] = answer
        return answer
    result = compiled.constant or compiled.evaluate(scope.fixed(flat(context)), snapshot.flags)
    compiled.cell[0 if result.enabled else 1] += 1
    scope.seen[codename] = result.enabled if compiled.definition.value_type == "boolean" else result.value
    return pick(compiled, result)


def _pinned() -> Snapshot | None:
    scope = scopes.get()
    if scope is None or not scope.is_request:
        return store.current()
    if scope.snapshot is None:
        scope.snapshot = store.current()
    return scope.snapshot


def _overridden(codename: str, answer: Any) -> Result:
    if isinstance(answer, bool):
        return Result(codename, answer, answer, DISABLED)
    name = answer if isinstance(answer, str) else "override"
    return Result(codename, True, answer, Variant(name, None, True))


def _missing(codename: str, default: Any, is_loaded: bool) -> Any:
    declaration = declarations.find(codename)
    if declaration is not None:
        return declaration.default
    if is_loaded:
        if settings.FLAGS_STRICT:
            raise UnknownFlagError(f"No flag is called {codename!r}: declare it, or create it in the admin.")
        if usage.count_unknown(codename):
            _once(f"no flag is called {codename}")
    return default


_said: dict[str, float] = {}
_SAY_AGAIN_SECONDS = 3600.0


def _once(message: str) -> None:
    now = time.monotonic()
    if len(_said) < 1000 and now - _said.get(message, -_SAY_AGAIN_SECONDS) >= _SAY_AGAIN_SECONDS:
        _said[message] = now
        logger.warning(message)
