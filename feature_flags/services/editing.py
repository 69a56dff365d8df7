"""The verbs that change one flag. Each locks, compares, writes, and leaves one revision when anything changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Unpack

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from feature_flags import declarations, flag_document, names
from feature_flags.flag_document import Document, InvalidFlag, Problem
from feature_flags.models import FeatureFlag, FlagRevision, FlagSchedule, FlagSeen
from feature_flags.services import storage
from feature_flags.services.revisions import Who, label_of, record, touch
from lib.errors import ProductError

Action = FlagRevision.Action


def get(codename: str) -> FeatureFlag:
    """The flag of exactly this name, archived ones too; FLAG_UNKNOWN."""
    # Asked first: PostgreSQL cannot even be asked about a NUL byte.
    flag = None if names.problem(codename) else FeatureFlag.objects.filter(codename=codename).first()
    if flag is None:
        raise unknown()
    return flag


@transaction.atomic
def create(codename: str, **fields: Any) -> FeatureFlag:
    """A new flag, off by default; `fields` are members of its document (flag_document.Flag) and who does it.

    FLAG_EXISTS also for a name that differs in letter case only; FLAG_INVALID.
    """
    # A kill switch is pressed in a hurry, and explained all the same.
    protected = {"is_protected": True} if fields.get("kind") == FeatureFlag.Kind.KILL_SWITCH else {}
    document, who = _split({"codename": codename, **protected, **fields})
    flag = insert(document, Action.CREATE, **who)
    touch([flag.pk])
    return flag


@transaction.atomic
def switch(flag: FeatureFlag, *, on: bool, **who: Unpack[Who]) -> bool:
    """Put the flag in the wanted state; return whether anything changed.

    FLAG_ARCHIVED, REASON_REQUIRED for a protected flag, FLAG_INVALID when its type needs a variant first.
    """
    # A wanted state, never "flip": two people clicking at once leave one change, and a stale page undoes nobody's.
    return _edit(flag, {"is_active": on}, Action.SWITCH, **who)


@transaction.atomic
def edit(flag: FeatureFlag, changes: Mapping[str, Any], *, base: int | None = None, **who: Unpack[Who]) -> bool:
    """Write the members of the document (flag_document.Flag) that are given; return whether anything changed.

    `base` is the id of the newest revision the form was drawn from: FLAG_CHANGED when there is a newer one.
    FLAG_INVALID with every problem, FLAG_UNKNOWN, FLAG_ARCHIVED, REASON_REQUIRED, PREREQUISITE_CHAIN.
    """
    return _edit(flag, changes, Action.EDIT, base=base, **who)


@transaction.atomic
def rename(flag: FeatureFlag, codename: str, **who: Unpack[Who]) -> bool:
    """Another codename; rollouts keep their places, since groups keep theirs. FLAG_DECLARED, FLAG_EXISTS."""
    stored = lock(flag)
    if stored.codename == codename:
        return False
    _refuse_declared(stored)
    before = flag_document.read_one(stored.pk)
    flag_document.checked({**before, "codename": codename}, stored=before)
    stored.codename = codename
    _stamp(stored, who)
    _save(stored)
    record(stored, Action.RENAME, codename=codename, before=before, after=flag_document.read_one(stored.pk), **who)
    touch([stored.pk], everything=True)
    flag.refresh_from_db()
    return True


@transaction.atomic
def archive(flag: FeatureFlag, **who: Unpack[Who]) -> bool:
    """Switch off and put away; readers no longer know the name, which stays taken. FLAG_DECLARED, FLAG_IN_USE."""
    stored = lock(flag)
    if stored.is_archived:
        return False
    _refuse_declared(stored)
    if children := _dependents(stored):
        raise ProductError("FLAG_IN_USE", f"Other flags require it: {children}.")
    before = flag_document.read_one(stored.pk)
    _require_reason(before, {**before, "is_active": False}, who)
    stored.is_active, stored.archived_at = False, timezone.now()
    _finish(stored, before, Action.ARCHIVE, **who)
    _cancel_pending(stored)
    flag.refresh_from_db()
    return True


@transaction.atomic
def unarchive(flag: FeatureFlag, **who: Unpack[Who]) -> bool:
    """Take it out of the archive, off."""
    stored = lock(flag)
    if not stored.is_archived:
        return False
    before = flag_document.read_one(stored.pk)
    stored.archived_at = None
    _finish(stored, before, Action.UNARCHIVE, **who)
    flag.refresh_from_db()
    return True


@transaction.atomic
def delete(flag: FeatureFlag, **who: Unpack[Who]) -> None:
    """For good; only its history stays. Refused (FLAG_IN_USE) unless it is archived or was never asked for."""
    stored = lock(flag)
    _refuse_declared(stored)
    if not stored.is_archived and FlagSeen.objects.filter(codename=stored.codename).exists():
        raise ProductError("FLAG_IN_USE", "It has been asked for: archive it first.")
    before = flag_document.read_one(stored.pk)
    record(stored, Action.DELETE, codename=stored.codename, before=before, after={}, **who)
    try:
        stored.delete()
    except ProtectedError:
        raise ProductError("FLAG_IN_USE", f"Other flags require it: {_dependents(stored)}.") from None
    touch(everything=True)


@transaction.atomic
def restore(revision: FlagRevision, **who: Unpack[Who]) -> bool:
    """Make the flag what it was after this revision, as a new revision; a deleted flag comes back.

    Return whether anything changed. FLAG_INVALID when a part of then is no more (a segment, a parent).
    """
    document = dict(revision.snapshot)
    if revision.subject != FlagRevision.Subject.FLAG or not document:
        raise ProductError("FLAG_INVALID", "This entry holds no flag to go back to.")
    flag = revision.flag
    if flag is None:
        flag = insert(flag_document.checked(document, stored=document), Action.RESTORE, **who)
        touch([flag.pk])
        return True
    # Its name may have changed since; code that asks for it may not notice a change back.
    document["codename"] = flag.codename
    return _edit(flag, document, Action.RESTORE, **who)


def insert(document: Document, action: FlagRevision.Action, **who: Unpack[Who]) -> FeatureFlag:
    """The rows of a new flag and its revision. The caller touches."""
    flag = FeatureFlag(created_by=label_of(who), created_at=timezone.now())
    storage.fill(flag, document)
    _stamp(flag, who)
    parents = storage.lock_parents(document)
    _save(flag)
    storage.write_parts(flag, {}, document, parents)
    # What differs from a new flag's defaults is worth telling; and always its name and state.
    before = {**flag_document.checked({"codename": flag.codename}), "codename": None, "is_active": None}
    record(flag, action, codename=flag.codename, before=before, after=flag_document.read_one(flag.pk), **who)
    return flag


def lock(flag: FeatureFlag, others: Collection[str] = ()) -> FeatureFlag:
    """The row as it is stored, locked until the end of the transaction, with flags named in `others`; FLAG_UNKNOWN."""
    return storage.lock([flag.pk], others).get(flag.pk) or _gone()


def write(stored: FeatureFlag, before: Document, document: Document, action: Any, **who: Unpack[Who]) -> bool:
    """Write what differs between two checked documents of a locked flag, with its revision. The caller touches."""
    if document == before:
        return False
    _require_reason(before, document, who)
    _check_type(before, document)
    storage.fill(stored, document)
    _stamp(stored, who)
    _save(stored)
    # A link that stands keeps its parent as it is. Locking that again, after the child, could close a ring of waits.
    asks = any(document[name] != before[name] for name in ("prerequisites", "is_archived"))
    storage.write_parts(stored, before, document, storage.lock_parents(document) if asks else {})
    record(stored, action, codename=stored.codename, before=before, after=flag_document.read_one(stored.pk), **who)
    return True


def _edit(
    flag: FeatureFlag,
    changes: Mapping[str, Any],
    action: FlagRevision.Action,
    *,
    base: int | None = None,
    **who: Unpack[Who],
) -> bool:
    stored = lock(flag, _parents(changes))
    before = flag_document.read_one(stored.pk)
    if base is not None:
        _refuse_stale(stored, base)
    if stored.is_archived and action != Action.RESTORE:
        raise ProductError("FLAG_ARCHIVED", "It is archived: take it out of the archive first.")
    document = {**before, **changes, "codename": stored.codename}
    # Off always works, whatever somebody has done to the rows by hand.
    if changes != {"is_active": False}:
        document = flag_document.checked(document, stored=document if action == Action.RESTORE else before)
    # What cannot be changed here: the archive has verbs of its own.
    if action != Action.RESTORE:
        document["is_archived"] = before["is_archived"]
    changed = write(stored, before, document, action, **who)
    if changed:
        touch([stored.pk])
    flag.refresh_from_db()
    return changed


def _parents(changes: Mapping[str, Any]) -> list[str]:
    """The names that look like some; what is wrong with the others is said when the whole is checked."""
    wanted = changes.get("prerequisites")
    named = [part.get("parent") for part in wanted if isinstance(part, dict)] if isinstance(wanted, list) else []
    return [name for name in named if isinstance(name, str)]


def _finish(stored: FeatureFlag, before: Document, action: FlagRevision.Action, **who: Unpack[Who]) -> None:
    _stamp(stored, who)
    _save(stored)
    record(stored, action, codename=stored.codename, before=before, after=flag_document.read_one(stored.pk), **who)
    touch([stored.pk])


def _refuse_stale(stored: FeatureFlag, base: int) -> None:
    newer = list(FlagRevision.objects.filter(flag=stored, pk__gt=base).order_by("pk"))
    if newer:
        changed = ", ".join(dict.fromkeys(name for revision in newer for name in revision.diff))
        raise ProductError(
            "FLAG_CHANGED", f"{newer[-1].who or 'Somebody'} changed it in the meantime ({changed}): look at it again."
        )


def _require_reason(before: Document, after: Document, who: Who) -> None:
    if before["is_protected"] and before["is_active"] != after["is_active"] and not who.get("reason", "").strip():
        raise ProductError("REASON_REQUIRED", "This flag is protected: say why.")


def _check_type(before: Document, after: Document) -> None:
    has_variants = before["variants"] or any(rule["variants"] for rule in before["rules"])
    if before["value_type"] != after["value_type"] and has_variants:
        raise InvalidFlag([Problem(("value_type",), "The type does not change once there are variants.")])


def _refuse_declared(flag: FeatureFlag) -> None:
    if declarations.is_declared(flag.codename):
        raise ProductError("FLAG_DECLARED", "It is declared in code, which asks for it by this name.")


def _dependents(flag: FeatureFlag) -> str:
    return ", ".join(sorted(flag.dependents.values_list("flag__codename", flat=True)))


def _cancel_pending(flag: FeatureFlag) -> None:
    states = FlagSchedule.State
    flag.schedule.filter(state=states.PENDING).update(state=states.CANCELLED)


def _stamp(flag: FeatureFlag, who: Who) -> None:
    flag.updated_at, flag.updated_by = timezone.now(), label_of(who)


def _save(flag: FeatureFlag) -> None:
    try:
        with transaction.atomic():
            flag.save()
    except IntegrityError:
        raise ProductError("FLAG_EXISTS", "FF already exists.") from None


def _split(fields: dict[str, Any]) -> tuple[Document, Who]:
    who = {key: fields.pop(key) for key in Who.__annotations__ if key in fields}
    return flag_document.checked(fields), who  # type: ignore[return-value]


def _gone() -> FeatureFlag:
    raise unknown()


def unknown() -> ProductError:
    return ProductError("FLAG_UNKNOWN", "Invalid FF selected, codename does not exist.", status=404)
