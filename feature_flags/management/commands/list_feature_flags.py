import json
from argparse import ArgumentParser
from typing import Any

from django.utils import timezone

from feature_flags import inspection
from feature_flags.models import FeatureFlag
from lib.commands import Command as BaseCommand
from lib.text import printable

_HEAD = ("NAME", "STATE", "ROLLOUT", "KIND", "LAST SEEN", "YES/NO 24H", "STALE")


class Command(BaseCommand):
    help = "List the feature flags, as a table or as JSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs")
        parser.add_argument("--stale", action="store_true", help="only those that have outlived their purpose")
        parser.add_argument("--archived", action="store_true", help="only those in the archive")

    def handle(self, *args: Any, **options: Any) -> None:
        flags = FeatureFlag.objects.filter(archived_at__isnull=not options["archived"]).order_by("codename")
        activities = inspection.activity(flags, timezone.now())
        known = ((flag, activities[flag.pk]) for flag in flags)
        rows = [_described(flag, activity) for flag, activity in known if activity.stale or not options["stale"]]
        # By code point: the databases disagree about the order of letters.
        rows.sort(key=lambda row: str(row["codename"]))
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2))
        elif not rows:
            self.stdout.write("No flags.")
        else:
            table = [_HEAD, *map(_cells, rows)]
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            for cells in table:
                line = "  ".join(printable(cell).ljust(width) for cell, width in zip(cells, widths, strict=True))
                self.stdout.write(line.rstrip())


def _described(flag: FeatureFlag, activity: inspection.FlagActivity) -> dict[str, Any]:
    own = ("codename", "label", "is_active", "is_archived", "is_protected", "exposed", "kind", "value_type", "owner")
    document = flag.document
    return {
        **{name: document[name] for name in own},
        "rollout_percent": document["rollout_percent"],
        "rules": len(document["rules"]),
        "created_at": flag.created_at.isoformat(),
        "last_seen_at": activity.last_seen_at.isoformat() if activity.last_seen_at else None,
        "yes_24h": activity.yes,
        "no_24h": activity.no,
        "stale": list(activity.stale),
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    rules = "1 rule" if row["rules"] == 1 else f"{row['rules']} rules"
    return (
        row["codename"],
        "archived" if row["is_archived"] else "on" if row["is_active"] else "off",
        rules if row["rules"] else f"{row['rollout_percent']} %",
        row["kind"],
        (row["last_seen_at"] or "never")[:16].replace("T", " "),
        f"{row['yes_24h']}/{row['no_24h']}",
        "; ".join(row["stale"]),
    )
