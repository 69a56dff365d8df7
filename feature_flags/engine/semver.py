"""Semantic versions 2.0 as keys that compare."""

from __future__ import annotations

import re
from typing import Any

Version = tuple[Any, ...]

_LOOSE = re.compile(
    r"[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_NUMBER = r"(0|[1-9][0-9]*)"
_PART = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_STRICT = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PART}(?:\.{_PART})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_RELEASE: tuple[Any, ...] = (1,)
_LARGEST = 2**64


def looks_like_version(text: str) -> bool:
    """Whether a constraint's value has the form of a version, leading zeros and all."""
    return _LOOSE.fullmatch(text) is not None


def read_version(text: str) -> Version | None:
    """A key that sorts as versions do; None when the text is none. Build metadata is not looked at."""
    found = _STRICT.fullmatch(text)
    if found is None:
        return None
    major, minor, patch, pre = found.groups()
    # Twenty digits first: int() refuses texts of some thousand.
    if max(len(major), len(minor), len(patch)) > 20:
        return None
    key = int(major), int(minor), int(patch)
    return (*key, _pre_release(pre) if pre else _RELEASE) if max(key) < _LARGEST else None


def _pre_release(text: str) -> tuple[Any, ...]:
    """Numbers below words, numbers by size (length first: they may be of any), words by ASCII, shorter lists first."""
    return (0, *((0, len(part), part) if part.isdigit() else (1, 0, part) for part in text.split(".")))
