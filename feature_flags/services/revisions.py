"""What every change ends with: a row of history, and the revision that tells readers to look."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import F
from django.utils import timezone

from feature_flags import flag_document
from feature_flags.models import FeatureFlag, FlagRevision, FlagSetState, FlagToken, Segment
from feature_flags.runtime import store
from lib.actors import Actor
from lib.errors import ProductError

_SUBJECTS = {FeatureFlag: "flag", Segment: "segment", FlagToken: "token"}


def revision(
    subject: FeatureFlag | Segment | FlagToken,
    action: FlagRevision.Action,
    *,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    actor: Actor,
    reason: str = "",
    noted: Mapping[str, Any] | None = None,
) -> FlagRevision:
    """A row of history, not saved yet: what differs (and is `noted` besides), and the whole after it."""
    return FlagRevision(
        subject=_SUBJECTS[type(subject)],
        flag=subject if isinstance(subject, FeatureFlag) else None,
        segment=subject if isinstance(subject, Segment) else None,
        codename=str(after.get("codename") or after.get("name") or before.get("codename") or before["name"]),
        action=action,
        actor_id=actor.user.pk if actor.user else None,
        actor_label=actor.label,
        door=actor.door,
        reason=reason.strip(),
        diff={**flag_document.diff(before, after), **(noted or {})},
        snapshot=dict(after),
        at=timezone.now(),
    )


def record(rows: Sequence[FlagRevision]) -> None:
    """Save rows of one actor and reason. Raises: FLAG_INVALID (400) when these cannot be stored."""
    for row in rows[:1]:
        try:
            row.clean_fields(exclude={"subject", "flag", "segment", "actor", "diff", "snapshot"})
        except ValidationError as error:
            field, problems = next(iter(error.message_dict.items()))
            raise flag_document.InvalidFlag([flag_document.Problem((field,), problems[0])]) from None
    FlagRevision.objects.bulk_create(rows)


def publish(flags: Collection[int] = (), segments: Collection[int] = (), *, everything: bool = False) -> None:
    """Announce that rows of these primary keys are new, or (`everything`) that something went away."""
    number = next_revision(everything=everything)
    if flags and not everything:
        FeatureFlag.objects.filter(pk__in=flags).update(changed_in=number)
    if segments and not everything:
        Segment.objects.filter(pk__in=segments).update(changed_in=number)
    announce(number)


def next_revision(*, everything: bool = False) -> int:
    """Raise the revision of the flag set, and the one that must be read as a whole (`everything`).

    Among the last statements of a change, so that the lock all writers share is short and commit order is revision
    order. Its holder writes rows that are locked already and waits for no other lock.

    Raises: FLAGS_UNAVAILABLE (503) before `migrate`.
    """
    raised: dict[str, Any] = {"revision": F("revision") + 1}
    if everything:
        raised["full_revision"] = F("revision") + 1
    if not FlagSetState.objects.filter(pk=1).update(**raised):
        raise ProductError("FLAGS_UNAVAILABLE", "The flags are not set up: run `manage.py migrate`.", status=503)
    return FlagSetState.objects.values_list("revision", flat=True).get(pk=1)


def announce(revision: int) -> None:
    """Tell every reader, at commit."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [store.CHANNEL, str(revision)])
    store.changed()
