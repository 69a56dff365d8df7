"""Files that flags come from and go to: one module a format, `load` and (where we write it) `dump`.

`load(text)` gives `Contents`; `warn` reports what comes in otherwise than it stood in the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

from feature_flags.flag_document import Document, InvalidFlag, Problem
from lib.errors import ProductError

Warn = Callable[[str], object]


class Contents(NamedTuple):
    """Documents in the form of `flag_document`, not checked yet.

    Members unknown to a format are left out, so that an import keeps them. `problems`: why flags and segments of the
    file are not among these; the name comes first in their place.
    """

    flags: list[Document]
    segments: list[Document]
    problems: Sequence[Problem] = ()


def refuse(sentence: str) -> NoReturn:
    """The file as a whole is none of ours."""
    raise ProductError("FILE_INVALID", sentence)


def parse(text: str) -> Any:
    """The value of a JSON text; FILE_INVALID."""
    if "\0" in text:
        refuse("The file holds NUL characters: it is no JSON text.")

    def no_number(word: str) -> NoReturn:
        raise ValueError(f"{word} is no number")

    try:
        return json.loads(text, parse_constant=no_number)
    except RecursionError:
        refuse("The file is nested too deeply.")
    except json.JSONDecodeError as error:
        refuse(f"The file is not JSON: {error.msg} in line {error.lineno}, column {error.colno}.")
    except ValueError as error:
        # A number of thousands of digits, or none at all.
        refuse(f"The file is not JSON: {error}.")


def listed(data: Any, key: str) -> list[Any]:
    """The list under this key; FILE_INVALID for anything else."""
    found = data.get(key)
    if not isinstance(found, list):
        refuse(f"The file holds no list of {key}.")
    return found


def name_of(data: Any, key: str, number: int, what: str = "flag") -> str:
    """What to call one entry of a list: its name, or its place in the list."""
    name = data.get(key) if isinstance(data, dict) else None
    return name if isinstance(name, str) and name else f"{what} {number}"


class Findings:
    """Collects the problems of many entries, so that all are reported at once."""

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self.problems = list(problems)

    @contextmanager
    def of(self, *place: str | int) -> Iterator[None]:
        """A refusal inside belongs to this place."""
        try:
            yield
        except InvalidFlag as error:
            self.problems += [Problem((*place, *problem.place), problem.message) for problem in error.problems]
        except ProductError as error:
            self.problems.append(Problem(place, error.message))

    def names(self) -> set[str]:
        """What has problems, by `key`."""
        return {key(str(problem.place[0])) for problem in self.problems if problem.place}

    def refuse(self) -> None:
        """InvalidFlag with all of them; nothing when there are none."""
        if self.problems:
            raise InvalidFlag(self.problems)


def key(name: str) -> str:
    """What identifies a thing of a file: flags regardless of letter case, segments (`segment Beta`) with it."""
    return name if name.startswith("segment ") else name.lower()


def twice(names: Sequence[str]) -> Iterator[Problem]:
    """Names that are the same but for letter case: only one of them can be a codename."""
    seen: dict[str, str] = {}
    for name in names:
        if first := seen.get(name.lower()):
            message = "It stands there twice." if first == name else f"It differs from {first} in letter case only."
            yield Problem((name,), message)
        seen.setdefault(name.lower(), name)
