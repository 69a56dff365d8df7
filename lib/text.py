"""Text as it can be stored: no NUL byte (PostgreSQL refuses it), no lone surrogate (UTF-8 cannot hold it)."""

import json
import re
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, NoReturn, TypeVar, cast
from uuid import UUID

from django.utils.formats import number_format

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

NAME_MAX_LENGTH = 150
F = TypeVar("F", bound=Callable[..., Any])


def is_storable(text: str) -> bool:
    return not _UNSTORABLE.search(text)


def require_storable(text: str) -> str:
    """The text itself; ValueError when it cannot be stored."""
    if not is_storable(text):
        raise ValueError("must not contain NUL characters or lone surrogates")
    return text


def clean_text(text: str) -> str:
    """The text without NUL bytes, lone surrogates replaced by `?`."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def printable(text: str) -> str:
    """The text with what a terminal or a log cannot show replaced by `?`."""
    return "".join(character if character.isprintable() else "?" for character in text)


def visible(text: str) -> str:
    """The text with what cannot be seen, or turns other text around (U+202E), as its code; line feeds stay."""
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape", "surrogatepass").decode()
        for sign in text
    )


def number(count: int) -> str:
    """`1,000`, as the reader's language groups digits."""
    return number_format(count, force_grouping=True)


def whole_number(text: str | bytes, *, digits: int = 18) -> int | None:
    """The number that at most so many ASCII digits spell, None for any other text (`isdigit` alone takes `²`)."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None


def read_json(text: str | bytes) -> Any:
    """JSON as RFC 8259 has it, without Python's `NaN` and `Infinity`; ValueError, or RecursionError when too deep."""
    return _JSON.decode(text if isinstance(text, str) else text.decode(json.detect_encoding(text), "surrogatepass"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)


def read_id(text: str) -> UUID | None:
    """The id that 32 hex digits spell, as on the wire, or with the dashes of RFC 9562; None for any other text."""
    return UUID(text) if re.fullmatch("[0-9a-fA-F]{8}(-?)([0-9a-fA-F]{4}\\1){3}[0-9a-fA-F]{12}", text) else None


def remember(maxsize: int) -> Callable[[F], F]:
    """`lru_cache` by a first argument of text or bytes from outside: bounded in bytes as well as in number.

    For a text of more than 256 characters the function is called each time.
    """

    def wrap(function: F) -> F:
        cached = lru_cache(maxsize)(function)

        @wraps(function)
        def call(text: Any, *more: Any) -> Any:
            return (cached if text is None or len(text) <= 256 else function)(text, *more)

        return cast(F, call)

    return wrap
