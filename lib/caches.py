"""Memory for what callers send: bounded in bytes as well as in number."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def remember(maxsize: int, longest: int = 256) -> Callable[[F], F]:
    """`lru_cache` by a first argument of text or bytes; a longer one is answered as well, and forgotten."""

    def wrap(function: F) -> F:
        cached = lru_cache(maxsize)(function)

        @wraps(function)
        def call(text: Any, *more: Any) -> Any:
            return (cached if text is None or len(text) <= longest else function)(text, *more)

        return cast(F, call)

    return wrap
