"""Changes to one flag. Each locks, compares, writes, and leaves one row of history if anything changed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from feature_flags import declarations, flag_document, names
from feature_flags.flag_document import Document
from feature_flags.models import FeatureFlag, FlagRevision, FlagSchedule, FlagSeen, FlagSetState
from feature_flags.services import storage
from lib.actors import Actor
from lib.errors import ProductError

logger = logging.getLogger("switchboard.flags")

Action = FlagRevision.Action


def get(codename: str) -> FeatureFlag:
    """The flag of exactly this name, archived ones too. Raises: FLAG_UNKNOWN (404)."""
    # PostgreSQL refuses a query with a NUL byte.
    flag = None if names.problem(codename) else FeatureFlag.objects.filter(codename=codename).first()
    if flag is None:
        raise unknown()
    return flag


@transaction.atomic
def create(codename: str, *, actor: Actor, reason: str = "", **members: Any) -> FeatureFlag:
    """A new flag, off by default; `members` are those of its document (flag_document.BLANK).

    Raises: FLAG_EXISTS (400), also for a name that differs in letter case only; FLAG_INVALID (400).
    """
    # A kill switch is pressed in a hurry; a reason is required all the same.
    protected = {"is_protected": True} if members.get("kind") == FeatureFlag.Kind.KILL_SWITCH else {}
    document = flag_document.checked({"codename": codename, **protected, **members})
    return _insert(document, Action.CREATE, actor=actor, reason=reason)


@transaction.atomic
def switch(flag: FeatureFlag, *, on: bool, actor: Actor, reason: str = "") -> bool:
    """Put the flag in the wanted state; return whether anything changed.

    Raises: FLAG_ARCHIVED (400), REASON_REQUIRED (400) for a protected flag, FLAG_INVALID (400) when its type needs a
    variant first.
    """
    try:
        flag.refresh_from_db(from_queryset=FeatureFlag.objects.select_for_update(no_key=True))
    except FeatureFlag.DoesNotExist:
        raise unknown() from None
    if flag.archived_at is not None:
        raise ProductError("FLAG_ARCHIVED", _("It is archived: take it out of the archive first."))
    # A wanted state, never "flip": two people clicking at once leave one change, and a stale page undoes nothing.
    if flag.is_active == on:
        return False
    if flag.is_protected and not reason.strip():
        raise ProductError("REASON_REQUIRED", _("This flag is protected: say why."))
    now = timezone.now()
    FeatureFlag.objects.filter(pk=flag.pk).update(is_active=on, updated_at=now, updated_by=actor.label)
    before = flag.document
    after = {**before, "is_active": on}
    # A refusal takes the row back. Off always works, whatever was written into the row by hand.
    if on:
        flag_document.checked(after, stored=before)
    storage.record([(flag, Action.SWITCH, before, after)], actor=actor, reason=reason)
    storage.publish([flag.pk])
    flag.is_active, flag.updated_at, flag.updated_by = on, now, actor.label
    return True


@transaction.atomic
def edit(
    flag: FeatureFlag, changes: Mapping[str, Any], *, actor: Actor, reason: str = "", base: int | None = None
) -> bool:
    """Write the given members of the document (flag_document.BLANK); return whether anything changed.

    `base` is the id of the newest revision the form was drawn from.

    Raises: FLAG_CHANGED (400) when there is a newer one; FLAG_INVALID (400) with every problem; FLAG_UNKNOWN (404),
    FLAG_ARCHIVED, REASON_REQUIRED, PREREQUISITE_CHAIN (400).
    """
    lock(flag, _parents(changes))
    revisions = FlagRevision.objects.filter(flag=flag).order_by("pk")
    if base is not None and (newer := list(revisions.filter(pk__gt=base))):
        changed = ", ".join(dict.fromkeys(name for revision in newer for name in revision.diff))
        author = newer[-1].who or _("Another person")
        raise ProductError(
            "FLAG_CHANGED",
            _("%(author)s changed it in the meantime (%(changed)s): look at it again.")
            % {"author": author, "changed": changed},
        )
    if flag.is_archived:
        raise ProductError("FLAG_ARCHIVED", _("It is archived: take it out of the archive first."))
    before = flag.document
    document = flag_document.checked({**before, **changes, "codename": flag.codename}, stored=before)
    # The archive has functions of its own.
    document["is_archived"] = before["is_archived"]
    return _write(flag, document, Action.EDIT, actor=actor, reason=reason)


@transaction.atomic
def rename(flag: FeatureFlag, codename: str, *, actor: Actor, reason: str = "") -> bool:
    """Another codename, also where other flags require it; groups stay, so rollouts keep their places.

    Raises: FLAG_DECLARED (400), FLAG_EXISTS (400), FLAG_CHANGED (400) when a flag came to require it just now.
    """
    old = flag.codename
    children = storage.lock([flag.pk, *flag.children.values_list("pk", flat=True)])
    lock(flag)
    if flag.codename == codename:
        return False
    _refuse_declared(flag)
    if flag.children.exclude(pk__in=children).exists():
        raise ProductError("FLAG_CHANGED", _("Another flag has come to require it: try again."))
    before = flag.document
    flag_document.checked({**before, "codename": codename}, stored=before)
    flag.codename, flag.updated_at, flag.updated_by = codename, timezone.now(), actor.label
    try:
        with transaction.atomic():
            flag.save()
    except IntegrityError:
        flag.codename = old
        raise ProductError("FLAG_EXISTS", _("FF already exists.")) from None
    for child in children.values():
        if child.pk != flag.pk:
            document = child.document
            links = [{**at, "parent": codename} if at["parent"] == old else at for at in document["prerequisites"]]
            child.document = {**document, "prerequisites": sorted(links, key=lambda link: str(link["parent"]))}
            child.save(update_fields=["definition"])
    storage.record([(flag, Action.RENAME, before, flag.document)], actor=actor, reason=reason)
    storage.publish(everything=True)
    return True


@transaction.atomic
def archive(flag: FeatureFlag, *, actor: Actor, reason: str = "") -> bool:
    """Switch off and put away; readers no longer know the name, which stays taken. Cancels what is scheduled.

    Raises: FLAG_DECLARED, FLAG_IN_USE, REASON_REQUIRED (400).
    """
    lock(flag)
    if flag.is_archived:
        return False
    _refuse_declared(flag)
    _refuse_required(flag)
    archived = {**flag.document, "is_active": False, "is_archived": True}
    _write(flag, archived, Action.ARCHIVE, actor=actor, reason=reason)
    cancel_pending([flag.pk])
    return True


@transaction.atomic
def unarchive(flag: FeatureFlag, *, actor: Actor, reason: str = "") -> bool:
    """Take it out of the archive, off. Raises: FLAG_INVALID (400) when a flag it requires is archived."""
    lock(flag)
    return _write(flag, {**flag.document, "is_archived": False}, Action.UNARCHIVE, actor=actor, reason=reason)


@transaction.atomic
def delete(flag: FeatureFlag, *, actor: Actor, reason: str = "") -> None:
    """For good; only its history stays.

    Raises: FLAG_IN_USE (400) unless it is archived or was never asked for; FLAG_DECLARED (400).
    """
    lock(flag)
    _refuse_declared(flag)
    if not flag.is_archived and FlagSeen.objects.filter(codename=flag.codename).exists():
        raise ProductError("FLAG_IN_USE", _("It has been asked for: archive it first."))
    _refuse_required(flag)
    storage.record([(flag, Action.DELETE, flag.document, {})], actor=actor, reason=reason)
    flag.delete()
    storage.publish(everything=True)


@transaction.atomic
def restore(revision: FlagRevision, *, actor: Actor, reason: str = "") -> bool:
    """Make the flag what it was after this revision, as a new revision; a deleted flag comes back.

    Returns whether anything changed. Raises: FLAG_INVALID (400) when a part of then is no more (a segment, a parent).
    """
    document, flag = dict(revision.snapshot), revision.flag
    if revision.subject != FlagRevision.Subject.FLAG or not document:
        raise ProductError("FLAG_INVALID", _("This entry holds no flag to go back to."))
    if flag is None:
        document = flag_document.checked(document, stored=document)
        _insert(document, Action.RESTORE, actor=actor, reason=reason)
        return True
    lock(flag, _parents(document))
    # Its name may have changed since; code that asks for it may not notice a change back.
    document = {**flag.document, **document, "codename": flag.codename}
    document = flag_document.checked(document, stored=document)
    return _write(flag, document, Action.RESTORE, actor=actor, reason=reason)


def restoring(revision: FlagRevision) -> tuple[dict[str, list[Any]], list[str]]:
    """What `restore` would change (flag_document.diff), and the permissions that this takes: those of the verbs that
    would change it, too."""
    now = revision.flag.document if revision.flag else None
    # The name stays, and a plan is no part of a flag.
    wanted = {name: value for name, value in revision.snapshot.items() if name in flag_document.BLANK}
    if now:
        wanted = {**now, **wanted, "codename": now["codename"]}
    changed = flag_document.diff(now or dict.fromkeys(wanted), wanted)
    verbs = ["view", "change" if now else "add"]
    verbs += [verb for verb, of in (("switch", "is_active"), ("archive", "is_archived")) if any(changed.get(of, ()))]
    return changed, [f"feature_flags.{verb}_featureflag" for verb in verbs]


@transaction.atomic
def ensure_declared() -> list[str]:
    """Insert the flags declared in code that have no row yet, in their default state; return their names.

    Nothing that staff decided is touched.
    """
    FlagSetState.objects.get_or_create(pk=1)
    taken = {codename.lower(): codename for codename in FeatureFlag.objects.values_list("codename", flat=True)}
    actor, made = Actor(FlagRevision.Door.DECLARATION, label="declaration"), []
    for flag in declarations.declared():
        twin = taken.get(flag.codename.lower())
        if twin is not None:
            if twin != flag.codename:
                logger.warning("declared flag %s has no row: %s takes its name", flag.codename, twin)
            continue
        try:
            create(
                flag.codename,
                label=flag.label or None,
                description=flag.description or None,
                is_active=flag.default,
                is_protected=flag.protected,
                exposed=flag.exposed,
                kind=flag.kind,
                actor=actor,
            )
            made.append(flag.codename)
        except ProductError as error:
            if error.code != "FLAG_EXISTS":
                raise
            # Another host migrating at the same time was quicker.
    return made


def unknown() -> ProductError:
    return ProductError("FLAG_UNKNOWN", _("Invalid FF selected, codename does not exist."), status=404)


def cancel_pending(flags: Collection[int]) -> None:
    """A plan must not switch on what was archived."""
    states = FlagSchedule.State
    FlagSchedule.objects.filter(flag__in=flags, state=states.PENDING).update(state=states.CANCELLED)


def lock(flag: FeatureFlag, others: Collection[str] = ()) -> None:
    """Refresh the flag from its row, locked until the end of the transaction, with the flags named in `others`.

    Raises: FLAG_UNKNOWN (404).
    """
    if others:
        storage.lock([flag.pk], others)
    try:
        flag.refresh_from_db(from_queryset=FeatureFlag.objects.select_for_update(no_key=True))
    except FeatureFlag.DoesNotExist:
        raise unknown() from None


def _insert(document: Document, action: FlagRevision.Action, *, actor: Actor, reason: str) -> FeatureFlag:
    parents = storage.lock([], storage.parents_named(document)).values()
    storage.refuse_parents(document, {parent.codename: parent.document for parent in parents}, ())
    change = storage.new_change(document, action)
    storage.save([change], actor=actor, reason=reason)
    return change.flag


def _write(flag: FeatureFlag, document: Document, action: FlagRevision.Action, *, actor: Actor, reason: str) -> bool:
    before = flag.document
    if document == before:
        return False
    storage.refuse_change(before, document, reason)
    # A link that stands keeps its parent as it is. Locking that again, after the child, could end in a deadlock.
    if any(document[name] != before[name] for name in ("prerequisites", "is_archived")):
        parents = storage.lock([], storage.parents_named(document)).values()
        children = flag.children.values_list("codename", flat=True) if document["prerequisites"] else ()
        storage.refuse_parents(document, {parent.codename: parent.document for parent in parents}, list(children))
    storage.save([storage.Change(flag, action, before, document)], actor=actor, reason=reason)
    return True


def _parents(changes: Mapping[str, Any]) -> list[str]:
    """The names that look like some; what is wrong with the others is reported when the whole is checked."""
    wanted = changes.get("prerequisites")
    named = [part.get("parent") for part in wanted if isinstance(part, dict)] if isinstance(wanted, list) else []
    return [name for name in named if isinstance(name, str)]


def _refuse_declared(flag: FeatureFlag) -> None:
    if declarations.is_declared(flag.codename):
        raise ProductError("FLAG_DECLARED", _("It is declared in code, which asks for it by this name."))


def _refuse_required(flag: FeatureFlag) -> None:
    if children := sorted(flag.children.values_list("codename", flat=True)):
        raise ProductError("FLAG_IN_USE", _("Other flags require it: %(names)s.") % {"names": ", ".join(children)})
