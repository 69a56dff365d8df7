"""What is wrong with the stored flags: unreadable, read in two ways, changed behind the verbs, or outlived."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from django.db.models import Max, Q, Sum
from django.utils.translation import gettext as _

from feature_flags import descriptions, flag_document
from feature_flags.engine.compiler import compile_flag
from feature_flags.flag_document import Document, Problem
from feature_flags.models import FeatureFlag, FlagRevision, FlagSeen, FlagUsage, Segment
from feature_flags.unleash_feature import definition, wire_constraint
from lib import hourly
from lib.db import batches

NO_HISTORY = "it has no history: no verb has written it"
SAME_ANSWER_DAYS = 14
UNSEEN_DAYS = 30


def broken(documents: Mapping[int, Document]) -> dict[str, str]:
    """Why, by codename. Archived flags are left out."""
    segments, ids = {}, {}
    for pk, name, constraints in Segment.objects.values_list("pk", "name", "constraints"):
        ids[name] = pk
        try:
            segments[pk] = [wire_constraint(constraint) for constraint in constraints]
        except (TypeError, KeyError, AttributeError):
            segments[pk] = [{"contextName": "", "operator": "BROKEN"}]
    found = {}
    for document in documents.values():
        if document["is_archived"]:
            continue
        try:
            error = compile_flag(definition(document, ids), segments).error
        except (TypeError, KeyError, AttributeError, ValueError) as problem:
            error = f"cannot be read ({type(problem).__name__}: {problem})"
        if error:
            found[document["codename"]] = error
    return found


def ambiguous(documents: Mapping[int, Document]) -> dict[str, str]:
    """By codename (or `segment NAME`), what SDKs read in two ways, and what to write instead."""
    living = {document["codename"]: document for document in documents.values() if not document["is_archived"]}
    segments = {f"segment {segment.name}": segment.document for segment in Segment.objects.all()}
    found = {name: list(flag_document.ambiguities(document)) for name, document in {**living, **segments}.items()}
    return {name: " ".join(str(Problem(*one[:2])) for one in listed) for name, listed in found.items() if listed}


def drifted(documents: Mapping[int, Document]) -> dict[str, str]:
    """By codename (or `segment NAME`), how the rows differ from what the last verb left."""
    found = dict(_differences("flag", documents))
    segments = _differences("segment", {segment.pk: segment.document for segment in Segment.objects.all()})
    return found | {f"segment {name}": difference for name, difference in segments}


def _differences(subject: str, documents: Mapping[int, Document]) -> Iterator[tuple[str, str]]:
    key = f"{subject}_id"
    rows = FlagRevision.objects.filter(subject=subject, **{f"{key}__isnull": False})
    newest = dict(rows.values(key).annotate(newest=Max("pk")).values_list(key, "newest"))
    snapshots: dict[int, Document] = {}
    for pks in batches([newest[pk] for pk in documents if pk in newest]):
        snapshots.update(FlagRevision.objects.filter(pk__in=pks).values_list("pk", "snapshot"))
    renames = FlagRevision.objects.filter(action=FlagRevision.Action.RENAME).order_by("pk")
    renamed = [(pk, *diff["codename"]) for pk, diff in renames.values_list("pk", "diff") if "codename" in diff]
    for pk, document in documents.items():
        name = document.get("codename") or document["name"]
        if pk not in newest:
            yield name, NO_HISTORY
            continue
        # Members that came with a later version of the document are in no older snapshot.
        last = snapshots[newest[pk]]
        snapshot = {member: last[member] for member in document if member in last}
        if "prerequisites" in snapshot:
            # A renamed parent has another name in its children's documents, without a revision of theirs.
            links = [dict(link) for link in snapshot["prerequisites"]]
            for renamed_in, old, new in renamed:
                for link in links:
                    if renamed_in > newest[pk] and link["parent"] == old:
                        link["parent"] = new
            snapshot["prerequisites"] = sorted(links, key=lambda link: str(link["parent"]))
        if changes := flag_document.diff(snapshot, {member: document[member] for member in snapshot}):
            yield name, "; ".join(descriptions.describe_changes(changes))


# --- When a flag has outlived its purpose -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FlagActivity:
    """What is known about the use of one flag: `yes` and `no` of the last 24 hours, and the `yes` of each of these."""

    last_seen_at: datetime | None
    yes: int
    no: int
    hours: tuple[int, ...]
    #: Why it is stale, as sentences' ends: "older than the 40 days of a release flag". Empty: it is not.
    stale: tuple[str, ...]
    stale_since: datetime | None = None


def activity(flags: Collection[FeatureFlag], now: datetime) -> dict[int, FlagActivity]:
    """By primary key, with two queries for each 500 flags: a database takes only so many names in one."""
    found = {}
    for some in batches(list(flags)):
        names = [flag.codename for flag in some]
        seen = {row.codename: row for row in FlagSeen.objects.filter(codename__in=names)}
        day = _last_day(names, now)
        for flag in some:
            last = seen.get(flag.codename)
            reasons = _reasons(flag, last, now)
            by_hour = day.get(flag.codename, [(0, 0)] * 24)
            found[flag.pk] = FlagActivity(
                last.last_seen_at if last else None,
                sum(yes for yes, _no in by_hour),
                sum(no for _yes, no in by_hour),
                tuple(yes for yes, _no in by_hour),
                tuple(reason for _since, reason in reasons),
                min((since for since, _reason in reasons), default=None),
            )
    return found


def _last_day(names: Collection[str], now: datetime) -> dict[str, list[tuple[int, int]]]:
    """By codename the yes and no of each of the last 24 hours, this one last."""
    hours = hourly.last_hours(now, 24)
    rows = FlagUsage.objects.filter(codename__in=names, hour__gte=min(hours), variant="").order_by()
    sums = rows.values_list("codename", "hour").annotate(yes=Sum("yes"), no=Sum("no"))
    found: dict[str, list[tuple[int, int]]] = {}
    for codename, hour, yes, no in sums:
        if hour in hours:
            found.setdefault(codename, [(0, 0)] * 24)[hours[hour]] = (yes, no)
    return found


def _reasons(flag: FeatureFlag, seen: FlagSeen | None, now: datetime) -> list[tuple[datetime, str]]:
    """Since when at least, and why; `stale` asks the database the same."""
    if flag.is_archived:
        return []
    reasons = []
    days = FeatureFlag.EXPECTED_DAYS.get(flag.kind)
    if days is not None and now - flag.created_at > timedelta(days=days):
        since = flag.created_at + timedelta(days=days)
        reasons.append(
            (
                since,
                _("older than the %(days)d days of its kind (%(kind)s)")
                % {"days": days, "kind": flag.get_kind_display()},
            )
        )
    fortnight = now - timedelta(days=SAME_ANSWER_DAYS)
    # Kinds that may stay for good are meant to give the same answer.
    if days is not None and seen is not None and seen.first_seen_at < fortnight:
        is_yes, is_no = (at is not None and at > fortnight for at in (seen.yes_at, seen.no_at))
        if is_yes != is_no:
            # The other answer may be older than what is known of it.
            values = {"days": SAME_ANSWER_DAYS, "answer": _("yes") if is_yes else _("no")}
            reasons.append((now, _("the same answer for %(days)d days (%(answer)s)") % values))
    last = seen.last_seen_at if seen else flag.created_at
    if now - last > timedelta(days=UNSEEN_DAYS):
        reasons.append(
            (last + timedelta(days=UNSEEN_DAYS), _("not asked for in %(days)d days") % {"days": UNSEEN_DAYS})
        )
    if flag.review_on is not None and flag.review_on < now.date():
        since = datetime.combine(flag.review_on + timedelta(days=1), time(), UTC)
        reasons.append((since, _("its review was due on %(day)s") % {"day": f"{flag.review_on:%Y-%m-%d}"}))
    return reasons


def stale(now: datetime) -> Q:
    """The flags that `_reasons` finds a reason for, asked of the database; for `FeatureFlag`."""
    # By name, not by a query for each flag: for these PostgreSQL would expect so much work that it compiles them (JIT).
    seen = FlagSeen.objects.values("codename")
    fortnight, unseen = now - timedelta(days=SAME_ANSWER_DAYS), now - timedelta(days=UNSEEN_DAYS)
    had_yes, had_no = Q(yes_at__gt=fortnight), Q(no_at__gt=fortnight)
    is_one = (had_yes & ~had_no) | (had_no & ~had_yes)
    too_old = Q()
    for kind, days in FeatureFlag.EXPECTED_DAYS.items():
        too_old |= Q(kind=kind, created_at__lt=now - timedelta(days=days))
    reasons = (
        too_old
        | Q(review_on__lt=now.date())
        | Q(codename__in=seen.filter(is_one, first_seen_at__lt=fortnight), kind__in=FeatureFlag.EXPECTED_DAYS)
        | Q(codename__in=seen.filter(last_seen_at__lt=unseen))
        | (~Q(codename__in=seen) & Q(created_at__lt=unseen))
    )
    return reasons & Q(archived_at=None)
