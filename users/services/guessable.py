"""Which passwords are tried first: common words, however dressed up, walks over a keyboard, and repetitions.

A rule of classes is met by `Password1!`, `P@ssw0rd123` and `1qaz@WSX` as well; whoever guesses tries these first.
"""

from __future__ import annotations

import re
from functools import cache
from gzip import open as gzip_open
from itertools import pairwise
from pathlib import Path
from string import punctuation

from django.contrib.auth import password_validation

#: Characters a walk may leave over: `Qwerty123!`.
_SPARE = 2
_WALK = 3
_PERIOD = 8

_UNLEET = tuple(
    str.maketrans(given, meant) for given, meant in (("@4301!$5789", "aaeoiisstbg"), ("@4301!$5789", "aaeolisstbg"))
)
# What a US keyboard types with shift, so that `1qaz@WSX` is the walk it looks like.
_UNSHIFT = str.maketrans('!@#$%^&*()_+{}|:"<>?~', "1234567890-=[]\\;',./`")
_ROWS = ("`1234567890-=", "qwertyuiop[]\\", "asdfghjkl;'", "zxcvbnm,./")
_OFFSETS = (0.0, 1.5, 1.75, 2.25)
_PLACES = {key: (_OFFSETS[y] + x, y) for y, row in enumerate(_ROWS) for x, key in enumerate(row)}


def is_guessable(password: str) -> bool:
    """Whether a guesser's short list holds it; says nothing about length or classes."""
    typed = password.lower()
    # A sign at the end is what people add for the rule's sake.
    plain = typed.strip(punctuation)
    return _is_repeated(typed) or _is_common(typed) or _is_common(plain) or _is_walk(typed) or _is_walk(plain)


def words_of(text: str) -> set[str]:
    """The text in lower case as typed and with digits and signs read as the letters they stand for."""
    lower = text.lower()
    return {lower, *(lower.translate(table) for table in _UNLEET)}


@cache
def _common() -> frozenset[str]:
    """The 20,000 most common passwords, as Django ships them."""
    path = Path(password_validation.__file__).parent / "common-passwords.txt.gz"
    with gzip_open(path, "rt", encoding="utf-8") as lines:
        return frozenset(line.strip() for line in lines)


def _is_common(typed: str) -> bool:
    """As typed, or a common word with digits and signs before, after and in place of its letters."""
    forms = words_of(typed)
    dressed = {_bare(form) for form in forms} | {form for bare in (_bare(typed),) for form in words_of(bare)}
    return bool((forms | {word for word in dressed if len(word) >= _WALK}) & _common())


def _bare(text: str) -> str:
    return re.sub(r"^[\W\d_]+|[\W\d_]+$", "", text)


def _is_repeated(typed: str) -> bool:
    """Few different characters, or one short piece over and over: `Abc1!Abc1!`."""
    if len(set(typed)) <= 2:
        return True
    periods = range(1, min(_PERIOD, len(typed) // 2) + 1)
    return any(typed[period:] == typed[:-period] for period in periods)


def _is_walk(typed: str) -> bool:
    """Whether steps to a neighbouring key, or to the next or the same character, lead through nearly all of it."""
    plain = typed.translate(_UNSHIFT)
    halves = (plain[::2], plain[1::2])
    return _left_over(plain) <= _SPARE or all(_left_over(half) <= _SPARE // 2 for half in halves)


def _left_over(text: str) -> int:
    """How many characters belong to no walk of three or more."""
    walks, length = 0, 1
    for one, next_ in pairwise(text):
        if _is_step(one, next_):
            length += 1
            continue
        walks += length if length >= _WALK else 0
        length = 1
    return len(text) - walks - (length if length >= _WALK else 0)


def _is_step(one: str, next_: str) -> bool:
    if abs(ord(one) - ord(next_)) <= 1:
        return True
    if one not in _PLACES or next_ not in _PLACES:
        return False
    (x, y), (x2, y2) = _PLACES[one], _PLACES[next_]
    return abs(x - x2) <= 1.0 and abs(y - y2) <= 1
