from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from feature_flags import inspection
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
        days = options["max_stale"]
        stale, overdue = _stale(timezone.now(), days)
        asked: dict[str, list[str]] = {}
        for row in UnknownFlag.objects.order_by("codename", "app_name"):
            times = f"{row.count} times by {row.app_name}, last on {row.last_seen_at:%Y-%m-%d}"
            asked.setdefault(row.codename, []).append(times)
        unknown = {name: f"asked for {'; '.join(times)}" for name, times in asked.items()}
        every = {"broken": broken, "drifted": drifted, "ambiguous": ambiguous, "stale": stale, "unknown": unknown}
        for what, findings in every.items():
            for name, text in sorted(findings.items()):
                self.stdout.write(printable(f"{what}: {name}: {text}"))
        self.stdout.write(
            f"Flags: {len(documents)}. Broken: {len(broken)}, drifted: {len(drifted)}, "
            f"ambiguous: {len(ambiguous)}, stale: {len(stale)}, unknown names: {len(unknown)}."
        )
        late = f"{overdue} stale for {days} days or more" if overdue else ""
        found = (f"{len(broken)} broken" if broken else "", f"{len(drifted)} drifted" if drifted else "", late)
        if any(found):
            raise CommandError(f"{', '.join(filter(None, found))}.")


def _stale(now: datetime, days: int | None) -> tuple[dict[str, str], int]:
    """Why, by codename; and how many have been so for `days` or more."""
    flags = list(FeatureFlag.objects.filter(archived_at=None))
    activities = inspection.activity(flags, now)
    found, overdue = {}, 0
    for flag in flags:
        activity = activities[flag.pk]
        if activity.stale and activity.stale_since:
            found[flag.codename] = "; ".join(activity.stale)
            if days is not None and now - activity.stale_since >= timedelta(days=days):
                overdue += 1
                found[flag.codename] += f" (for {(now - activity.stale_since).days} days)"
    return found, overdue
