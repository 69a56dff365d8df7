"""What an import is asked to do, and what came of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_LONGEST = 300


@dataclass(frozen=True)
class Options:
    """`update`: rows that are here already become what the source says. `release`: people whom the seed locked out
    after five wrong passwords may sign in again."""

    dry_run: bool = False
    update: bool = False
    release: bool = True
    batch: int = 500


@dataclass
class Report:
    """Counts (`read`, `created`, `updated`, `kept`, `rejected`, …) and, by name, the rows somebody should look at."""

    counts: Counter[str] = field(default_factory=Counter)
    notes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def note(self, kind: str, **about: Any) -> None:
        """List a row; texts of any length are cut."""
        cut = {name: _cut(value) for name, value in about.items()}
        self.notes.setdefault(kind, []).append(cut)

    def reject(self, *, why: str, **about: Any) -> None:
        self.counts["rejected"] += 1
        self.note("rejected", why=why, **about)

    def as_dict(self) -> dict[str, Any]:
        """The counts as numbers; every list of rows, `rejected` always among them."""
        names = ("read", "created", "updated", "kept")
        return {**{name: self.counts[name] for name in names}, "rejected": [], **self.notes}


def _cut(value: Any) -> Any:
    return f"{value[:_LONGEST]}…" if isinstance(value, str) and len(value) > _LONGEST else value
