"""Regular expressions by RE2: linear time, no look-around, no back-references, ASCII classes."""

from __future__ import annotations

import re
from typing import Any

import re2  # type: ignore[import-untyped]

_MAX_DEPTH = 100
_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}
_ESCAPE = r"\\x(?:\{[0-9A-Fa-f]+\}|[0-9A-Fa-f]{2})|\\[pP](?:\{[^}]*\}|.)|\\."
_TOKEN = re.compile(
    r"\\Q(?P<quoted>.*?)(?:\\E|\Z)"
    rf"|(?P<escape>{_ESCAPE})"
    r"|\(\?P?<(?P<name>[^>]*)>"
    r"|\(\?(?P<options>[^:)]*)[:)]"
    r"|(?P<klass>\[\^?)"
    r"|(?P<count>\{[0-9]+(?:,[0-9]*)?\})"
    r"|(?P<other>.)",
    re.DOTALL,
)
_ITEM = re.compile(rf"(?P<named>\[:\^?[a-z]+:\])|(?P<escape>{_ESCAPE})|(?P<other>.)", re.DOTALL)
_OPTIONS = re.compile(r"\(\?(?::|[imsU]+(?:-[imsU]+)?[:)]|-[imsU]+[:)])")
_PROPERTY = re.compile(r"\\([pP])\{?(\^?)([^}]*)\}?", re.DOTALL)


class Unshared(ValueError):
    """A pattern that the regular expressions of two SDKs read in different ways; with what to write instead."""


def compile_pattern(pattern: str, ignore_case: bool = False) -> Any | None:
    """A compiled pattern for UTF-8 bytes; None when it is invalid. Bytes spare RE2's wrapper half of its work."""
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    options.case_sensitive = not ignore_case
    try:
        return re2.compile(pattern.encode(), options)
    except (re2.error, UnicodeEncodeError):
        return None


def shared_pattern(pattern: str) -> str:
    """A valid pattern in the words that RE2 (here), re2js (Node) and Rust's regex (yggdrasil) read alike.

    It matches what RE2 matches with the original. Rust's `\\d`, `\\w`, `\\s` and `\\b` go by Unicode, and its classes
    know `[a&&b]` and `[[a]]`. Raises Unshared where there is no such form.
    """
    return _Rewriting(pattern).run()


class _Rewriting:
    def __init__(self, pattern: str) -> None:
        self.pattern, self.at = pattern, 0

    def run(self) -> str:
        parts, depth = [], 0
        while found := _TOKEN.match(self.pattern, self.at):
            self.at = found.end()
            opens = found[0].startswith("(")
            depth += opens - (found[0] == ")" or (opens and found[0].endswith(")")))
            if depth > _MAX_DEPTH:
                raise Unshared(f"Its groups are nested more than {_MAX_DEPTH} deep.")
            parts.append(self._part(found))
        return "".join(parts)

    def _part(self, found: re.Match[str]) -> str:
        if found["quoted"] is not None:
            return "".join("\\" + char if char in r"\.+*?()|[]{}^$" else char for char in found["quoted"])
        if found["escape"]:
            return self._escape(found["escape"])
        if found["klass"]:
            return self._class(found["klass"])
        if found["name"] is not None:
            # Nothing looks at groups, and engines disagree about their names.
            return "(?:"
        if found["options"] is not None:
            group = found[0]
            if not _OPTIONS.fullmatch(group):
                raise Unshared(f"Clients disagree about {group}. Of the options use i, m, s and U.")
            if group.endswith(")") and self.pattern[self.at : self.at + 1] in {"*", "+", "?", "{"}:
                raise Unshared(f"Clients disagree about what {self.pattern[self.at]} repeats after {group}.")
        return r"\{" if found["other"] == "{" else found[0]

    def _escape(self, escape: str) -> str:
        letter = escape[1]
        if letter in "dws":
            return f"[{_CLASSES[letter]}]"
        if letter in "DWS":
            return f"[^{_CLASSES[letter.lower()]}]"
        if letter in "bB":
            raise Unshared(rf"Clients disagree about \{letter}: write (^|[^0-9A-Za-z_]) or ([^0-9A-Za-z_]|$) for it.")
        return escape if letter in "Az" else _sign(escape)

    def _class(self, opening: str) -> str:
        items: list[str] = []
        while found := _ITEM.match(self.pattern, self.at):
            if found[0] == "]" and items:
                self.at = found.end()
                return f"{opening}{''.join(items)}]"
            self.at = found.end()
            items.append(self._item(found))
        # Without an end: no pattern at all.
        return opening + "".join(items)

    def _item(self, found: re.Match[str]) -> str:
        if found["named"]:
            return found[0]
        if (letter := found[0][1:2]) and letter in _CLASSES:
            return _CLASSES[letter]
        low = _member(found)
        if (found["escape"] or "")[1:2] in ("p", "P") or self.pattern[self.at : self.at + 1] != "-":
            return low
        high = _ITEM.match(self.pattern, self.at + 1)
        if high is None or high[0] == "]":
            return low
        self.at = high.end()
        return f"{low}-{_member(high)}"


def _member(found: re.Match[str]) -> str:
    """One character of a class."""
    if found["escape"]:
        if found[0][1] in "DWS":
            raise Unshared(rf"Clients disagree about \{found[0][1]} among others: write the characters themselves.")
        return _sign(found["escape"])
    return "\\" + found[0] if found[0] in "[]^-&~" else found[0]


def _sign(escape: str) -> str:
    """An escape that stands for characters, in a class or outside."""
    letter = escape[1]
    if found := _PROPERTY.fullmatch(escape) if letter in "pP" else None:
        kind, inverse, name = found.groups()
        if name == "C":
            raise Unshared(r"Clients disagree about \p{C}: write \p{Cc}, \p{Cf} or \p{Co}.")
        return f"\\{kind.swapcase() if inverse else kind}{{{name}}}"
    is_letter = letter.isascii() and letter.isalnum()
    if letter in "<>" or (is_letter and letter not in "aftnrv" and not (letter == "x" and len(escape) > 2)):
        raise Unshared(f"Clients disagree about {escape}. Write the character itself, or \\x41 for it.")
    return escape
