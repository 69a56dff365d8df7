"""What several commands of flags share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from feature_flags import lifecycle
from feature_flags.flag_document import InvalidFlag, Problem
from feature_flags.models import FeatureFlag
from lib.db import batches
from lib.text import printable

_SHOWN = 50


def lives(flags: Sequence[FeatureFlag], now: datetime) -> Iterator[tuple[FeatureFlag, lifecycle.Life]]:
    """Each flag with its life. In batches: a database takes only so many names in one question."""
    for batch in batches(flags):
        found = lifecycle.lives(batch, now)
        yield from ((flag, found[flag.pk]) for flag in batch)


def all_problems(error: InvalidFlag) -> str:
    """Every problem on a line of its own; the first word of a place is the flag."""
    lines = sentences(error.problems)
    more = [f"… and {len(lines) - _SHOWN} more."] if len(lines) > _SHOWN else []
    return "\n".join([*lines[:_SHOWN], *more])


def sentences(problems: Iterable[Problem]) -> list[str]:
    return [printable(_sentence(*map(str, problem.place), message=problem.message)) for problem in problems]


def _sentence(name: str = "", *place: str, message: str) -> str:
    """`FF_A: rules.0.rollout_percent: …`"""
    return ": ".join(filter(None, (name, ".".join(place), message)))
