"""A mail as plain paragraphs. What staff write in Words becomes the templates of all three parts; and it is read out of
templates again by filling them with marks in place of values. What comes back the same was written in Words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape, unescape
from typing import Any

from django.db import DatabaseError
from django.template import Context
from django.utils import translation
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from notifications.registry import NotificationType
from notifications.rendering import engines, overriding, render

#: Of what every mail has: its address leads elsewhere, or the foot of the mail shows it already.
_OF_THE_FOOT = frozenset({"login_action", "reason", "preheader", "unsubscribe_url"})
_OPEN, _CLOSE = "\ue000", "\ue001"
_HERE = "\ue002"

_NAME = re.compile(r"\{\{[ \t]*([A-Za-z]\w*)[ \t]*\}\}")
_TARGET = r"\{\{ \w+ \}\}|https?://[^\s<>\"'(){}\[\]]+"
_LINK = re.compile(_TARGET)
_BUTTON = re.compile(rf"\[([^\[\]{{}}\n]+)\]\(({_TARGET})\)")
#: A line that is nothing without its value: "Program: {{ program }}".
_VALUE_LINE = re.compile(r"(?:[^{}\n]*: )?\{\{ (\w+) \}\}")
#: What goes with a value that is empty: "Hello Ada," becomes "Hello,".
_LEAD = re.compile(r"(?:,? )?\Z")
_ANCHOR = re.compile(r'<a\s[^>]*?href="([^"]*)"[^>]*>([^<]*)</a>')
_CONDITION = re.compile(r"{%\s*(?:el)?if\s+(.+?)\s*%}")

_TEXT = '{{% extends "emails/_base.txt" %}}{{% block content %}}{}{{% endblock %}}'
_HTML = (
    '{{% extends "emails/_base.html" %}}\n{{% block preheader %}}{{% endblock %}}\n'
    "{{% block content %}}\n{}\n{{% endblock %}}"
)

BRACES = _(
    "Braces stand only around a name, as in {{ first_name }}: tags and filters are not run in Words. "
    "Under Advanced they are."
)
BUTTON = _("A button stands alone in its paragraph: [its words]({{ a_url }}).")


@dataclass(frozen=True, slots=True)
class Words:
    """Paragraphs with a blank line between them; names of values in double braces."""

    subject: str
    body: str

    @classmethod
    def typed(cls, subject: str, body: str) -> Words:
        """In the one form that is kept: no blanks around lines, one blank line between paragraphs."""
        lines = [line.strip() for line in _NAME.sub(r"{{ \1 }}", body).splitlines()]
        paragraphs = re.split(r"\n{2,}", "\n".join(lines).strip("\n"))
        return cls(" ".join(_NAME.sub(r"{{ \1 }}", subject).split()), "\n\n".join(paragraphs))

    @property
    def paragraphs(self) -> list[str]:
        return self.body.split("\n\n") if self.body else []


def problems(text: str) -> list[str]:
    """What keeps a text from being Words; all else is found in the templates that are made of it."""
    if set("{}") & set(_NAME.sub("", text)):
        return [str(BRACES)]
    for paragraph in Words.typed("", text).paragraphs:
        if "](" in paragraph and not _BUTTON.fullmatch(paragraph):
            return [str(BUTTON)]
    return []


def names(kind: NotificationType, language: str) -> list[str]:
    """What Words offer: the values of a mail that people can read, its secrets first."""
    fields = kind.context.model_fields
    said = set(re.findall(r"\w+", " ".join(engines.sources(kind, language).values())))
    # What no file names where there is a `derive` is kept for that alone; and a fact is no text.
    stored = [
        name for name, field in fields.items() if field.annotation is not bool and (name in said or not kind.derive)
    ]
    return [*kind.secrets, *stored, *sorted(overriding.ALWAYS - _OF_THE_FOOT - set(fields))]


def may_be_empty(kind: NotificationType) -> frozenset[str]:
    """Texts of the context: a name, a program. Without one its line, or the blank before it, goes as well."""
    fields = kind.context.model_fields
    return frozenset(name for name, field in fields.items() if field.annotation in (str, str | None))


def conditions(kind: NotificationType, language: str) -> list[str]:
    """The facts by which the files say one thing or another; Words always say the same."""
    found: set[str] = set()
    empty = may_be_empty(kind)
    for source in engines.sources(kind, language).values():
        for condition in _CONDITION.findall(source):
            if condition not in empty:
                found |= set(re.findall(r"\w+", condition)) & set(kind.context.model_fields)
    return sorted(found)


# --- Words to templates -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Piece:
    """A paragraph or line in both parts; without any of the values of `when` it is left out."""

    text: str
    html: str
    when: tuple[str, ...] = ()


def templates(kind: NotificationType, language: str, words: Words) -> dict[str, str]:
    """The source of each part. Nothing is run of what is typed, and nothing of it is HTML."""
    empty = may_be_empty(kind)
    pieces = [_paragraph(kind, language, paragraph, empty) for paragraph in words.paragraphs]
    return {
        "subject": _filled(words.subject, empty),
        "text": _TEXT.format(_joined(((piece.text, piece.when) for piece in pieces), "\n\n")),
        "html": _HTML.format(_joined(((piece.html, piece.when) for piece in pieces), "\n")),
    }


def bodies(kind: NotificationType, language: str, words: Words) -> dict[str, str]:
    """The same; but where the words are those of the file, the file."""
    made, shipped = templates(kind, language, words), read(kind, language, {})
    if shipped and words.subject == shipped.subject:
        made["subject"] = engines.source(kind, "subject", language)
    if shipped and words.body == shipped.body:
        made |= {part: engines.source(kind, part, language) for part in ("text", "html")}
    return made


def _paragraph(kind: NotificationType, language: str, paragraph: str, empty: frozenset[str]) -> _Piece:
    button = _BUTTON.fullmatch(paragraph)
    target = button[2] if button else paragraph
    name = found[1] if (found := _NAME.fullmatch(target)) else ""
    when: tuple[str, ...] = (name,) if name in empty else ()
    is_link = _LINK.fullmatch(target) and (not name or name == "url" or name.endswith("_url"))
    if is_link or (button and name):
        with translation.override(language):
            label = button[1] if button else gettext("Continue")
        url = name or f'"{_quoted(target)}"'
        html = f'{{% include "emails/_parts/button.html" with url={url} label="{_quoted(label)}" only %}}'
        return _Piece(target, html, when)
    if name in kind.secrets:
        return _Piece(target, f'{{% include "emails/_parts/code.html" with code={name} only %}}')
    lines = [_line(line, empty) for line in paragraph.split("\n")]
    text = _joined(((line.text, line.when) for line in lines), "\n")
    html = _joined(((line.html, line.when) for line in lines), "<br>\n")
    when = tuple(name for line in lines for name in line.when) if all(line.when for line in lines) else ()
    if len(lines) == 1:
        # The condition is that of the whole paragraph.
        text, html = lines[0].text, lines[0].html
    return _Piece(text, f'{{% include "emails/_parts/p_start.html" only %}}{html}</p>', when)


def _line(line: str, empty: frozenset[str]) -> _Piece:
    found = _VALUE_LINE.fullmatch(line)
    if found and found[1] in empty:
        value = f"{{{{ {found[1]} }}}}"
        lead = line.removesuffix(value)
        # Alone, it may be a longer text with lines of its own.
        html = f"{escape(lead, quote=False)}{value}" if lead else f"{{{{ {found[1]}|linebreaksbr }}}}"
        return _Piece(line, html, (found[1],))
    return _Piece(_filled(line, empty), _filled(escape(line, quote=False), empty))


def _filled(line: str, empty: frozenset[str]) -> str:
    """The line with what stands before an empty value bound to it."""
    made, position = "", 0
    for found in _NAME.finditer(line):
        before, name = line[position : found.start()], found[1]
        position = found.end()
        if name in empty:
            lead = _LEAD.search(before)[0]  # type: ignore[index]
            made += f"{before[: len(before) - len(lead)]}{{% if {name} %}}{lead}{{{{ {name} }}}}{{% endif %}}"
        else:
            made += f"{before}{{{{ {name} }}}}"
    return made + line[position:]


def _joined(pieces: Iterable[tuple[str, tuple[str, ...]]], separator: str) -> str:
    """One after the other, with the separator bound to pieces that may be left out."""
    given = list(pieces)
    # The others stand around the first that is always there.
    first = next((n for n, (_text, when) in enumerate(given) if not when), 0)
    made = ""
    for n, (text, when) in enumerate(given):
        text = f"{separator}{text}" if n > first else f"{text}{separator}" if n < first else text
        made += f"{{% if {' or '.join(when)} %}}{text}{{% endif %}}" if when else text
    return made


def _quoted(text: str) -> str:
    """As it may stand between quotes in a tag, and in HTML."""
    return escape(text).replace("\\", "&#92;").replace("%", "&#37;")


# --- Templates to words -----------------------------------------------------------------------------------------------


class _Text(str):
    """A value with a name: compared it is the value, printed it is a mark."""

    name: str

    def __str__(self) -> str:
        return f"{_OPEN}{self.name}{_CLOSE}"


class _Number(int):
    name: str

    __str__ = _Text.__str__


def read(kind: NotificationType, language: str, given: Mapping[str, str]) -> Words | None:
    """The words of a mail with these bodies in place of its files; None where they are not written in Words."""
    try:
        words = _read(kind, language, given)
    except DatabaseError:
        raise
    except Exception:
        # Whatever ails a body or a file of a deployment: its source is shown, with what is wrong.
        return None
    if not given:
        return words
    made = templates(kind, language, words)
    written = set(given) | ({"text", "html"} if {"text", "html"} & set(given) else set())
    is_same = all(part in given and given[part].strip("\n") == made[part] for part in written)
    return words if is_same else None


def _read(kind: NotificationType, language: str, given: Mapping[str, str]) -> Words:
    with translation.override(language):
        values = dict(_marked(kind))
        filled = {}
        for part in engines.PARTS:
            context = overriding.Metered(dict(values), autoescape=part == "html")
            body = given.get(part)
            template = overriding.template(kind, part, body) if body else engines.file(kind, part, language)
            filled[part] = overriding.filled(template, context)
        frame = engines.engine(html=False).from_string(_TEXT.format(_HERE)).render(Context(values, autoescape=False))
    before, _here, after = frame.strip().partition(_HERE)
    text = filled["text"].strip()
    if text.startswith(before) and text.endswith(after):
        text = text[len(before) : len(text) - len(after)]
    words = Words.typed(_named(filled["subject"]), _named(text))
    return Words(words.subject, "\n\n".join(_with_labels(words.paragraphs, _named(filled["html"]))))


def _marked(kind: NotificationType) -> Iterator[tuple[str, Any]]:
    always = render.always(kind)
    for name, value in {**always, **engines.sample(kind)}.items():
        mark: Any = value
        if name in always and name in _OF_THE_FOOT - {"unsubscribe_url"}:
            pass
        elif isinstance(value, str) or value is None:
            # Never empty: what a file leaves out then shall be seen.
            mark = _Text(value or name)
            mark.name = name
        elif isinstance(value, int) and not isinstance(value, bool):
            mark = _Number(value)
            mark.name = name
        yield name, mark


def _named(text: str) -> str:
    return re.sub(rf"{_OPEN}(\w+){_CLOSE}", r"{{ \1 }}", text)


def _with_labels(paragraphs: list[str], html: str) -> Iterator[str]:
    """Where a link is a button in the HTML, with the button's words."""
    labels: dict[str, list[str]] = {}
    for target, label in _ANCHOR.findall(html):
        labels.setdefault(unescape(target), []).append(" ".join(unescape(label).split()))
    for paragraph in paragraphs:
        found = labels.get(paragraph) if _LINK.fullmatch(paragraph) else None
        made = f"[{found.pop(0)}]({paragraph})" if found else paragraph
        yield made if _BUTTON.fullmatch(made) else paragraph
