"""Sending webhooks (https://www.standardwebhooks.com): one thread asks the database, each request has one of its own.

So an endpoint that is slow or away holds up no other, and no mail. No transaction is open while one answers.
"""

from __future__ import annotations

import base64
import hmac
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple

from django.conf import settings
from django.utils import timezone

from lib import encryption, logs, outgoing, tracing
from lib.outgoing import Answer
from notifications import metrics
from notifications.models import WebhookDelivery, WebhookEndpoint
from notifications.services import webhook_claims as claims
from notifications.services.webhook_claims import Claim

logger = logging.getLogger("switchboard.notifications")

#: Requests at once to one endpoint from one process; to one that failed last, one.
AT_ONCE = 4
#: Seconds between two looks of a process while there is no endpoint.
IDLE = 10.0
PREFIX = "whsec_"


class Sent(NamedTuple):
    claim: Claim
    answer: Answer
    began: datetime
    duration_ms: int


class Dispatcher:
    """Sends what is due, and `overdue` by that much; `stopping` is called before more is begun."""

    def __init__(self, stopping: Callable[[], bool] = lambda: False, *, overdue: timedelta = timedelta(0)) -> None:
        self.stopping, self.overdue = stopping, overdue
        #: What threads have done; None wakes the one that waits.
        self.results: SimpleQueue[Sent | None] = SimpleQueue()
        self.running: Counter[int] = Counter()  # by endpoint
        self.has_endpoints = True

    def deliver_due(self) -> int:
        """Send until nothing is due or `stopping` is true; return how many were tried."""
        tried = 0
        while self._begin() or self.running.total():
            try:
                sent = self.results.get(timeout=settings.NOTIFICATIONS_POLL)
            except Empty:
                continue
            if sent is not None:
                self.running[sent.claim.delivery.endpoint_id] -= 1
                _record(sent)
                tried += 1
        return tried

    def wake(self) -> None:
        if self.running.total():
            self.results.put(None)

    def rest(self) -> float:
        """Seconds until the next look."""
        poll: float = settings.NOTIFICATIONS_POLL
        return poll if self.has_endpoints else max(poll, IDLE)

    def _begin(self) -> bool:
        """Start requests for what is due; return whether there were any."""
        if self.stopping():
            return False
        endpoints = claims.endpoints(self.overdue)
        self.has_endpoints = bool(endpoints)
        begun = False
        for endpoint in endpoints:
            room = (1 if endpoint.failures else AT_ONCE) - self.running[endpoint.pk]
            if not (endpoint.is_ready and room > 0):  # type: ignore[attr-defined]
                continue
            for claim in claims.claim(worker(), endpoint, room, overdue=self.overdue):
                self.running[endpoint.pk] += 1
                begun = True
                threading.Thread(target=partial(self._run, claim), name="webhook", daemon=True).start()
        return begun

    def _run(self, claim: Claim) -> None:
        sent = Sent(claim, Answer(error="internal"), timezone.now(), 0)
        try:
            sent = send(claim)
        finally:
            # Also after a fault of our own: else it would count as running for ever.
            self.results.put(sent)


def deliver_these(pks: Sequence[int]) -> None:
    """Send exactly these one after the other, as far as they are due, in their turn, and not claimed by another."""
    is_receiving = {"endpoint__paused_at": None, "endpoint__resumed_at": None, "endpoint__deleted_at": None}
    for row in WebhookDelivery.objects.filter(pk__in=pks, **is_receiving).select_related("endpoint").order_by("pk"):
        for claim in claims.claim(worker(), row.endpoint, 1, pks=[row.pk]):
            _record(send(claim))


def send(claim: Claim) -> Sent:
    """One request; it asks the database nothing."""
    delivery, endpoint, began, started = claim.delivery, claim.delivery.endpoint, timezone.now(), time.monotonic()
    body = delivery.body.encode()
    keys = secrets(endpoint, began)
    if keys:
        headers = signed(delivery.uid.hex, body, keys, at=began)
        about = {"switchboard__event": delivery.event}
        with tracing.span("send webhook", kind="client", parent=delivery.traceparent, **about) as current:
            if (trace := tracing.traceparent()) is not None:
                headers = {**headers, "traceparent": trace}
            answer = outgoing.post(endpoint.url, body, headers, timeout=settings.WEBHOOKS_TIMEOUT)
            if current is not None:
                current.set_attribute("http.response.status_code", answer.status)
    else:
        # The keys that encrypted it are gone: staff rotate it.
        answer = Answer(error="secret")
    return Sent(claim, answer, began, int((time.monotonic() - started) * 1000))


def secrets(endpoint: WebhookEndpoint, now: datetime) -> list[bytes]:
    """What signs now: the secret and, while it is not over, the one before."""
    is_old_good = endpoint.old_secret_until is not None and endpoint.old_secret_until > now
    sealed = [endpoint.secret, *([endpoint.old_secret] if is_old_good else [])]
    found = filter(None, map(encryption.decrypt, sealed))
    return [base64.b64decode(secret.removeprefix(PREFIX)) for secret in found]


def signed(webhook_id: str, body: bytes, keys: Sequence[bytes], *, at: datetime) -> Mapping[str, str]:
    """The headers of a try, with a signature (v1, HMAC-SHA256) by each of the keys."""
    timestamp = str(int(at.timestamp()))
    content = b".".join((webhook_id.encode(), timestamp.encode(), body))
    macs = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return {
        "Content-Type": "application/json",
        "User-Agent": "Switchboard-Webhooks",
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{mac}" for mac in macs),
    }


def worker() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"[:120]


def _record(sent: Sent) -> None:
    claim, answer, delivery = sent.claim, sent.answer, sent.claim.delivery
    state = claims.record(claim, answer, worker=worker(), began=sent.began, duration_ms=sent.duration_ms)
    metrics.WEBHOOKS.add(state or "lost_lease")
    about = {"uid": delivery.uid.hex, "event": delivery.event, "state": state or "lost_lease"}
    extra = {**about, "endpoint": delivery.endpoint_id, "code": answer.status or answer.error}
    is_trouble = state == WebhookDelivery.State.FAILED
    with logs.of_request("", delivery.traceparent):
        logger.log(logging.WARNING if is_trouble else logging.INFO, "webhook", extra=extra)
