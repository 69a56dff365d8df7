"""A whole file of flags and segments brought in: what of it can be taken, or all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from feature_flags import declarations, descriptions, flag_document
from feature_flags.flag_document import Document, InvalidFlag, Problem
from feature_flags.formats import Contents, Findings, Warn, key, name_of, switchboard, twice, unleash, waffle
from feature_flags.models import FeatureFlag, FlagRevision, Segment
from feature_flags.runtime import snapshot
from feature_flags.services import editing, segments, storage
from feature_flags.services.storage import Change, parents_named, segments_used
from lib.actors import Actor
from lib.errors import ProductError

Action = FlagRevision.Action


#: What `read` knows.
FORMATS = ("switchboard", "unleash", "waffle")


def read(name: str, text: str, warn: Warn) -> Contents:
    """What a file of this format holds. Raises: FILE_INVALID (400)."""
    if name == "switchboard":
        return switchboard.load(text)
    if name == "waffle":
        return waffle.load(text, warn)
    with snapshot.one_view():
        known = {document["codename"]: document for document in FeatureFlag.objects.documents().values()}
    return unleash.load(text, known, warn)


@dataclass
class Report:
    """What an import has changed, or would change: counts of flags, and `lines` such as `FF_A: active: off → on`.

    `problems` are what was not taken, and why.
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
    actor: Actor,
    reason: str = "",
    strict: bool = True,
    dry_run: bool = False,
    prune: bool = False,
) -> Report:
    """Make flags and segments what the documents describe; members that a document lacks stay as they are.

    Archived flags that are named come back. `prune` archives the flags that are not named, but for declared ones.
    `dry_run` writes nothing; the report is the same. `problems` are what the reader of the file has found already.

    Raises: FLAG_INVALID (400) with every problem, the flag's name first in its place, and nothing is written. Not
    `strict`: whatever has problems is left as it is, with all that depends on it, and the report holds them.
    """
    run = _Import(actor, reason, problems, strict=strict)
    run.check(documents, segment_documents)
    if strict:
        run.findings.refuse()
    run.take()
    if prune:
        run.prune()
    if strict:
        run.findings.refuse()
    run.report.problems = run.findings.problems
    if dry_run:
        transaction.set_rollback(True)
    elif run.changes or run.changed_segments:
        storage.save(run.changes, actor=actor, reason=reason, segments=run.changed_segments)
        # As archiving by hand: a plan must not switch on what was archived.
        editing.cancel_pending([change.flag.pk for change in run.changes if change.action == Action.ARCHIVE])
    return run.report


class _Import:
    """One run. Every row it may write is locked before the first is written: flags first, as everywhere."""

    def __init__(self, actor: Actor, reason: str, problems: Sequence[Problem], *, strict: bool) -> None:
        self.actor, self.reason, self.strict = actor, reason, strict
        self.findings = Findings(problems)
        self.report = Report()
        # Not only those named: parents, and what prune archives. Always in the order of keys, see storage.lock.
        locked = FeatureFlag.objects.select_for_update(no_key=True).order_by("pk")
        self.flags = {flag.codename: flag for flag in locked}
        self.segments = {row.name: row for row in Segment.objects.select_for_update(no_key=True).order_by("pk")}
        #: Documents by codename: as they are stored, and as they will be with what is taken so far.
        self.before = {codename: flag.document for codename, flag in self.flags.items()}
        self.after = dict(self.before)
        self.children: dict[str, set[str]] = {}
        for codename, document in self.before.items():
            self._adopt(codename, document)
        self.wanted: dict[str, Document] = {}
        self.wanted_segments: dict[str, Document] = {}
        #: What the file speaks of, by `key`; and what of it is taken.
        self.named = self.findings.names()
        self.taken: set[str] = set()
        self.changes: list[Change] = []
        self.changed_segments: list[int] = []

    # --- What is wanted -----------------------------------------------------------------------------------------------

    def check(self, documents: Sequence[Mapping[str, Any]], segment_documents: Sequence[Mapping[str, Any]]) -> None:
        for number, given in enumerate(segment_documents, start=1):
            name = name_of(given, "name", number, "segment")
            with self.findings.of(f"segment {name}"):
                if name in self.wanted_segments:
                    raise InvalidFlag([Problem((), "It stands there twice.")])
                self.named.add(f"segment {name}")
                before = self.segments[name].document if name in self.segments else {}
                wanted = flag_document.checked_segment({**before, **_mapping(given)}, stored=before)
                self.wanted_segments[name] = wanted
        names = [name_of(given, "codename", number) for number, given in enumerate(documents, start=1)]
        self.findings.problems += twice(names)
        ours = {codename.lower(): codename for codename in self.flags}
        for name, given in zip(names, documents, strict=True):
            with self.findings.of(name):
                if (twin := ours.get(name.lower(), name)) != name:
                    raise InvalidFlag([Problem((), f"It differs from our {twin} in letter case only.")])
                self.wanted[name] = self._flag(name, _mapping(given))
        for name, document in self.wanted.items():
            with self.findings.of(name):
                # Asked of the file first: among what is taken so far, a parent that comes later would not exist.
                for parent in parents_named(document):
                    if (self.wanted.get(parent) or self.before.get(parent) or {}).get("prerequisites"):
                        raise storage.chain(f"{parent} requires another flag itself.")
        self.named.update(map(key, names))
        bad = self.findings.names()
        self.wanted = {name: found for name, found in self.wanted.items() if key(name) not in bad}
        segments = self.wanted_segments.items()
        self.wanted_segments = {name: found for name, found in segments if f"segment {name}" not in bad}

    def _flag(self, name: str, given: Mapping[str, Any]) -> Document:
        before = self.before.get(name)
        if before is None:
            # As for one made by hand: a kill switch is pressed in a hurry; a reason is required all the same.
            is_kill_switch = given.get("kind") == FeatureFlag.Kind.KILL_SWITCH
            return flag_document.checked({"is_protected": is_kill_switch, "is_archived": False, **given})
        document = {**before, "is_archived": False, **given}
        # One that is as it was is not measured by rules that may be newer than it is.
        return document if document == before else flag_document.checked(document, stored=before)

    # --- What is taken ------------------------------------------------------------------------------------------------

    def take(self) -> None:
        for name, document in sorted(self.wanted_segments.items()):
            # Strict rolls everything back in the end.
            with self.findings.of(f"segment {name}"), nullcontext() if self.strict else transaction.atomic():
                self._take_segment(name, document)
                self.taken.add(f"segment {name}")
        for name in sorted(self.wanted, key=self._turn):
            with self.findings.of(name):
                self._take_flag(name, self.wanted[name])
                self.taken.add(name)

    def prune(self) -> None:
        for name, before in sorted(self.before.items(), key=lambda item: (not item[1]["prerequisites"], item[0])):
            # What the file names stays, also where it could not be taken.
            if key(name) not in self.named and not before["is_archived"] and not declarations.is_declared(name):
                with self.findings.of(name):
                    self._take_flag(name, {**before, "is_active": False, "is_archived": True})

    def _turn(self, name: str) -> tuple[bool, bool, str]:
        """Flags that require none come first: they are the parents of the others. They are the last to be archived."""
        before = self.before.get(name)
        leaves = self.wanted[name]["is_archived"] and before is not None and not before["is_archived"]
        has_parents = bool((before if before and leaves else self.wanted[name])["prerequisites"])
        return leaves, has_parents != leaves, name

    def _take_segment(self, name: str, document: Document) -> None:
        stored = self.segments.get(name)
        if stored is None:
            stored = self.segments[name] = segments.insert(document, actor=self.actor, reason=self.reason)
            self.report.lines.append(f"segment {name}: created")
        else:
            before = stored.document
            if not segments.write(stored, document, actor=self.actor, reason=self.reason):
                return
            self._describe(f"segment {name}", flag_document.diff(before, document))
        self.changed_segments.append(stored.pk)

    def _take_flag(self, name: str, document: Document) -> None:
        """Refuse what cannot be; then keep the change, to be written with all others."""
        # With an older parent or segment than the file's it would give other answers than the file.
        parents = [] if document["is_archived"] else parents_named(document)
        needed = dict.fromkeys([*parents, *(f"segment {name}" for name in segments_used(document))])
        if missing := [name for name in needed if key(name) in self.named and name not in self.taken]:
            raise InvalidFlag([Problem((), f"It needs {', '.join(missing)}, which cannot be taken.")])
        if document["is_archived"] and declarations.is_declared(name):
            raise ProductError("FLAG_DECLARED", "It is declared in code and cannot be archived.")
        before = self.before.get(name)
        changes = {} if before is None else flag_document.diff(before, document)
        if before is not None and not changes:
            self.report.unchanged += 1
            return
        if "is_archived" in changes and document["is_archived"]:
            children = self.children.get(name, ())
            if living := sorted(child for child in children if not self.after[child]["is_archived"]):
                raise ProductError("FLAG_IN_USE", f"{', '.join(living)} requires it.")
        if before is None or "prerequisites" in changes or "is_archived" in changes:
            storage.refuse_parents(document, self.after, self.children.get(name, ()))
        storage.refuse_unknown_segments(document, self.segments)
        if before is None:
            self.changes.append(storage.new_change(document, Action.CREATE))
            self.report.created += 1
            self.report.lines.append(f"{name}: created")
        else:
            storage.refuse_change(before, document, self.reason)
            action = Action.SWITCH if set(changes) == {"is_active"} else Action.EDIT
            if "is_archived" in changes:
                action = Action.ARCHIVE if document["is_archived"] else Action.UNARCHIVE
            self.changes.append(Change(self.flags[name], action, before, document))
            self._report_change(name, changes)
        self._adopt(name, document)

    def _adopt(self, name: str, document: Document) -> None:
        for parent in parents_named(self.after.get(name, document)):
            self.children.get(parent, set()).discard(name)
        for parent in parents_named(document):
            self.children.setdefault(parent, set()).add(name)
        self.after[name] = document

    # --- The report ---------------------------------------------------------------------------------------------------

    def _report_change(self, name: str, changes: dict[str, list[Any]]) -> None:
        was_archived, is_archived = changes.pop("is_archived", [False, False])
        if is_archived:
            self.report.archived += 1
            self.report.lines.append(f"{name}: archived")
            changes.pop("is_active", None)
        else:
            self.report.changed += 1
            if was_archived:
                self.report.lines.append(f"{name}: taken out of the archive")
        self._describe(name, changes)

    def _describe(self, name: str, changes: Mapping[str, Any]) -> None:
        self.report.lines += [f"{name}: {line}" for line in descriptions.describe_changes(changes)]


def _mapping(given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidFlag([Problem((), "This is no object.")])
    return given
