"""Claiming deliveries of webhooks, and recording what came of them, as `claims.py` does for messages."""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import BooleanField, Exists, ExpressionWrapper, F, Min, OuterRef, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.outgoing import Answer
from notifications.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, database_time, moment
from notifications.providers.base import retry_after

logger = logging.getLogger("switchboard.notifications")

State = WebhookDelivery.State
#: How long a delivery is tried, and the waits between its tries; the last one goes on.
LASTS = timedelta(days=3)
WAITS = tuple(map(timedelta, (0, 0, 0, 0, 0, 0, 0, 0, 0), (5, 30, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000)))
#: A later event of the same subject waits while an earlier one is being sent or will be tried within this time: in
#: fact for the first three tries. One that fails on is overtaken.
IN_ORDER = timedelta(minutes=1)
#: How many are looked at at a time for those whose turn it is.
WINDOW = 100
#: An endpoint without any success for so long, and in so many tries, is paused.
PAUSE_AFTER, PAUSE_TRIES = timedelta(hours=24), 20
LONGEST_REST = timedelta(minutes=5)
#: Why an endpoint was paused by the product itself.
GONE, FAILING = "410 Gone", "no success for 24 hours"
_BY = Actor.schedule("webhooks")


def lease() -> timedelta:
    """How long a delivery belongs to one worker: as long as a request may take, and a resolver that hangs."""
    return timedelta(seconds=settings.WEBHOOKS_TIMEOUT + 30)


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery this worker holds until the lease ends."""

    delivery: WebhookDelivery
    token: uuid.UUID


def endpoints(overdue: timedelta = timedelta(0)) -> list[WebhookEndpoint]:
    """Those that receive, by one query; `is_ready` where something is due and may be tried."""
    due = WebhookDelivery.objects.filter(endpoint=OuterRef("pk"), due_at__lte=moment(-overdue))
    rests = ExpressionWrapper(Q(rest_until__gt=moment()), output_field=BooleanField())
    receiving = WebhookEndpoint.objects.filter(paused_at=None, resumed_at=None)
    found: list[Any] = list(receiving.annotate(has_due=Exists(due), rests=rests))
    for endpoint in found:
        endpoint.is_ready = endpoint.has_due and not endpoint.rests
    return found


def claim(
    worker: str,
    endpoint: WebhookEndpoint,
    limit: int,
    *,
    overdue: timedelta = timedelta(0),
    pks: Sequence[int] | None = None,
) -> list[Claim]:
    """Take up to `limit` due deliveries, of `pks` if given; of one subject only the earliest."""
    due = endpoint.deliveries.filter(due_at__lte=moment(-overdue)).order_by("due_at", "pk")
    if pks is not None:
        due = due.filter(pk__in=pks)
    token = uuid.uuid4()
    ours = {"state": State.SENDING, "lease_token": token, "lease_owner": worker, "due_at": moment(lease())}
    with transaction.atomic():
        in_turn = due.filter(pk__in=_in_turn(endpoint, due, limit))
        rows = list(in_turn.select_for_update(skip_locked=True, of=("self",))[:limit])
        WebhookDelivery.objects.filter(pk__in=[row.pk for row in rows]).update(**ours, attempts=F("attempts") + 1)
    for row in rows:
        row.attempts += 1
        row.endpoint = endpoint
    return [Claim(row, token) for row in rows]


def _in_turn(endpoint: WebhookEndpoint, due: QuerySet[WebhookDelivery], limit: int) -> list[int]:
    """Keys of due ones that are the earliest of their subject: `limit` of them, if there are so many.

    A window at a time: asked of all at once, PostgreSQL would compare each with each.
    """
    near = Q(state=State.SENDING) | Q(due_at__lte=moment(IN_ORDER))
    waiting = endpoint.deliveries.filter(near, due_at__isnull=False).order_by().values("subject")
    found: list[int] = []
    seen: set[str] = set()
    while len(found) < limit:
        subjects = set(due.exclude(subject__in=seen).values_list("subject", flat=True)[:WINDOW])
        if not subjects:
            break
        firsts = waiting.filter(subject__in=subjects).annotate(first=Min("pk")).values_list("first", flat=True)
        found += due.filter(pk__in=list(firsts)).values_list("pk", flat=True)
        seen |= subjects
    return found


def wait_after(attempt: int) -> timedelta:
    """How long to wait after the n-th attempt, plus or minus a fifth, so that many do not come at once."""
    scale = settings.NOTIFICATIONS_BACKOFF_SCALE * random.uniform(0.8, 1.2)  # noqa: S311  (spreads load, hides nothing)
    return WAITS[min(attempt, len(WAITS)) - 1] * scale


@transaction.atomic
def record(
    claim: Claim, answer: Answer, *, worker: str, began: datetime, duration_ms: int
) -> WebhookDelivery.State | None:
    """Write the outcome; None when the delivery is no longer this worker's, and then only the attempt is written."""
    delivery, code = claim.delivery, str(answer.status or answer.error)
    mine = WebhookDelivery.objects.filter(pk=delivery.pk, lease_token=claim.token)
    # In this order everywhere: the endpoint, then its deliveries.
    endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).filter(pk=delivery.endpoint_id).first()
    if endpoint is None:
        return None
    now = database_time()
    is_accepted = 200 <= answer.status < 300
    fields = _closed(State.DELIVERED, now) if is_accepted else _again(delivery, answer, now)
    is_mine = bool(mine.update(**fields, last_code=code[:16]))
    WebhookAttempt.objects.create(
        delivery=delivery,
        n=delivery.attempts,
        worker=worker,
        created_at=began,
        duration_ms=duration_ms,
        status=answer.status or None,
        error=answer.error,
        response=answer.text,
    )
    if is_accepted:
        endpoint.failures, endpoint.failing_since, endpoint.rest_until, endpoint.last_success_at = 0, None, None, now
    elif is_mine:
        _note_failure(endpoint, answer, now)
    endpoint.save(update_fields=["failures", "failing_since", "rest_until", "last_success_at"])
    return fields["state"] if is_mine else None


def _closed(state: WebhookDelivery.State, now: datetime) -> dict[str, Any]:
    return {**WebhookDelivery.CLOSED, "state": state, "finished_at": now}


def _again(delivery: WebhookDelivery, answer: Answer, now: datetime) -> dict[str, Any]:
    if answer.status != 410 and now >= delivery.expires_at:
        return _closed(State.FAILED, now)
    wait = max(wait_after(delivery.attempts), retry_after(answer.retry_after, now=now) or timedelta(0))
    # At its end it is tried once more.
    due_at = now if answer.status == 410 else max(now, min(now + wait, delivery.expires_at))
    return {"state": State.QUEUED, "due_at": due_at, "lease_token": None, "lease_owner": ""}


def _note_failure(endpoint: WebhookEndpoint, answer: Answer, now: datetime) -> None:
    """Let the endpoint rest, so that a dead one costs a request now and then, or pause it."""
    endpoint.failures += 1
    endpoint.failing_since = endpoint.failing_since or now
    if (asked := retry_after(answer.retry_after, now=now)) is not None and answer.status in {429, 503}:
        endpoint.rest_until = now + asked
    elif answer.status in {0, 408, 429} or answer.status >= 500:
        seconds = 2 ** min(endpoint.failures - 1, 10) * settings.NOTIFICATIONS_BACKOFF_SCALE
        endpoint.rest_until = now + min(timedelta(seconds=seconds), LONGEST_REST)
    if answer.status == 410:
        stop(endpoint, actor=_BY, reason=GONE)
    elif endpoint.failures >= PAUSE_TRIES and now - endpoint.failing_since >= PAUSE_AFTER:
        stop(endpoint, actor=_BY, reason=FAILING)


def stop(endpoint: WebhookEndpoint, *, actor: Actor, reason: str) -> bool:
    """Try nothing until staff resume; what waits stays. Return whether that is new."""
    paused = {"paused_at": moment(), "paused_by": actor.label, "paused_reason": reason}
    if not WebhookEndpoint.objects.filter(pk=endpoint.pk, paused_at=None).update(**paused):
        return False
    about = {"why": reason} if actor is _BY else {"reason": reason} if reason else {}
    actor.note("webhook.paused", name=endpoint.name, **about)
    logger.warning("webhook endpoint paused", extra={"endpoint": endpoint.pk, "by": actor.label, "why": reason})
    return True


#: The product's own reasons, in the reader's language.
REASONS = {GONE: _("it answered 410 Gone"), FAILING: _("no success for 24 hours")}
