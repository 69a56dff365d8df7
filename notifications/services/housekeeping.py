"""What is thrown away, and when: old rows, and everything that tells who a deleted user was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from notifications.models import Attempt, DeliveryEvent, InAppNotification, Message, Preference, Suppression, Worker

if TYPE_CHECKING:
    from users.models import User

SLICE = 1000
KEEP_CONTEXT = timedelta(days=30)
KEEP_TROUBLE = timedelta(days=365)
KEEP_EVENTS = timedelta(days=180)
KEEP_READ = timedelta(days=90)
KEEP_SILENT_WORKER = timedelta(days=1)

State = Message.State
_TROUBLE = (State.FAILED, State.UNKNOWN, State.SUPPRESSED, State.CANCELLED, State.EXPIRED)


def _delete(rows: QuerySet[Any]) -> None:
    rows.delete()


def _empty(rows: QuerySet[Any]) -> None:
    rows.update(context={})


@dataclass(frozen=True, slots=True)
class _Rule:
    what: str
    rows: QuerySet[Any]
    #: The column whose index finds them; a slice goes on where the last one ended.
    by: str
    act: Callable[[QuerySet[Any]], None] = _delete


def purge(since: datetime | None = None) -> Iterator[tuple[str, int]]:
    """Throw away what is past its time, a slice and a transaction at a time; yields what and how many.

    `since` is the time of the last full run: contexts emptied then are not looked at again.
    """
    for rule in _rules(since):
        rows = rule.rows
        while found := list(rows.order_by(rule.by).values_list("pk", rule.by)[:SLICE]):
            with transaction.atomic():
                rule.act(rule.rows.model._default_manager.filter(pk__in=[pk for pk, _ in found]))
            yield rule.what, len(found)
            rows = rule.rows.filter(**{f"{rule.by}__gte": found[-1][1]})


def purgeable() -> dict[str, int]:
    """How many of each `purge` would throw away now."""
    counts: dict[str, int] = {}
    for rule in _rules(None):
        counts[rule.what] = counts.get(rule.what, 0) + rule.rows.count()
    return counts


def _rules(since: datetime | None) -> Iterator[_Rule]:
    now = timezone.now()
    keep_sent = timedelta(days=settings.NOTIFICATIONS_RETENTION_DAYS)
    for state in (State.SENT, *_TROUBLE):
        keep = keep_sent if state == State.SENT else max(KEEP_TROUBLE, keep_sent)
        yield _Rule("messages", Message.objects.filter(state=state, finished_at__lt=now - keep), "finished_at")
        full = Message.objects.filter(state=state, finished_at__lt=now - KEEP_CONTEXT).exclude(context={})
        if since is not None:
            # An hour more, for clocks that disagree. Without this each run would read two months of emptied rows.
            full = full.filter(finished_at__gte=since - KEEP_CONTEXT - timedelta(hours=1))
        yield _Rule("contexts", full, "finished_at", _empty)
    yield _Rule("delivery events", DeliveryEvent.objects.filter(received_at__lt=now - KEEP_EVENTS), "received_at")
    yield _Rule("in-app notifications", InAppNotification.objects.filter(read_at__lt=now - KEEP_READ), "read_at")
    yield _Rule("suppressions", Suppression.objects.filter(expires_at__lt=now), "expires_at")
    yield _Rule("workers", Worker.objects.filter(beat_at__lt=now - KEEP_SILENT_WORKER), "beat_at")


@transaction.atomic
def forget_user(user: User) -> int:
    """Stop what waits for this user and blank what tells who it was; the rows stay, so that the counts are right.

    What they found inside the product and what they chose there goes. Call it in the transaction that deletes or
    anonymises the user, while the address is still there. Returns how many messages were blanked. A suppression of
    the address stays: whoever asked not to be written to is not written to.
    """
    theirs = Q(user=user) | Q(user=None, to_address=user.email)
    pks = list(Message.objects.filter(theirs).values_list("pk", flat=True))
    rows = Message.objects.filter(pk__in=pks)
    # Those handed over, too: a worker that dies now must not send a blank one later.
    rows.filter(state__in=Message.OPEN).update(
        state=State.CANCELLED,
        reason="user_deleted",
        due_at=None,
        lease_token=None,
        lease_owner="",
        handed_at=None,
        finished_at=timezone.now(),
    )
    Attempt.objects.filter(message__in=pks).update(response="")
    InAppNotification.objects.filter(user=user).delete()
    Preference.objects.filter(user=user).delete()
    DeliveryEvent.objects.filter(Q(message__in=pks) | Q(recipient=user.email)).update(recipient="", detail="")
    return rows.update(
        user=None,
        # It names the user, and two rows of one event may differ by nothing but the address.
        event_key=None,
        to_address="",
        to_name="",
        subject="",
        context={},
        headers={},
        last_error="",
    )
