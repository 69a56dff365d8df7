"""The verbs that change flags, and the only writer of their tables."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, Unpack

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from feature_flags import flags, names
from feature_flags.models import ACTOR_LABEL_LENGTH, FeatureFlag, FlagRevision, FlagSetState
from lib.errors import ProductError

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

logger = logging.getLogger("switchboard.flags")

Action, Door = FlagRevision.Action, FlagRevision.Door


class Who(TypedDict):
    """Who changes a flag, through which door, and why. `by_label` names those who are no user: `command:<name>`."""

    by: AbstractBaseUser | None
    door: FlagRevision.Door
    by_label: NotRequired[str]
    reason: NotRequired[str]


def get(codename: str) -> FeatureFlag:
    """The flag of exactly this name; FLAG_UNKNOWN."""
    # Asked first: PostgreSQL cannot even be asked about a NUL byte.
    flag = None if names.problem(codename) else FeatureFlag.objects.filter(codename=codename).first()
    if flag is None:
        raise _unknown()
    return flag


@transaction.atomic
def create(
    codename: str, *, label: str | None = None, description: str | None = None, **who: Unpack[Who]
) -> FeatureFlag:
    """A new flag, off. FLAG_EXISTS also for a name that differs in letter case only; FLAG_INVALID."""
    return _insert(FeatureFlag(codename=codename, label=label or None, description=description or None), **who)


@transaction.atomic
def switch(flag: FeatureFlag, *, on: bool, **who: Unpack[Who]) -> bool:
    """Put the flag in the wanted state; return whether anything changed."""
    now, label = timezone.now(), _label(who)
    # Compare-and-set: two people clicking at once leave one change, not two.
    wanted = FeatureFlag.objects.filter(pk=flag.pk, is_active=not on)
    changed = wanted.update(is_active=on, updated_at=now, updated_by=label)
    _refresh(flag)
    if changed:
        _record(flag, Action.SWITCH, {"is_active": [not on, on]}, **who)
    return bool(changed)


@transaction.atomic
def edit(flag: FeatureFlag, *, label: str | None, description: str | None, **who: Unpack[Who]) -> bool:
    """Write label and description (blank means none); return whether anything changed. FLAG_INVALID."""
    stored = FeatureFlag.objects.select_for_update().filter(pk=flag.pk).first()
    if stored is None:
        raise _unknown()
    before = stored.snapshot()
    stored.label, stored.description = label or None, description or None
    diff = {key: [before[key], value] for key, value in stored.snapshot().items() if before[key] != value}
    if diff:
        _validate(stored)
        stored.updated_at, stored.updated_by = timezone.now(), _label(who)
        stored.save(update_fields=["label", "description", "updated_at", "updated_by"])
        _record(stored, Action.EDIT, diff, **who)
    _refresh(flag)
    return bool(diff)


@transaction.atomic
def ensure_declared() -> list[str]:
    """Insert the declared flags that have no row yet, in their default state; return their names."""
    FlagSetState.objects.get_or_create(pk=1)
    taken = {codename.lower(): codename for codename in FeatureFlag.objects.values_list("codename", flat=True)}
    made = []
    for declaration in flags.declared():
        twin = taken.get(declaration.codename.lower())
        if twin is None and _insert_declared(declaration):
            made.append(declaration.codename)
        elif twin not in (None, declaration.codename):
            logger.warning("declared flag %s has no row: %s takes its name", declaration.codename, twin)
    return made


def _insert_declared(declaration: flags.Flag) -> bool:
    flag = FeatureFlag(
        codename=declaration.codename,
        label=declaration.label or None,
        description=declaration.description or None,
        is_active=declaration.default,
    )
    try:
        _insert(flag, by=None, by_label="declaration", door=Door.DECLARATION)
    except ProductError as error:
        if error.code != "FLAG_EXISTS":
            raise
        # Another host migrating at the same time was quicker.
        return False
    return True


def _insert(flag: FeatureFlag, **who: Unpack[Who]) -> FeatureFlag:
    flag.created_by = flag.updated_by = _label(who)
    _validate(flag)
    try:
        with transaction.atomic():
            flag.save(force_insert=True)
    except IntegrityError:
        raise ProductError("FLAG_EXISTS", "FF already exists.") from None
    diff = {key: [None, value] for key, value in flag.snapshot().items() if value is not None}
    _record(flag, Action.CREATE, diff, **who)
    return flag


def _record(flag: FeatureFlag, action: FlagRevision.Action, diff: dict[str, Any], **who: Unpack[Who]) -> None:
    by = who["by"]
    revision = FlagRevision(
        flag=flag,
        codename=flag.codename,
        action=action,
        actor_id=by.pk if by else None,
        actor_label=_label(who),
        door=who["door"],
        reason=who.get("reason", "").strip(),
        diff=diff,
        snapshot=flag.snapshot(),
    )
    _validate(revision)
    revision.save()
    # Last, so that the lock all writers share is short and commit order is revision order.
    FlagSetState.objects.filter(pk=1).update(revision=F("revision") + 1)


def _validate(row: FeatureFlag | FlagRevision) -> None:
    try:
        # Of a revision only what people wrote: the rest is made here.
        exclude = {"flag", "actor", "diff", "snapshot"} if isinstance(row, FlagRevision) else None
        row.clean_fields(exclude=exclude)
    except ValidationError as error:
        field, problems = next(iter(error.message_dict.items()))
        raise ProductError("FLAG_INVALID", f"{field}: {problems[0]}") from None


def _refresh(flag: FeatureFlag) -> None:
    try:
        flag.refresh_from_db()
    except FeatureFlag.DoesNotExist:
        raise _unknown() from None


def _label(who: Who) -> str:
    by = who["by"]
    if by is None:
        return who.get("by_label", "")[:ACTOR_LABEL_LENGTH]
    return by.pk.hex if isinstance(by.pk, uuid.UUID) else str(by.pk)


def _unknown() -> ProductError:
    return ProductError("FLAG_UNKNOWN", "Invalid FF selected, codename does not exist.", status=404)
