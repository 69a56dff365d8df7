"""What every verb does last: a line in the history, and the number that tells readers to look."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, Unpack

from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone

from feature_flags import flag_document
from feature_flags.models import ACTOR_LABEL_LENGTH, FeatureFlag, FlagRevision, Segment
from feature_flags.runtime import store
from lib.errors import ProductError

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser


class Who(TypedDict):
    """Who changes a flag, through which door, and why. `by_label` names those who are no user: `command:<name>`."""

    by: AbstractBaseUser | None
    door: FlagRevision.Door
    by_label: NotRequired[str]
    reason: NotRequired[str]


def label_of(who: Who) -> str:
    by = who["by"]
    if by is None:
        return who.get("by_label", "")[:ACTOR_LABEL_LENGTH]
    return by.pk.hex if isinstance(by.pk, uuid.UUID) else str(by.pk)


def record(
    subject: FeatureFlag | Segment | None,
    action: FlagRevision.Action,
    *,
    codename: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    noted: Mapping[str, Any] | None = None,
    **who: Unpack[Who],
) -> FlagRevision:
    """Write the revision: what differs (and is `noted` besides), and the whole after it. `subject` None: a token."""
    by = who["by"]
    kinds = FlagRevision.Subject
    revision = FlagRevision(
        subject=kinds.TOKEN if subject is None else kinds.FLAG if isinstance(subject, FeatureFlag) else kinds.SEGMENT,
        flag=subject if isinstance(subject, FeatureFlag) else None,
        segment=subject if isinstance(subject, Segment) else None,
        codename=codename,
        action=action,
        actor_id=by.pk if by else None,
        actor_label=label_of(who),
        door=who["door"],
        reason=who.get("reason", "").strip(),
        diff={**flag_document.diff(before, after), **(noted or {})},
        snapshot=dict(after),
        at=timezone.now(),
    )
    try:
        # Only what people wrote: the rest is made here.
        revision.clean_fields(exclude={"subject", "flag", "segment", "actor", "diff", "snapshot"})
    except ValidationError as error:
        field, problems = next(iter(error.message_dict.items()))
        raise flag_document.InvalidFlag([flag_document.Problem((field,), problems[0])]) from None
    revision.save()
    return revision


def touch(flags: list[int] | None = None, segments: list[int] | None = None, *, everything: bool = False) -> int:
    """Tell every reader: the rows of these keys are new, or (`everything`) something went away.

    The last statements of a verb, so that the lock all writers share is short and commit order is revision order.
    Rows named here are locked by the caller already: whoever holds that lock never waits for another one.
    """
    raised = "revision = revision + 1, full_revision = revision + 1" if everything else "revision = revision + 1"
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE feature_flags_flagsetstate SET {raised} WHERE id = 1 RETURNING revision")  # noqa: S608
        row = cursor.fetchone()
    if row is None:
        raise ProductError("FLAGS_UNAVAILABLE", "The flags are not set up: run `manage.py migrate`.", status=503)
    revision = int(row[0])
    if flags:
        FeatureFlag.objects.filter(pk__in=flags).update(changed_in=revision)
    if segments:
        Segment.objects.filter(pk__in=segments).update(changed_in=revision)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [store.CHANNEL, str(revision)])
    store.changed()
    return revision
