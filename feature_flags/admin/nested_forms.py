"""Forms in forms without script: rows that are added, moved and removed by submit buttons.

A `Shape` says which form a part has and which lists of parts it holds. Field names carry the way to the part:
`rules-0-constraints-1-values`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django import forms

from feature_flags.flag_document import Document, Place

#: The name of the buttons that change rows; their values are `add rules`, `up rules-1`, `remove rules-0-constraints-2`.
PRESS = "_rows"
_WAY = re.compile(r"[a-z]+(-[0-9]{1,6}-[a-z]+)*(-[0-9]{1,6})?")


class PartForm(forms.Form):
    """One row or page. Checks what a browser can send wrong; everything else is the services' to refuse."""

    use_required_attribute = False
    required_css_class = "required"
    error_css_class = "errors"
    #: Where a problem's member has another name here.
    aliases: Mapping[str, str] = {}
    #: The field that gets the focus in a new row, or on a new page.
    first = ""

    @classmethod
    def draw(cls, part: Mapping[str, Any]) -> dict[str, Any]:
        """A part of the document as the values of the fields."""
        return {name: part.get(name, field.initial) for name, field in cls.base_fields.items()}

    def offer(self, options: Mapping[str, Any]) -> None:
        """Choices and hints that are known only when the page is drawn."""

    def part(self, value_type: str) -> Document:
        """The part of the document the fields say; lists are added by the node."""
        return dict(self.cleaned_data)


@dataclass(frozen=True)
class Shape:
    form: type[PartForm]
    lists: Mapping[str, Shape] = field(default_factory=dict)


@dataclass
class Raw:
    """The values of the fields before validation, typed or initial."""

    values: dict[str, Any]
    lists: dict[str, list[Raw]]


def draw(shape: Shape, part: Mapping[str, Any]) -> Raw:
    lists = {name: [draw(below, row) for row in part.get(name) or ()] for name, below in shape.lists.items()}
    return Raw(shape.form.draw(part), lists)


def read(shape: Shape, data: Any, prefix: str = "") -> Raw:
    """What was sent. Rows may be numbered with gaps; they keep their order."""
    values, lists = {}, {}
    for name, found in shape.form.base_fields.items():
        value = found.widget.value_from_datadict(data, {}, f"{prefix}{name}")
        # A browser sends every line break as two characters.
        values[name] = value.replace("\r\n", "\n") if isinstance(value, str) else value
    for name, below in shape.lists.items():
        pattern = re.compile(rf"{re.escape(prefix + name)}-(\d{{1,6}})-")
        numbers = {int(match[1]) for key in data if (match := pattern.match(key))}
        lists[name] = [read(below, data, f"{prefix}{name}-{number}-") for number in sorted(numbers)]
    return Raw(values, lists)


def press(shape: Shape, raw: Raw, button: str, new: Mapping[str, Any]) -> str:
    """Do what a row button says; return the name of the field or the value of the button to focus on.

    `new` are values of a new row's fields. Anything but one of our buttons does nothing.
    """
    verb, _blank, way = button.partition(" ")
    if not _WAY.fullmatch(way):
        return ""
    steps: list[str] = way.split("-")
    number = int(steps.pop()) if len(steps) % 2 == 0 else None
    *above, name = steps
    for step, index in zip(above[::2], map(int, above[1::2]), strict=True):
        found = raw.lists.get(step, [])
        if index >= len(found):
            return ""
        shape, raw = shape.lists[step], found[index]
    if name not in raw.lists:
        return ""
    rows, shape, path = raw.lists[name], shape.lists[name], "-".join([*above, name])
    if verb == "add" and number is None:
        rows.append(draw(shape, {**new, **{name: [] for name in shape.lists}}))
        return f"{path}-{len(rows) - 1}-{shape.form.first}"
    if number is None or number >= len(rows):
        return ""
    if verb == "remove":
        del rows[number]
        return f"remove {path}-{min(number, len(rows) - 1)}" if rows else f"add {path}"
    to = number + {"up": -1, "down": 1}.get(verb, 0)
    if to == number or not 0 <= to < len(rows):
        return ""
    rows[number], rows[to] = rows[to], rows[number]
    if to in (0, len(rows) - 1):
        # At an end, the button that was pressed is no more.
        verb = "down" if to == 0 else "up"
    return f"{verb} {path}-{to}"


class Node:
    """A part as it is shown: its form and, by name, its rows. `is_sent`: to be validated, not only shown."""

    def __init__(
        self, shape: Shape, raw: Raw, *, is_sent: bool, options: Mapping[str, Any], way: str = "", number: int = 0
    ) -> None:
        self.way, self.number = way, number
        prefix = f"{way}-" if way else ""
        if is_sent:
            data = {f"{prefix}{name}": value for name, value in raw.values.items()}
            self.form = shape.form(data, prefix=way or None)
        else:
            self.form = shape.form(initial=dict(raw.values), prefix=way or None)
        self.form.offer(options)
        self.lists = {
            name: [
                Node(shape.lists[name], row, is_sent=is_sent, options=options, way=f"{prefix}{name}-{i}", number=i + 1)
                for i, row in enumerate(rows)
            ]
            for name, rows in raw.lists.items()
        }
        self.paths = {name: f"{prefix}{name}" for name in raw.lists}
        self.problems: dict[str, list[str]] = {}
        #: Of a row that folds: what it says, and whether it is unfolded.
        self.sentence, self.is_open = "", False

    def nodes(self) -> Iterator[Node]:
        yield self
        for rows in self.lists.values():
            for row in rows:
                yield from row.nodes()

    def is_valid(self) -> bool:
        # All of them: anyone who corrects one field wants to see the next mistake, too.
        judged = [node.form.is_valid() for node in self.nodes()]
        return all(judged)

    @property
    def has_errors(self) -> bool:
        return any(node.form.errors or node.problems for node in self.nodes())

    def document(self, value_type: str) -> Document:
        lists = {name: [row.document(value_type) for row in rows] for name, rows in self.lists.items()}
        return {**self.form.part(value_type), **lists}

    def blame(self, place: Place, message: str) -> None:
        """Put a problem that the services found beside the very field."""
        head, rest = (str(place[0]), place[1:]) if place else ("", ())
        rows = self.lists.get(head)
        if rows is not None and rest and isinstance(rest[0], int) and rest[0] < len(rows):
            rows[rest[0]].blame(rest[1:], message)
        elif rows is not None:
            self.problems.setdefault(head, []).append(message)
        else:
            inner = ".".join([head, *map(str, rest[:1])])
            name = next((n for n in (inner, head) if n in self.form.aliases or n in self.form.fields), "")
            self.form.add_error(self.form.aliases.get(name, name) or None, message)

    def has_problem(self, *names: str) -> bool:
        """Whether one of these fields or lists is wrong; asked to unfold its section."""
        own = any(name in self.form.errors or self.problems.get(name) for name in names)
        return own or any(row.has_errors for name in names for row in self.lists.get(name, ()))

    def focus(self, name: str) -> None:
        for node in self.nodes():
            short = name.removeprefix(f"{node.way}-" if node.way else "")
            if short in node.form.fields and node.form.add_prefix(short) == name:
                node.form.fields[short].widget.attrs["autofocus"] = True
