from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from feature_flags import inspection
from feature_flags.management.commands._shared import lives
from feature_flags.models import FeatureFlag, UnknownFlag
from feature_flags.runtime import snapshot
from lib.commands import Command as BaseCommand
from lib.commands import whole_number_from
from lib.text import printable


class Command(BaseCommand):
    help = (
        "Look for flags that are broken, changed behind the verbs, read in two ways, or stale, and for unknown names."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--max-stale",
            type=whole_number_from(0, 36_500),
            metavar="DAYS",
            help="exit 1 also when a flag has been stale for so many days",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        # One moment: a change between two questions is no drift.
        with snapshot.one_view():
            documents = FeatureFlag.objects.documents()
            broken, drifted = inspection.broken(documents), inspection.drifted(documents)
            ambiguous = inspection.ambiguous(documents)
        stale = dict(_stale(timezone.now(), options["max_stale"]))
        overdue = [name for name, (_, is_overdue) in stale.items() if is_overdue]
        unknown = dict(_unknown())
        self._tell("broken", broken)
        self._tell("drifted", drifted)
        self._tell("ambiguous", ambiguous)
        self._tell("stale", {name: text for name, (text, _) in stale.items()})
        self._tell("unknown", unknown)
        self.stdout.write(
            f"Flags: {len(documents)}. Broken: {len(broken)}, drifted: {len(drifted)}, "
            f"ambiguous: {len(ambiguous)}, stale: {len(stale)}, unknown names: {len(unknown)}."
        )
        if broken or drifted or overdue:
            raise CommandError(_summary(len(broken), len(drifted), len(overdue), options["max_stale"]))

    def _tell(self, what: str, findings: dict[str, str]) -> None:
        for name, text in sorted(findings.items()):
            self.stdout.write(printable(f"{what}: {name}: {text}"))


def _summary(broken: int, drifted: int, overdue: int, days: int | None) -> str:
    late = f"{overdue} stale for {days} days or more" if overdue else ""
    found = (f"{broken} broken" if broken else "", f"{drifted} drifted" if drifted else "", late)
    return f"{', '.join(filter(None, found))}."


def _stale(now: datetime, days: int | None) -> Iterator[tuple[str, tuple[str, bool]]]:
    """By codename: why, and whether that has gone on for too long."""
    flags = list(FeatureFlag.objects.filter(archived_at=None).order_by("codename"))
    for flag, life in lives(flags, now):
        if life.stale and life.stale_since:
            is_overdue = days is not None and now - life.stale_since >= timedelta(days=days)
            since = f" (for {(now - life.stale_since).days} days)" if is_overdue else ""
            yield flag.codename, ("; ".join(life.stale) + since, is_overdue)


def _unknown() -> Iterator[tuple[str, str]]:
    asked: dict[str, list[str]] = {}
    for row in UnknownFlag.objects.order_by("codename", "app_name"):
        asked.setdefault(row.codename, []).append(
            f"{row.count} times by {row.app_name}, last on {row.last_seen_at:%Y-%m-%d}"
        )
    return ((name, f"asked for {'; '.join(times)}") for name, times in asked.items())
