"""Changes planned for a time: applied by whichever process gets there first."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from feature_flags.flag_document import InvalidFlag, Problem
from feature_flags.models import FeatureFlag, FlagRevision, FlagSchedule
from feature_flags.services import editing, storage
from lib.actors import Actor
from lib.errors import ProductError

logger = logging.getLogger("switchboard.flags")

Action, State = FlagRevision.Action, FlagSchedule.State


def permission_for(action: str) -> str:
    """To plan it, or to cancel that: the same as for doing it now."""
    switches = action in (FlagSchedule.Action.ON, FlagSchedule.Action.OFF)
    return f"feature_flags.{'switch' if switches else 'change'}_featureflag"


@transaction.atomic
def schedule(
    flag: FeatureFlag, *, at: datetime, action: str, actor: Actor, percent: int | None = None, reason: str = ""
) -> FlagSchedule:
    """Plan `on`, `off` or `percent` (0 to 100, of a flag without rules) at a time; a past one is applied at once.

    Raises: FLAG_INVALID, FLAG_ARCHIVED (400), REASON_REQUIRED (400) for a protected flag.
    """
    editing.lock(flag)
    if flag.is_archived:
        raise ProductError("FLAG_ARCHIVED", _("It is archived: take it out of the archive first."))
    if flag.is_protected and action != "percent" and not reason.strip():
        raise ProductError("REASON_REQUIRED", _("This flag is protected: say why."))
    if action not in FlagSchedule.Action.values:
        raise InvalidFlag([Problem(("action",), _("Choose on, off or percent."))])
    if (action == FlagSchedule.Action.PERCENT) != (percent is not None) or not 0 <= (percent or 0) <= 100:
        raise InvalidFlag([Problem(("percent",), _("A percentage from 0 to 100 goes with “set the rollout” alone."))])
    if percent is not None and flag.document["rules"]:
        raise InvalidFlag([Problem(("percent",), _("This flag has rules, and these have rollouts of their own."))])
    entry = FlagSchedule.objects.create(
        flag=flag, at=at, action=action, percent=percent, reason=reason.strip(), created_by=actor.label
    )
    _record(flag, Action.SCHEDULE, [None, str(entry)], actor=actor, reason=reason)
    return entry


@transaction.atomic
def cancel_schedule(entry: FlagSchedule, *, actor: Actor, reason: str = "") -> bool:
    """Forget a planned change; False when it was applied or cancelled already."""
    editing.lock(entry.flag)
    if not FlagSchedule.objects.filter(pk=entry.pk, state=State.PENDING).update(state=State.CANCELLED):
        return False
    _record(entry.flag, Action.CANCEL, [str(entry), None], actor=actor, reason=reason)
    return True


def apply_due(now: datetime) -> int:
    """Write what every snapshot shows already since its time came; return how many entries this process applied."""
    due = FlagSchedule.objects.filter(state=State.PENDING, at__lte=now).order_by("at", "pk")
    return sum(_apply(pk) for pk in list(due.values_list("pk", flat=True)))


@transaction.atomic
def _apply(pk: int) -> bool:
    entry = FlagSchedule.objects.filter(pk=pk).first()
    # Flag first, entry second, as everywhere. The first process wins; the next finds the entry applied.
    if entry is None or not storage.lock([entry.flag_id]):
        return False
    entry = FlagSchedule.objects.select_for_update().select_related("flag").filter(pk=pk, state=State.PENDING).first()
    if entry is None:
        return False
    entry.state = State.APPLIED
    actor, reason = Actor(FlagRevision.Door.SCHEDULE, label=entry.created_by), entry.reason or "schedule"
    try:
        with transaction.atomic():
            if entry.action == FlagSchedule.Action.PERCENT:
                editing.edit(entry.flag, {"rollout_percent": entry.percent}, actor=actor, reason=reason)
            else:
                editing.switch(entry.flag, on=entry.action == FlagSchedule.Action.ON, actor=actor, reason=reason)
    except ProductError as error:
        # What was possible when it was planned may not be so any more; the plan must not stop the others.
        logger.warning("scheduled change refused", extra={"flag": entry.flag.codename, "reason": error.message})
        entry.state = State.CANCELLED
    entry.save(update_fields=["state"])
    return entry.state == State.APPLIED


def _record(
    flag: FeatureFlag, action: FlagRevision.Action, change: list[str | None], *, actor: Actor, reason: str
) -> None:
    """A plan changes nothing yet; the history shows it beside the flag as it stays."""
    same = flag.document
    storage.record([(flag, action, same, same)], noted={"schedule": change}, actor=actor, reason=reason)
    storage.publish([flag.pk])
