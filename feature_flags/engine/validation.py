"""What a form refuses in a constraint: what breaks a flag, what would never do what its author meant, and what SDKs
that evaluate for themselves read in two ways: unleash-client 6.12.1 (Node) and yggdrasil-engine 2.0.0 (in the SDKs for
Python, Ruby, .NET and Java, and in Edge). Table: docs/flags.md."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from feature_flags.engine import values
from feature_flags.engine.constraints import BY_NAME, CLOCK_FIELD, Operator, compile_pattern
from feature_flags.engine.values import BLANKS, read_network
from feature_flags.engine.words import gettext_noop
from feature_flags.engine.words import translate as _

MAX_VALUES = 5_000
MAX_FIELD = 100
MAX_PATTERN = 1_000

# Neither PostgreSQL nor UTF-8 can hold them. Not from `lib`, which knows Django: the engine is pure.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

Constraint = Mapping[str, Any]
Problem = tuple[str, str]


def constraint_problems(constraint: Constraint) -> list[Problem]:
    """What is wrong, as (key, sentence) with the keys of the document; empty when a form may take it."""
    found = _field_problem(constraint.get("contextName"))
    problems = [("contextName", found)] if found else []
    operator = BY_NAME.get(str(constraint.get("operator") or ""))
    if operator is None:
        return [*problems, ("operator", _("Choose one of the operators offered."))]
    if operator.many:
        if constraint.get("value") not in (None, ""):
            problems.append(("value", _("This operator takes a list of values, not one value.")))
        if found := _list_problem(constraint.get("values"), operator):
            problems.append(("values", found))
    else:
        if constraint.get("values"):
            problems.append(("values", _("This operator takes one value, not a list.")))
        value = constraint.get("value")
        is_given = isinstance(value, str) and value.strip(BLANKS)
        if found := _value_problem(operator.kind, value) if is_given else _("Give a value."):
            problems.append(("value", found))
    if constraint.get("caseInsensitive") and not operator.has_case:
        problems.append(("caseInsensitive", _("Upper and lower case only matter to text operators and patterns.")))
    if not all(isinstance(constraint.get(key, False), bool) for key in ("inverted", "caseInsensitive")):
        problems.append(("operator", _("“Not” and “ignore case” are either on or off.")))
    return problems


def _field_problem(field: object) -> str:
    if not isinstance(field, str) or not field.strip(BLANKS):
        return _("Name the field to look at.")
    if field != field.strip(BLANKS):
        return _("A field name has no blanks around it.")
    if len(field) > MAX_FIELD:
        return _("A field name has at most %(max_field)s characters.") % {"max_field": MAX_FIELD}
    if found := _text_problem(field):
        return found
    return _("It cannot hold a quote: Unleash clients would switch the flag off.") if '"' in field else ""


def _list_problem(listed: object, operator: Operator) -> str:
    if not isinstance(listed, list | tuple) or not listed:
        return _("Give at least one value.")
    if len(listed) > MAX_VALUES:
        return _("At most %(max_values)s values; this list has %(count)s.") % {
            "max_values": f"{MAX_VALUES:,}",
            "count": f"{len(listed):,}",
        }
    # The first is enough: a pasted list goes wrong in the same way everywhere.
    return next(filter(None, (_value_problem(operator.kind, value) for value in listed)), "")


def _value_problem(kind: str, value: object) -> str:
    if not isinstance(value, str):
        return _("Every value is a text.")
    if found := _text_problem(value):
        return found
    if kind == "text" and not value:
        return _("An empty value would match everybody.")
    if kind == "cidr" and read_network(value) is None:
        return _("“%(value)s” is neither an address nor a network such as 10.0.0.0/8.") % {"value": value}
    if kind == "number" and ((number := values.value_number(value)) is None or not math.isfinite(number)):
        return _("“%(value)s” is no number. Write 7, 7.5 or -7, with a point and without blanks.") % {"value": value}
    if kind == "date" and (not values.looks_like_date(value) or values.read_date(value) is None):
        return _(
            "“%(value)s” is no date with time and zone. Write 2026-01-31T12:00:00Z or 2026-01-31T12:00:00+01:00."
        ) % {"value": value}
    if kind == "semver" and (not values.looks_like_version(value) or values.read_version(value) is None):
        return _(
            "“%(value)s” is no version. Write three numbers such as 1.2.3 or 1.2.3-beta.1, without a leading v."
        ) % {"value": value}
    if kind == "regex" and len(value) > MAX_PATTERN:
        return _("A pattern has at most %(max_pattern)s characters.") % {"max_pattern": f"{MAX_PATTERN:,}"}
    if kind == "regex" and compile_pattern(value) is None:
        return _("This is no pattern RE2 understands: it has no look-around and no back-references.")
    return ""


def _text_problem(text: str) -> str:
    if _UNSTORABLE.search(text):
        return _("It holds characters that cannot be stored (NUL or half a pair).")
    if text.endswith("\\"):
        return _("It cannot end with a backslash: Unleash clients would switch the flag off.")
    return ""


# --- Where SDKs disagree ----------------------------------------------------------------------------------------------

# What JavaScript's trim() takes off: unleash-client does so with every value of a list.
_JS_BLANKS = "\t\n\v\f\r \xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
# JavaScript finds something under these names in every context.
_JS_NAMES = re.compile(
    "properties|constructor|to(Locale)?String|valueOf|hasOwnProperty|isPrototypeOf|propertyIsEnumerable"
    "|__proto__|__(define|lookup)[GS]etter__"
)
_LENGTH = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_SAFE_INTEGER = 2**53 - 1
_MAX_VERSION = 256

_NOTES = {
    "number": gettext_noop("a plain number such as 7 or 7.5: no blanks, not empty, no 0x10, no inf"),
    "date": gettext_noop("a moment such as 2026-01-31T12:00:00Z at the top level of the context, or nothing for now"),
    "semver": gettext_noop("a version such as 1.2.3, without blanks around it"),
    "cidr": gettext_noop("one address, without a zone (%eth0) or prefix (/24)"),
}
#: The same for a field that a percentage or a variant goes by.
HASHED = gettext_noop("a text of plain ASCII that is not empty; userId and sessionId at the top level of the context")
#: The same for the user id of a target.
NAMED = gettext_noop("a text at the top level of the context")


def context_note(operator: str) -> str:
    """What a context has to bring so that all SDKs read it alike; empty for operators that take any text."""
    known = BY_NAME.get(operator)
    return _NOTES.get(known.kind, "") if known else ""


def shared_constraint(constraint: Constraint) -> dict[str, Any]:
    """The same constraint (keys of the document) in a form that SDKs read alike, as far as its meaning stays."""
    shared = dict(constraint)
    try:
        if constraint.get("operator") == "REGEX" and compile_pattern(constraint["value"]) is not None:
            shared["value"] = shared_pattern(constraint["value"])
        elif constraint.get("operator") == "IN_CIDR":
            shared["values"] = [_plain_network(value) for value in constraint["values"]]
    except (Unshared, AttributeError, KeyError, TypeError):
        pass  # It stays as it is: `constraint_problems` or `disagreements` refuses it.
    return shared


def _plain_network(value: str) -> str:
    """`10.0.0.0/255.0.0.0` and `/+8` as `/8`; what is no network stays."""
    address, _, prefix = value.partition("/")
    if not prefix or _LENGTH.fullmatch(prefix):
        return value
    found = read_network(value)
    return f"{address}/{found[1].bit_count()}" if found else value


def disagreements(constraint: Constraint) -> Iterator[Problem]:
    """What SDKs read in two ways of a constraint in its shared form, as (key, sentence)."""
    field, operator = constraint.get("contextName"), BY_NAME.get(str(constraint.get("operator")))
    if operator is None or not isinstance(field, str):
        return
    if problem := field_problem(field):
        yield "contextName", problem
    elif (operator.kind == "date") != (field == CLOCK_FIELD):
        yield (
            "contextName",
            _("Dates are compared with %(clock_field)s, and only they: Unleash's Node SDK knows no other.")
            % {"clock_field": CLOCK_FIELD},
        )
    listed = constraint.get("values")
    if operator.many and isinstance(listed, list | tuple):
        texts = [value for value in listed if isinstance(value, str)]
        if "" in texts:
            yield "values", _("Unleash's Node SDK leaves an empty value out, the others compare with it.")
        if any(text != text.strip(_JS_BLANKS) for text in texts):
            instead = _(" For blanks that matter use a pattern.") if operator.kind == "text" else ""
            yield (
                "values",
                _("Unleash's Node SDK takes blanks off around a value, the others do not.%(instead)s")
                % {"instead": instead},
            )
    elif isinstance(value := constraint.get("value"), str) and (problem := _disagreement(operator.kind, value)):
        yield "value", problem


def _disagreement(kind: str, value: str) -> str:
    if kind == "date" and value[17:19] == "60":
        return _("Unleash's Node SDK knows no leap second.")
    if kind == "semver":
        numbers = re.findall(r"[0-9]+", value.partition("+")[0])
        if len(value) > _MAX_VERSION or any(len(number) > 20 or int(number) >= _SAFE_INTEGER for number in numbers):
            return _("A version has at most %(max_version)s characters, and no number in it beyond %(value)s.") % {
                "max_version": _MAX_VERSION,
                "value": _SAFE_INTEGER - 1,
            }
    if kind == "regex":
        try:
            shared_pattern(value)
        except Unshared as problem:
            return str(problem)
    return ""


def field_problem(field: str) -> str:
    """Why no rule or percentage should go by this field of a context; empty when it may."""
    is_known = _JS_NAMES.fullmatch(field)
    return (
        (_("JavaScript has a %(field)s of its own in every context: take another name.") % {"field": field})
        if is_known
        else ""
    )


def stickiness_problem(stickiness: str) -> str:
    if stickiness == CLOCK_FIELD:
        return _("Unleash's Node SDK lets no one in by %(clock_field)s.") % {"clock_field": CLOCK_FIELD}
    return field_problem(stickiness) or _raw_problem(stickiness)


def group_problem(group: str) -> str:
    """The group is hashed: unleash-client takes the low byte of each character, the others UTF-8."""
    return _raw_problem(group) if group.isascii() else _("Clients hash other characters than ASCII in different ways.")


def _raw_problem(text: str) -> str:
    if '"' in text or text.endswith("\\"):
        return _("It holds no quote and no backslash at its end: Unleash clients would switch the flag off.")
    return ""


def identifier_problem(identifier: str) -> str:
    if identifier != identifier.strip(_JS_BLANKS + "\x85"):
        return _("A user id has no blanks around it.")
    if identifier.endswith("\\"):
        return _("A user id cannot end with a backslash: Unleash clients would switch the flag off.")
    return ""


# --- Patterns that all read alike -------------------------------------------------------------------------------------

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
                raise Unshared(_("Its groups are nested more than %(max_depth)s deep.") % {"max_depth": _MAX_DEPTH})
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
                raise Unshared(
                    _("Clients disagree about %(group)s. Of the options use i, m, s and U.") % {"group": group}
                )
            if group.endswith(")") and self.pattern[self.at : self.at + 1] in {"*", "+", "?", "{"}:
                raise Unshared(
                    _("Clients disagree about what %(value)s repeats after %(group)s.")
                    % {"value": self.pattern[self.at], "group": group}
                )
        return r"\{" if found["other"] == "{" else found[0]

    def _escape(self, escape: str) -> str:
        letter = escape[1]
        if letter in "dws":
            return f"[{_CLASSES[letter]}]"
        if letter in "DWS":
            return f"[^{_CLASSES[letter.lower()]}]"
        if letter in "bB":
            raise Unshared(
                _("Clients disagree about \\%(letter)s: write (^|[^0-9A-Za-z_]) or ([^0-9A-Za-z_]|$) for it.")
                % {"letter": letter}
            )
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
            raise Unshared(
                _("Clients disagree about \\%(value)s among others: write the characters themselves.")
                % {"value": found[0][1]}
            )
        return _sign(found["escape"])
    return "\\" + found[0] if found[0] in "[]^-&~" else found[0]


def _sign(escape: str) -> str:
    """An escape that stands for characters, in a class or outside."""
    letter = escape[1]
    if found := _PROPERTY.fullmatch(escape) if letter in "pP" else None:
        kind, inverse, name = found.groups()
        if name == "C":
            raise Unshared(_(r"Clients disagree about \p{C}: write \p{Cc}, \p{Cf} or \p{Co}."))
        return f"\\{kind.swapcase() if inverse else kind}{{{name}}}"
    is_letter = letter.isascii() and letter.isalnum()
    if letter in "<>" or (is_letter and letter not in "aftnrv" and not (letter == "x" and len(escape) > 2)):
        raise Unshared(
            _("Clients disagree about %(escape)s. Write the character itself, or \\x41 for it.") % {"escape": escape}
        )
    return escape
