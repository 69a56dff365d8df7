import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from lib.commands import whole_number_from
from users.management.commands._people import AccountCommand
from users.services.import_source import Source, SourceError
from users.services.importing import Options, Report, import_flags, import_users

_SHOWN = 20


class Command(AccountCommand):
    help = (
        "Bring in the users and flags of a compose-stack/fastapi-postgres-asyncio database. Exit 1: finished, and some "
        "rows were rejected. Running it again creates no account twice."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--dsn", metavar="URL", help="stays in the shell's history; prefer --dsn-env")
        source.add_argument("--dsn-env", metavar="NAME", help="the environment variable that holds the address")
        parser.add_argument("--dry-run", action="store_true", help="tell what would happen and write nothing")
        parser.add_argument(
            "--on-conflict",
            choices=("skip", "update"),
            default="skip",
            help="accounts and flags that are here already stay as they are, or become what the source says",
        )
        parser.add_argument("--only", choices=("users", "flags"))
        parser.add_argument(
            "--lockouts",
            choices=("release", "keep"),
            default="release",
            help="whom five wrong passwords deactivated may sign in again, or may not",
        )
        parser.add_argument(
            "--batch", type=whole_number_from(1, 10_000), default=500, metavar="N", help="rows a transaction"
        )
        parser.add_argument("--report", metavar="FILE", help="write the whole report there, as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = Options(
            dry_run=options["dry_run"],
            update=options["on_conflict"] == "update",
            release=options["lockouts"] == "release",
            batch=options["batch"],
        )
        dsn = options["dsn"]
        if dsn is not None:
            self.stderr.write("An address given as an argument stays in the shell's history; prefer --dsn-env.")
        elif not (dsn := os.environ.get(options["dsn_env"], "").strip()):
            raise CommandError(f"The environment variable {options['dsn_env']!r} is not set.", returncode=2)
        verbs = {"users": import_users, "flags": import_flags}
        tables = {"users": "users", "flags": "feature_flags"}
        chosen = [name for name in verbs if options["only"] in (None, name)]
        # Opened first: an import of an hour must not end with a report that cannot be written.
        file: Any = nullcontext()
        try:
            if options["report"]:
                file = Path(options["report"]).open("w", encoding="utf-8")  # noqa: SIM115 (closed below)
        except (OSError, ValueError) as error:
            message = f"{options['report']!r} cannot be written ({type(error).__name__})."
            raise CommandError(message, returncode=2) from None
        with file:
            try:
                with Source(dsn) as source:
                    source.check([tables[name] for name in chosen])
                    reports = {name: verbs[name](source, wanted) for name in chosen}
            except SourceError as error:
                raise CommandError(str(error), returncode=2) from None
            facts = {"dry_run": wanted.dry_run, **{name: report.as_dict() for name, report in reports.items()}}
            if options["report"]:
                json.dump(facts, file, indent=2, default=str)
                file.write("\n")
        self.say(options, facts, *self._lines(reports, wanted))
        if rejected := sum(report.counts["rejected"] for report in reports.values()):
            raise CommandError(f"{rejected} row{'' if rejected == 1 else 's'} rejected.")

    def _lines(self, reports: dict[str, Report], wanted: Options) -> list[str]:
        lines = ["Dry run, nothing is written."] if wanted.dry_run else []
        for name, report in reports.items():
            counted = ", ".join(f"{report.counts[what]} {what}" for what in ("read", "created", "updated", "kept"))
            lines.append(f"{name}: {counted}, {report.counts['rejected']} rejected")
            for kind, notes in report.notes.items():
                lines += [f"  {kind}: {json.dumps(note, default=str)}" for note in notes[:_SHOWN]]
                if len(notes) > _SHOWN:
                    lines.append(f"  {kind}: {len(notes) - _SHOWN} more; --report FILE tells all")
        return lines
