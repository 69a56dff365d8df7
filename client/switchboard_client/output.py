"""Answers for people: a table of a list, lines of one thing; nothing in them steers the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from switchboard_client.errors import Misused, plain


def table(rows: Sequence[dict[str, Any]], columns: str | None, room: float) -> list[str]:
    """Under a head; all columns that have room unless some are chosen, but not those that are empty everywhere.

    Raises: Misused for a column that there is not.
    """
    if not rows:
        return []
    names = columns.split(",") if columns else list(rows[0])
    if wrong := set(names) - rows[0].keys():
        raise Misused(f"--columns: there is no {min(wrong)} among {', '.join(rows[0])}")
    cells = [[cell(row.get(name)) for row in rows] for name in names]
    shown = [[name.upper(), *column] for name, column in zip(names, cells, strict=True) if columns or any(column)]
    widths = [max(map(len, column)) + 2 for column in shown]
    while not columns and len(widths) > 1 and sum(widths) - 2 > room:
        widths.pop()
    return ["".join(map(str.ljust, line, widths)).rstrip() for line in zip(*shown, strict=True)]


def lines(answer: Any) -> list[str]:
    """One thing: a line for each of its members; the message alone of what a verb answers."""
    if answer.keys() == {"changed", "message"}:
        return [plain(answer["message"])]
    return [f"{plain(name):22} {_text(value)}".rstrip() for name, value in answer.items()]


def _text(value: Any) -> str:
    if isinstance(value, str) and "\n" in value:
        return f"\n{'':23}".join(map(plain, value.splitlines()))
    return cell(value)


def cell(value: Any) -> str:
    if value is None or value == {}:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(each, (list, dict)) for each in value):
        return ", ".join(map(cell, value))
    return plain(json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value)
