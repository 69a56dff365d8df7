"""Changes that the clock makes: planned by people, applied by whichever process gets there first."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Unpack

from django.db import transaction

from feature_flags import flag_document
from feature_flags.flag_document import InvalidFlag, Problem
from feature_flags.models import FeatureFlag, FlagRevision, FlagSchedule
from feature_flags.services import editing, storage
from feature_flags.services.revisions import Who, label_of, record, touch
from lib.errors import ProductError

logger = logging.getLogger("switchboard.flags")

Action, State = FlagRevision.Action, FlagSchedule.State


@transaction.atomic
def schedule(
    flag: FeatureFlag, *, at: datetime, action: str, percent: int | None = None, **who: Unpack[Who]
) -> FlagSchedule:
    """Plan `on`, `off` or `percent` (0 to 100, of a flag without rules) at a time; a past one is applied at once.

    FLAG_INVALID, FLAG_ARCHIVED, REASON_REQUIRED for a protected flag.
    """
    stored = editing.lock(flag)
    if stored.is_archived:
        raise ProductError("FLAG_ARCHIVED", "It is archived: take it out of the archive first.")
    if stored.is_protected and action != "percent" and not who.get("reason", "").strip():
        raise ProductError("REASON_REQUIRED", "This flag is protected: say why.")
    _refuse_impossible(stored, action, percent)
    entry = FlagSchedule.objects.create(
        flag=stored,
        at=at,
        action=action,
        percent=percent,
        reason=who.get("reason", "").strip(),
        created_by=label_of(who),
    )
    _note(stored, Action.SCHEDULE, [None, str(entry)], who)
    touch([stored.pk])
    return entry


@transaction.atomic
def cancel_schedule(entry: FlagSchedule, **who: Unpack[Who]) -> bool:
    """Forget a planned change; False when it was applied or cancelled already."""
    stored = editing.lock(entry.flag)
    if not FlagSchedule.objects.filter(pk=entry.pk, state=State.PENDING).update(state=State.CANCELLED):
        return False
    _note(stored, Action.CANCEL, [str(entry), None], who)
    touch([stored.pk])
    return True


def apply_due(now: datetime) -> int:
    """Write what the clock has already done in every snapshot; return how many entries this process applied."""
    due = (
        FlagSchedule.objects.filter(state=State.PENDING, at__lte=now).order_by("at", "pk").values_list("pk", flat=True)
    )
    return sum(_apply(pk) for pk in list(due))


@transaction.atomic
def _apply(pk: int) -> bool:
    entry = FlagSchedule.objects.filter(pk=pk).select_related("flag").first()
    # Flag first, entry second, as everywhere. The first process wins; the next finds the entry applied.
    if entry is None or not storage.lock([entry.flag_id]):
        return False
    entry = FlagSchedule.objects.select_for_update().filter(pk=pk, state=State.PENDING).first()
    if entry is None:
        return False
    entry.state = State.APPLIED
    try:
        with transaction.atomic():
            _act(entry)
    except ProductError as error:
        # What was possible when it was planned may not be so any more; the plan must not stop the others.
        logger.warning("scheduled change refused", extra={"flag": entry.flag.codename, "reason": error.message})
        entry.state = State.CANCELLED
    entry.save(update_fields=["state"])
    return entry.state == State.APPLIED


def _act(entry: FlagSchedule) -> None:
    who: Who = {
        "by": None,
        "by_label": entry.created_by,
        "door": FlagRevision.Door.SCHEDULE,
        "reason": entry.reason or "schedule",
    }
    if entry.action == FlagSchedule.Action.PERCENT:
        editing.edit(entry.flag, {"rollout_percent": entry.percent}, **who)
    else:
        editing.switch(entry.flag, on=entry.action == FlagSchedule.Action.ON, **who)


def _note(flag: FeatureFlag, action: FlagRevision.Action, change: list[str | None], who: Who) -> None:
    """A plan changes nothing yet; the history tells of it beside the flag as it stays."""
    document = flag_document.read_one(flag.pk)
    noted = {"schedule": change}
    record(flag, action, codename=flag.codename, before=document, after=document, noted=noted, **who)


def _refuse_impossible(flag: FeatureFlag, action: str, percent: int | None) -> None:
    if action not in FlagSchedule.Action.values:
        raise InvalidFlag([Problem(("action",), "Choose on, off or percent.")])
    if (action == FlagSchedule.Action.PERCENT) != (percent is not None) or not 0 <= (percent or 0) <= 100:
        raise InvalidFlag([Problem(("percent",), "A percentage from 0 to 100 goes with “set the rollout” alone.")])
    if percent is not None and flag.rules.exists():
        raise InvalidFlag([Problem(("percent",), "This flag has rules, and these have rollouts of their own.")])
