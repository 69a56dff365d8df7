"""Which texts a flag may hold. The reference engine writes them into a rule language of its own and stumbles over some.

A flag it refuses is off in every SDK built on it, so it is off here too.
"""

from __future__ import annotations

import re

from feature_flags.engine.model import Broken

# What counts as blank when lists are split: Unicode's White_Space. Python's own strip() also takes \x1c to \x1f.
BLANKS = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))

_BARE_QUOTE = re.compile(r'(?<!\\)"')


def listed(value: object, what: str) -> str:
    """A value of a list: anything but a closing backslash."""
    text = plain(value, what)
    if text.endswith("\\"):
        raise Broken(f"{what} ends with a backslash: {text}")
    return text


def raw(value: object, what: str) -> str:
    """A name or group: no closing backslash, and a backslash before every quote."""
    text = listed(value, what)
    if '"' in text and _BARE_QUOTE.search(text):
        raise Broken(f"{what} holds a quote: {text}")
    return text


def plain(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise Broken(f"{what} is no text")
    return value


def hashable(value: object, what: str) -> str:
    """A text with a UTF-8 form. Half a surrogate pair has none and would fail at the first question, not here."""
    text = plain(value, what)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Broken(f"{what} is no valid Unicode") from None
    return text


def split(value: str) -> list[str]:
    """The pieces between commas, trimmed; an empty text is one empty piece."""
    return [piece.strip(BLANKS) for piece in value.split(",")]
