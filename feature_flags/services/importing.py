"""The verb that brings in a whole file of flags and segments: what of it can be taken, or all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Unpack

from django.db import transaction

from feature_flags import declarations, descriptions, flag_document
from feature_flags.flag_document import Document, InvalidFlag, Problem
from feature_flags.formats.reading import Findings, key, name_of, twice
from feature_flags.models import FeatureFlag, FlagPrerequisite, FlagRevision, FlagSchedule, Segment, Tag
from feature_flags.services import editing, segments, storage
from feature_flags.services.revisions import Who, touch
from lib.db import batches
from lib.errors import ProductError

Action = FlagRevision.Action
#: More changes than this are told as "read everything": cheaper for the readers than a list of so many.
# No list in a statement is longer, either.
_MANY = 1_000


@dataclass
class Report:
    """What an import has changed, or would change: counts of flags, and `lines` such as `FF_A: active: off → on`.

    `problems` say what was not taken, and why.
    """

    lines: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    created: int = 0
    changed: int = 0
    archived: int = 0
    unchanged: int = 0


@transaction.atomic
def import_flags(
    documents: Sequence[Mapping[str, Any]],
    segment_documents: Sequence[Mapping[str, Any]] = (),
    problems: Sequence[Problem] = (),
    *,
    strict: bool = True,
    dry_run: bool = False,
    prune: bool = False,
    **who: Unpack[Who],
) -> Report:
    """Make the flags and segments of these names what the documents say; members a document lacks stay as they are.

    Archived flags that are named come back. `prune` archives the flags that are not named, but for declared ones.
    `dry_run` does all of it and takes it back. `problems` are what the reader of the file has found already.

    InvalidFlag with every problem, the flag's name first in its place, and nothing is written. Not `strict`: whatever
    has problems is left as it is, with all that hangs on it, and the report tells them.
    """
    run = _Import(who, problems, strict=strict)
    run.check(documents, segment_documents)
    if strict:
        run.findings.refuse()
    run.write()
    if prune:
        run.prune()
    if strict:
        run.findings.refuse()
    run.report.problems = run.findings.problems
    if dry_run:
        transaction.set_rollback(True)
    else:
        run.touch()
    return run.report


class _Import:
    """One run. Every row it may write is locked before the first is written: flags first, as everywhere."""

    def __init__(self, who: Who, problems: Sequence[Problem], *, strict: bool) -> None:
        self.who, self.strict = who, strict
        self.findings = Findings(problems)
        self.report = Report()
        # Not only those named: parents, and what prune puts away. Always in the order of keys, see storage.lock.
        locked = FeatureFlag.objects.select_for_update(no_key=True).order_by("pk")
        self.flags = {flag.codename: flag for flag in locked}
        self.segments = {row.name: row for row in Segment.objects.select_for_update(no_key=True).order_by("pk")}
        stored = _read([flag.pk for flag in self.flags.values()])
        self.before = {codename: stored[flag.pk] for codename, flag in self.flags.items()}
        self.wanted: dict[str, Document] = {}
        self.wanted_segments: dict[str, Document] = {}
        #: What the file speaks of, by `key`; and what of it is in.
        self.named = self.findings.names()
        self.taken: set[str] = set()
        self.moved: list[int] = []
        self.moved_segments: list[int] = []

    # --- What is wanted -----------------------------------------------------------------------------------------------

    def check(self, documents: Sequence[Mapping[str, Any]], segment_documents: Sequence[Mapping[str, Any]]) -> None:
        for number, given in enumerate(segment_documents, start=1):
            name = name_of(given, "name", number, "segment")
            with self.findings.of(f"segment {name}"):
                if name in self.wanted_segments:
                    raise InvalidFlag([Problem((), "It stands there twice.")])
                self.named.add(f"segment {name}")
                self.wanted_segments[name] = self._segment(name, given)
        names = [name_of(given, "codename", number) for number, given in enumerate(documents, start=1)]
        self.findings.problems += twice(names)
        ours = {codename.lower(): codename for codename in self.flags}
        for name, given in zip(names, documents, strict=True):
            with self.findings.of(name):
                _refuse_twin(name, ours.get(name.lower(), name))
                self.wanted[name] = self._flag(name, given)
        for name in self.wanted:
            with self.findings.of(name):
                self._refuse_chain(name)
        self.named.update(map(key, names))
        bad = self.findings.names()
        self.wanted = {name: found for name, found in self.wanted.items() if key(name) not in bad}
        self.wanted_segments = {
            name: found for name, found in self.wanted_segments.items() if f"segment {name}" not in bad
        }

    def _segment(self, name: str, given: Mapping[str, Any]) -> Document:
        stored = self.segments.get(name)
        before = segments.segment_document(stored) if stored else {}
        return flag_document.checked_segment({**before, **_mapping(given)}, stored=before)

    def _flag(self, name: str, given: Mapping[str, Any]) -> Document:
        before = self.before.get(name) or _protected(given)
        document = {**before, "is_archived": False, **_mapping(given)}
        # One that is as it was is not measured by rules that may be newer than it is.
        return document if document == before else flag_document.checked(document, stored=before)

    def _refuse_chain(self, name: str) -> None:
        """Asked of the file first: while writing, a parent that comes later would be said not to exist."""
        for prerequisite in self.wanted[name]["prerequisites"]:
            parent = prerequisite["parent"]
            document = self.wanted.get(parent) or self.before.get(parent)
            if document and document["prerequisites"]:
                raise storage.chain(f"{parent} requires another flag itself.")

    # --- Writing ------------------------------------------------------------------------------------------------------

    def write(self) -> None:
        for name, document in sorted(self.wanted_segments.items()):
            with self._taking(f"segment {name}"):
                self._write_segment(name, document)
        # Sorted and at once: two imports that meet new names in different orders would wait for each other.
        tags = sorted({tag for document in self.wanted.values() for tag in document["tags"]})
        Tag.objects.bulk_create([Tag(name=tag) for tag in tags], ignore_conflicts=True)
        for name in sorted(self.wanted, key=self._turn):
            with self._taking(name):
                self._refuse_untaken(self.wanted[name])
                self._write_flag(name, self.wanted[name])

    @contextmanager
    def _taking(self, name: str) -> Iterator[None]:
        """What is done inside is done wholly, or not at all and told."""
        # Strict takes everything back in the end.
        with self.findings.of(name), nullcontext() if self.strict else transaction.atomic():
            yield
            self.taken.add(name)

    def _turn(self, name: str) -> tuple[bool, bool, str]:
        """Flags that require none come first: they are the parents of the others. They are the last to be put away."""
        before = self.before.get(name)
        leaves = self.wanted[name]["is_archived"] and before is not None and not before["is_archived"]
        has_parents = bool((before if before and leaves else self.wanted[name])["prerequisites"])
        return leaves, has_parents != leaves, name

    def _refuse_untaken(self, document: Document) -> None:
        """With an older parent or segment than the file's it would give other answers than the file."""
        parents = [] if document["is_archived"] else [part["parent"] for part in document["prerequisites"]]
        used = [f"segment {name}" for rule in document["rules"] for name in rule["segments"]]
        needed = dict.fromkeys([*parents, *used])
        if missing := [name for name in needed if key(name) in self.named and name not in self.taken]:
            raise InvalidFlag([Problem((), f"It needs {', '.join(missing)}, which cannot be taken.")])

    def _write_segment(self, name: str, document: Document) -> None:
        stored = self.segments.get(name)
        if stored is None:
            self.moved_segments.append(segments.insert(document, **self.who).pk)
            self.report.lines.append(f"segment {name}: created")
            return
        before = segments.segment_document(stored)
        if segments.write(stored, before, document, **self.who):
            self.moved_segments.append(stored.pk)
            self._tell(f"segment {name}", flag_document.diff(before, document))

    def _write_flag(self, name: str, document: Document) -> None:
        stored = self.flags.get(name)
        if document["is_archived"] and declarations.is_declared(name):
            raise ProductError("FLAG_DECLARED", "It is declared in code and cannot be archived.")
        if stored is None:
            self.flags[name] = editing.insert(document, Action.CREATE, **self.who)
            self.moved.append(self.flags[name].pk)
            self.report.created += 1
            self.report.lines.append(f"{name}: created")
        elif not self._change(stored, document):
            self.report.unchanged += 1

    def _change(self, stored: FeatureFlag, document: Document) -> bool:
        before = self.before[stored.codename]
        changes = flag_document.diff(before, document)
        if document["is_archived"] and not before["is_archived"]:
            _refuse_required(stored)
        if not editing.write(stored, before, document, _action(changes), **self.who):
            return False
        self.moved.append(stored.pk)
        is_archived = changes.pop("is_archived", [False, False])[1]
        if is_archived:
            # As archiving by hand: a plan must not switch on what was put away.
            plans = FlagSchedule.State
            stored.schedule.filter(state=plans.PENDING).update(state=plans.CANCELLED)
            self.report.archived += 1
            self.report.lines.append(f"{stored.codename}: archived")
            changes.pop("is_active", None)
        else:
            self.report.changed += 1
            if before["is_archived"]:
                self.report.lines.append(f"{stored.codename}: taken out of the archive")
        self._tell(stored.codename, changes)
        return True

    def _tell(self, name: str, changes: Mapping[str, Any]) -> None:
        self.report.lines += [f"{name}: {line}" for line in descriptions.describe_changes(changes)]

    def prune(self) -> None:
        for name, before in sorted(self.before.items(), key=lambda item: (not item[1]["prerequisites"], item[0])):
            # What the file names stays, also where it could not be taken.
            if key(name) not in self.named and not before["is_archived"] and not declarations.is_declared(name):
                with self._taking(name):
                    self._change(self.flags[name], {**before, "is_active": False, "is_archived": True})

    # --- The end ------------------------------------------------------------------------------------------------------

    def touch(self) -> None:
        if len(self.moved) > _MANY:
            touch(everything=True)
        elif self.moved or self.moved_segments:
            touch(self.moved, self.moved_segments)


def _read(pks: Sequence[int]) -> dict[int, Document]:
    """Those that are locked and no others: a flag made at this moment is half there. In batches, as databases want."""
    documents: dict[int, Document] = {}
    for some in batches(pks, _MANY):
        documents.update(flag_document.read(some))
    return documents


def _action(changes: Mapping[str, Any]) -> FlagRevision.Action:
    """What the history calls it."""
    if "is_archived" in changes:
        return Action.ARCHIVE if changes["is_archived"][1] else Action.UNARCHIVE
    return Action.SWITCH if set(changes) == {"is_active"} else Action.EDIT


def _mapping(given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidFlag([Problem((), "This is no object.")])
    return given


def _refuse_required(flag: FeatureFlag) -> None:
    living = FlagPrerequisite.objects.filter(parent=flag, flag__archived_at=None).order_by("flag__codename")
    if children := list(living.values_list("flag__codename", flat=True)):
        raise ProductError("FLAG_IN_USE", f"{', '.join(children)} requires it.")


def _protected(given: Mapping[str, Any]) -> Document:
    """As for one made by hand: a kill switch is pressed in a hurry, and explained all the same."""
    is_kill_switch = isinstance(given, Mapping) and given.get("kind") == FeatureFlag.Kind.KILL_SWITCH
    return {"is_protected": True} if is_kill_switch else {}


def _refuse_twin(name: str, ours: str) -> None:
    if ours != name:
        raise InvalidFlag([Problem((), f"It differs from our {ours} in letter case only.")])
