"""Flags of the seed: codename, words and state."""

from __future__ import annotations

from typing import Any

from feature_flags.flag_document import InvalidFlag
from feature_flags.models import FeatureFlag, FlagRevision
from feature_flags.services import importing
from lib.actors import Actor
from lib.errors import ProductError
from users.importers.people import BY
from users.importers.report import Options, Report
from users.importers.source import Source


def import_flags(source: Source, options: Options) -> Report:
    """Bring the seed's flags in, each by the verb that files are imported with, so that history tells of it.

    A flag that is here already stays as it is, unless the import updates, or nobody has touched it since code declared
    it: then the seed knows better whether it is on.
    """
    report = Report()
    seen: set[str] = set()
    for row in source.flags(options.batch):
        report.counts["read"] += 1
        codename = (row["codename"] or "").strip()
        if codename.lower() in seen:
            report.reject(codename=codename, why="another flag has this name in other letter case")
            continue
        seen.add(codename.lower())
        _import(codename, row, options, report)
    return report


def _import(codename: str, row: dict[str, Any], options: Options, report: Report) -> None:
    # Upper case of letters such as `ſ` and `ı` is ASCII: to PostgreSQL they would name a flag they do not.
    ours = FeatureFlag.objects.filter(codename__iexact=codename).first() if codename.isascii() else None
    if ours is not None and not options.update and not _is_untouched(ours):
        report.counts["kept"] += 1
        return
    document = {
        "codename": ours.codename if ours else codename,
        "label": row["label"],
        "description": row["description"],
        "is_active": bool(row["is_active"]),
    }
    try:
        done = importing.import_flags(
            [document],
            dry_run=options.dry_run,
            actor=Actor("import", label=BY.label),
            reason="moved in from compose-stack",
        )
    except InvalidFlag as error:
        report.reject(codename=codename, why="; ".join(problem.message for problem in error.problems))
    except ProductError as error:
        report.reject(codename=codename, why=error.message)
    else:
        report.counts["created"] += done.created
        report.counts["updated"] += done.changed
        report.counts["kept"] += done.unchanged


def _is_untouched(flag: FeatureFlag) -> bool:
    return not flag.revisions.exclude(door=FlagRevision.Door.DECLARATION).exists()
