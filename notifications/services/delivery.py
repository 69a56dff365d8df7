"""Sending what is due: claim, render, hand over, send, note. No transaction is open while a mail server talks."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import InterfaceError, OperationalError, connection

from lib import logs
from notifications import metrics, outcomes, registry, render
from notifications.models import Attempt, Message
from notifications.outcomes import Result, TransportDown
from notifications.provider import Provider
from notifications.services import claims, recipients
from notifications.services.claims import Claim
from notifications.services.settling import settle

logger = logging.getLogger("switchboard.notifications")

Outcome = Attempt.Outcome
DATABASE_AWAY = (OperationalError, InterfaceError)
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
BULK_TURN = 10


class Courier:
    """One thread's way through the queue; `stopping` is asked before each message.

    It takes `batch` messages at a time (default: NOTIFICATIONS_BATCH), those of one `channel` or of all, and leaves
    alone what is not `overdue` by that much.
    """

    def __init__(
        self,
        stopping: Callable[[], bool] = lambda: False,
        *,
        batch: int | None = None,
        channel: str | None = None,
        overdue: timedelta = timedelta(0),
    ) -> None:
        self.stopping = stopping
        self.batch = batch or settings.NOTIFICATIONS_BATCH
        self.channel = channel
        self.overdue = overdue
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{threading.current_thread().name}"[:120]
        self.provider = Provider()
        self.waiting: deque[Claim] = deque()
        self.failures = 0
        self.resting_until = 0.0
        self.batches = 0

    def rest(self) -> float:
        """Seconds until the mail server is tried again; 0 while it is thought to be there."""
        return max(0.0, self.resting_until - time.monotonic())

    def deliver_due(self) -> int:
        """Deliver until nothing is due, the mail server is away or a stop is asked for; return how many were tried."""
        tried = 0
        try:
            while self._may_go_on():
                self.batches += 1
                # After a failure one message tries the way, not a whole batch.
                limit = 1 if self.failures else self.batch
                # Every tenth batch starts from the other end, so that bulk is never starved.
                bulk_first = self.batches % BULK_TURN == 0
                self.waiting += claims.claim(
                    self.worker, limit, bulk_first=bulk_first, channel=self.channel, overdue=self.overdue
                )
                if not self.waiting:
                    break
                tried += self._deliver_waiting()
        finally:
            self.give_back()
            self.provider.close()
        return tried

    def deliver_these(self, pks: Sequence[int]) -> None:
        """Try exactly these messages, now."""
        try:
            self.waiting += claims.claim_these(self.worker, pks)
            self._deliver_waiting()
        finally:
            self.give_back()
            self.provider.close()

    def give_back(self) -> None:
        """Return what was claimed and not begun."""
        rest, self.waiting = self.waiting, deque()
        claims.give_back(rest)

    def _may_go_on(self) -> bool:
        return not self.stopping() and not self.rest()

    def _deliver_waiting(self) -> int:
        tried = 0
        # With less time left than one message may take, another worker could claim it meanwhile.
        enough = settings.NOTIFICATIONS_TIMEOUT + 5
        while self.waiting and self._may_go_on() and self.waiting[0].time_left() >= enough:
            self._deliver(self.waiting.popleft())
            tried += 1
        self.give_back()
        return tried

    def _deliver(self, claim: Claim) -> None:
        message = claim.message
        reset = logs.request_id.set(message.request_id)
        try:
            began, started = claim.now(), time.monotonic()
            result = self._try(claim, began)
            state = _note(claim, result, began, int((time.monotonic() - started) * 1000))
            metrics.noted(result.outcome, state)
            self._learn(result)
            is_trouble = state in {Message.State.FAILED, Message.State.UNKNOWN}
            logger.log(
                logging.WARNING if is_trouble else logging.INFO,
                "message",
                extra={
                    "uid": str(message.uid),
                    "type": message.type,
                    "state": state or Outcome.LOST_LEASE.value,
                    "outcome": result.outcome.value,
                    "code": result.code,
                },
            )
        finally:
            logs.request_id.reset(reset)

    def _try(self, claim: Claim, now: datetime) -> Result:
        message = claim.message
        if (refusal := _refusal(message, now)) is not None:
            return refusal
        if reason := recipients.refusal(
            registry.get(message.type), address=message.to_address, user_id=message.user_id, channel=message.channel
        ):
            return Result(Outcome.SUPPRESSED, reason)
        secrets: dict[str, str] = {}
        try:
            with metrics.RENDERING.time():
                secrets = render.derived(message)
                mail = _built(message, secrets, now)
        except registry.Withdrawn as withdrawn:
            return Result(Outcome.WITHDRAWN, withdrawn.reason)
        except DATABASE_AWAY:
            raise
        except Exception as error:
            # What derive itself complains about may hold a secret that nobody could scrub.
            text = outcomes.scrub(str(error), secrets.values()) if secrets else ""
            return Result(Outcome.RENDER_ERROR, type(error).__name__, text)
        result = self._hand_over(claim, mail)
        return Result(result.outcome, result.code, outcomes.scrub(result.text, secrets.values()))

    def _hand_over(self, claim: Claim, mail: EmailMultiAlternatives) -> Result:
        try:
            self.provider.ready()
        except TransportDown as down:
            return down.result
        if not claim.hand_over():
            return Result(Outcome.LOST_LEASE)
        with metrics.SENDING.time():
            return self.provider.send(mail)

    def _learn(self, result: Result) -> None:
        """A mail server that is away is left alone for a while; one that answers ends the pause."""
        if result.outcome == Outcome.TRANSPORT_DOWN:
            pause = min(FIRST_PAUSE * 2**self.failures, LONGEST_PAUSE)
            self.failures = min(self.failures + 1, 10)
            self.resting_until = time.monotonic() + pause * random.uniform(0.8, 1.2)  # noqa: S311  (spreads load)
        elif result.outcome in {Outcome.ACCEPTED, Outcome.TEMPORARY, Outcome.PERMANENT}:
            self.failures, self.resting_until = 0, 0.0


def _refusal(message: Message, now: datetime) -> Result | None:
    """Why this message is not to be sent, told from the row alone."""
    try:
        kind = registry.get(message.type)
    except registry.UnknownType:
        kind = None
    # Every handled outcome clears `handed_at`: set at a claim, it means the worker died between sending and noting.
    if message.handed_at and kind and kind.on_ambiguous == "hold":
        return Result(Outcome.INTERRUPTED)
    if message.attempts > message.max_attempts:
        return Result(Outcome.WORKER_KILLER)
    if now >= message.expires_at:
        return Result(Outcome.EXPIRED)
    if kind is None:
        # A newer version of the product may have queued it; its own worker will know the type.
        return Result(Outcome.TEMPORARY, "unknown_type")
    return None


def _built(message: Message, secrets: dict[str, str], now: datetime) -> EmailMultiAlternatives:
    first = message.tries.exclude(outcome=Outcome.TRANSPORT_DOWN).first() if message.attempts > 1 else None
    mail = render.build(message, secrets, date=message.handed_at or (first.created_at if first else now))
    # Whatever cannot be encoded shows here, before anything is handed over.
    mail.message()
    return mail


def _note(claim: Claim, result: Result, began: datetime, duration_ms: int) -> Message.State | None:
    """Write the outcome, again and again until the lease ends: nothing else knows what the mail server answered."""
    while True:
        try:
            return settle(claim, result, began=began, duration_ms=duration_ms)
        except DATABASE_AWAY:
            if connection.in_atomic_block or claim.time_left() <= 0:
                raise
            connection.close()
            time.sleep(0.2)
