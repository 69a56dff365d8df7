"""Sending what is due: claim, render, hand over, send, record. No transaction is open while a mail server answers."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from typing import NamedTuple

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from lib import logs, tracing
from lib.text import clean_text
from notifications import metrics, providers, registry
from notifications.models import Attempt, Message
from notifications.providers import base
from notifications.providers.base import NotHandedOver, Payload, Result
from notifications.registry import EMAIL
from notifications.rendering import overriding, render
from notifications.rendering.render import build
from notifications.services import circuit_breaker, claims, recipients
from notifications.services.circuit_breaker import Admission
from notifications.services.claims import Claim

logger = logging.getLogger("switchboard.notifications")

Outcome = Attempt.Outcome
DATABASE_AWAY = (OperationalError, InterfaceError)
BULK_TURN = 10
#: Recipients in a row whose mail failed in a way that may concern all mail; then the channel is paused.
SEVERAL = 3
#: How many messages are prepared at a time, and for how many seconds they are as good as new.
AHEAD, FRESH = 10, 1.0


@dataclass(slots=True)
class Prepared:
    """A message as far as it can be brought without the mail server: packed, unless it has a result already."""

    content: Payload | Result
    secrets: dict[str, str]
    began: datetime
    seconds: float


class Known(NamedTuple):
    """Of the recipients of some messages: the scopes that list an address, and why an announcement finds no one."""

    listed: Mapping[str, set[str]]
    unreachable: Mapping[int, str]


class QueueWorker:
    """Delivers messages from the queue, in one thread; `stopping` is called before each message.

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
        self.batch: int = batch or settings.NOTIFICATIONS_BATCH
        self.channels = [channel] if channel else claims.CHANNELS
        self.overdue = overdue
        self.worker = f"{socket.gethostname()}:{os.getpid()}"[:120]
        self.provider = providers.configured()
        self.waiting: deque[Claim] = deque()
        #: By the key of the message, of some of those that wait; too old after `prepared_until`.
        self.prepared: dict[int, Prepared] = {}
        self.prepared_until = 0.0
        self.admission = Admission()
        self.resting_until = 0.0
        self.doubtful: set[str] = set()
        self.batches = 0

    def rest(self) -> float:
        """Seconds until the mail server is tried again; 0 while it is thought to be there."""
        return max(0.0, self.resting_until - time.monotonic())

    def deliver_due(self) -> int:
        """Deliver until nothing is due, the mail server is away or `stopping` is true; return how many were tried."""
        tried, is_more = 0, False
        try:
            while not self.stopping():
                self.batches += 1
                is_more = is_more or claims.is_anything_due(self.channels, self.overdue)
                if not (is_more and (limit := self._admitted())):
                    break
                # Every tenth batch starts from the other end, so that bulk is never starved.
                bulk_first = self.batches % BULK_TURN == 0
                self.waiting += claims.claim(
                    self.worker, limit, channels=self.channels, overdue=self.overdue, bulk_first=bulk_first
                )
                if not self.waiting:
                    break
                # After as many as were asked for, the next claim will tell.
                is_more = len(self.waiting) == limit
                tried += self._deliver_waiting()
                if self.rest():
                    break
        finally:
            self._clean_up()
        return tried

    def deliver_these(self, pks: Sequence[int]) -> None:
        """Try exactly these messages, now, unless their channel is closed."""
        rest = list(pks)
        try:
            while rest and not self.stopping() and (limit := self._admitted()):
                batch, rest = rest[:limit], rest[limit:]
                self.waiting += claims.claim_these(self.worker, batch)
                self._deliver_waiting()
                if self.rest():
                    break
        finally:
            self._clean_up()

    def give_back(self) -> None:
        """Return what was claimed and not begun."""
        rest, self.waiting = self.waiting, deque()
        claims.give_back(rest)

    def _admitted(self) -> int:
        """How many messages may be claimed now: none, one that tries the way, or a batch."""
        self._release_probe()
        self.admission = circuit_breaker.admit(EMAIL)
        self.resting_until = time.monotonic() + self.admission.wait
        if self.admission.wait:
            return 0
        return 1 if self.admission.is_probe else self.batch

    def _release_probe(self) -> None:
        if self.admission.is_probe:
            self.admission = Admission()
            circuit_breaker.release_probe(EMAIL)

    def _clean_up(self) -> None:
        self.give_back()
        self._release_probe()
        self.provider.close()

    def _deliver_waiting(self) -> int:
        tried, claim = 0, self._take()
        while claim:
            claim = self._deliver(claim) or self._take()
            tried += 1
        self.give_back()
        return tried

    def _may_begin(self) -> bool:
        # With less time left than one message may take, another worker could claim it meanwhile.
        enough = settings.NOTIFICATIONS_TIMEOUT + 5
        return bool(self.waiting) and not self.stopping() and not self.rest() and self.waiting[0].time_left() >= enough

    def _take(self) -> Claim | None:
        """The next message to try, prepared; None when there is none, or it must not be begun."""
        if not self._may_begin():
            return None
        claim = self.waiting.popleft()
        if not self._is_prepared(claim):
            earlier = claim.message.attempts - 1
            if earlier and not claim.message.tries.filter(n=earlier).exists():
                # The worker before died of it. Should this one die as well, the others must not wait for its lease.
                self.give_back()
            self._prepare_with_next(claim)
        return claim

    def _is_prepared(self, claim: Claim) -> bool:
        return claim.message.pk in self.prepared and time.monotonic() < self.prepared_until

    def _deliver(self, claim: Claim) -> Claim | None:
        """Try it and record the result; return the next one if the same transaction has handed it over."""
        message, prepared = claim.message, self.prepared.pop(claim.message.pk)
        with logs.of_request(message.request_id, message.traceparent):
            started = time.monotonic()
            content = prepared.content
            if isinstance(content, Result):
                result = content
            else:
                about = {"messaging__system": self.provider.alias, "switchboard__type": message.type}
                with tracing.span("send mail", kind="client", parent=message.traceparent, **about) as current:
                    result = self._hand_over(claim, content)
                    if current is not None:
                        current.set_attribute("switchboard.outcome", result.outcome.value)
                secrets = [*prepared.secrets.values(), *providers.credentials()]
                text = base.scrub(result.text, secrets) if result.text else ""
                result = replace(result, text=text, provider_message_id=clean_text(result.provider_message_id)[:255])
            following = self._following(result)
            seconds = prepared.seconds + time.monotonic() - started
            state = _record(claim, result, prepared.began, int(seconds * 1000), following)
            metrics.count_attempt(result.outcome, state, self.provider.alias)
            self._update_circuit(result, claim)
            if result.refusal:
                # The next one may be to the same address.
                self.prepared.clear()
            is_trouble = state in {Message.State.FAILED, Message.State.UNKNOWN}
            about = {"uid": str(message.uid), "type": message.type, "state": state or Outcome.LOST_LEASE.value}
            extra = {**about, "outcome": result.outcome.value, "code": result.code}
            logger.log(logging.WARNING if is_trouble else logging.INFO, "message", extra=extra)
        return following

    def _following(self, result: Result) -> Claim | None:
        """The message that leaves next, if nothing but its fence is still to be written."""
        is_usual = result.outcome == Outcome.ACCEPTED and not (self.admission.is_probe or self.admission.is_stale)
        if not (is_usual and self._may_begin() and self._is_prepared(self.waiting[0]) and self.provider.takes_more()):
            return None
        is_packed = isinstance(self.prepared[self.waiting[0].message.pk].content, Payload)
        return self.waiting.popleft() if is_packed else None

    def _prepare_with_next(self, claim: Claim) -> None:
        """Prepare it and some that follow: nothing is in doubt meanwhile, and they share what is asked of the database.

        Only those at their first try. What is known of recipients and templates holds for a second.
        """
        ahead = takewhile(lambda each: each.message.attempts == 1, islice(self.waiting, AHEAD - 1))
        batch = [claim, *ahead]
        self.prepared_until = time.monotonic() + FRESH
        unreachable = _follow_accounts(batch)
        known = Known(recipients.listed([each.message.to_address for each in batch]), unreachable)
        active = lru_cache(overriding.active)
        self.prepared = {each.message.pk: self._prepare(each, known, active) for each in batch}

    def _prepare(self, claim: Claim, known: Known, active: render.Active) -> Prepared:
        message, began, started = claim.message, claim.now(), time.monotonic()
        secrets: dict[str, str] = {}
        with logs.of_request(message.request_id, message.traceparent):
            try:
                content: Payload | Result | None = self._refusal(message, began, known)
                if content is None:
                    with metrics.RENDERING.time():
                        secrets = render.derived(message)
                        content = self._packed(claim, secrets, began, active)
            except registry.Withdrawn as withdrawn:
                content = Result(Outcome.WITHDRAWN, withdrawn.reason)
            except NotHandedOver as error:
                content = error.result
            except DATABASE_AWAY:
                raise
            except Exception as error:
                # An error of derive itself may hold a secret that is not known here, and so cannot be scrubbed.
                text = base.scrub(str(error), secrets.values()) if secrets else ""
                content = Result(Outcome.RENDER_ERROR, type(error).__name__, text)
        return Prepared(content, secrets, began, time.monotonic() - started)

    def _refusal(self, message: Message, now: datetime, known: Known) -> Result | None:
        """Why this message is not to be sent, by its row, its attempts and its recipient."""
        kind = registry.find(message.type)
        # Every outcome clears `handed_at`: set at a claim, it means that the worker died between sending and recording.
        is_in_doubt = message.handed_at or (message.attempts > 1 and self.provider.capabilities.remembers_for)
        if kind and is_in_doubt and not self._may_repeat(kind, message, now):
            return Result(Outcome.INTERRUPTED)
        if message.attempts > message.max_attempts:
            return Result(Outcome.WORKER_KILLER)
        if now >= message.expires_at:
            return Result(Outcome.EXPIRED)
        if kind is None:
            # A newer version of the product may have queued it; its own worker will know the type.
            return Result(Outcome.TEMPORARY, "unknown_type")
        address, user_id, channel = message.to_address, message.user_id, message.channel
        reason = known.unreachable.get(message.pk) or recipients.refusal(
            kind, address=address, user_id=user_id, channel=channel, known=known.listed
        )
        return Result(Outcome.SUPPRESSED, reason) if reason else None

    def _may_repeat(self, kind: registry.NotificationType, message: Message, now: datetime) -> bool:
        """Whether to hand over again what may have been accepted before.

        A type that must not come twice allows it only while the provider knows the message again by its uid.
        """
        if kind.on_ambiguous == "retry":
            return True
        doubts = list(message.tries.filter(outcome=Outcome.AMBIGUOUS).values_list("provider", "created_at"))
        if message.handed_at:
            doubts.append((message.provider, message.handed_at))
        remembers_for, alias = self.provider.capabilities.remembers_for, self.provider.alias
        return bool(remembers_for) and all(by == alias and now - at < remembers_for for by, at in doubts)

    def _packed(self, claim: Claim, secrets: dict[str, str], now: datetime, active: render.Active) -> Payload:
        message = claim.message
        if not message.to_address.rpartition("@")[0].isascii():
            raise NotHandedOver(Result(Outcome.PERMANENT, "smtputf8", "What stands before the @ must be ASCII."))
        first = message.tries.exclude(outcome=Outcome.TRANSPORT_DOWN).first() if message.attempts > 1 else None
        mail = build(message, secrets, date=message.handed_at or (first.created_at if first else now), active=active)
        payload = self.provider.pack(mail, uid=str(message.uid), tag=message.type)
        subject = base.scrub(str(mail.subject), secrets.values())
        claim.as_sent |= {"subject": subject[:200], "template_source": mail.rendered.source[:100]}
        return payload

    def _hand_over(self, claim: Claim, payload: Payload) -> Result:
        claim.as_sent["provider"] = self.provider.alias
        if claim.is_handed:
            return self._sent(claim, payload)
        try:
            self.provider.ready()
        except NotHandedOver as down:
            return down.result
        if not claim.hand_over(self.provider.alias):
            return Result(Outcome.LOST_LEASE)
        return self._sent(claim, payload)

    def _sent(self, claim: Claim, payload: Payload) -> Result:
        with metrics.SENDING.time():
            result = self.provider.send(payload)
        if result.outcome != Outcome.AMBIGUOUS:
            return result
        kind = registry.get(claim.message.type)
        return replace(result, may_repeat=self._may_repeat(kind, claim.message, claim.now()))

    def _update_circuit(self, result: Result, claim: Claim) -> None:
        """Pause the channel for all workers when the mail server is away; end the pause when it answers.

        One that gives no clear answer to several recipients in a row counts as away; to one, the recipient may be why.
        """
        if result.is_doubtful:
            self.doubtful.add(claim.message.to_address)
        elif claim.is_handed:
            self.doubtful.clear()
        is_closed = result.is_doubtful and (self.admission.is_probe or len(self.doubtful) >= SEVERAL)
        if result.outcome == Outcome.TRANSPORT_DOWN or is_closed:
            self.resting_until = time.monotonic() + circuit_breaker.failed(EMAIL, result, self.admission)
            self.admission = Admission()
        elif claim.is_handed and not result.is_doubtful and (self.admission.is_probe or self.admission.is_stale):
            circuit_breaker.worked(EMAIL, self.admission)
            self.admission = Admission(is_stale=False)


def _follow_accounts(batch: Sequence[Claim]) -> dict[int, str]:
    """Address what is announced, and may have been held back for long, to the accounts as they are now; return, by the
    keys of messages, why others are not to be sent. One query, and none where nothing is announced."""
    announced = [each for each in batch if each.message.announcement_id]
    accounts = recipients.accounts({each.message.user_id for each in announced})
    reasons: dict[int, str] = {}
    for each in announced:
        person = accounts.get(each.message.user_id)
        if person is None or (reason := recipients.unreachable(person)):
            reasons[each.message.pk] = "inactive" if person is None else reason
        elif (address := recipients.mail_address(person)) != each.message.to_address:
            each.message.to_address = each.as_sent["to_address"] = address
    return reasons


def _record(
    claim: Claim, result: Result, began: datetime, duration_ms: int, following: Claim | None
) -> Message.State | None:
    """Write the outcome, and retry until the lease ends: nothing else knows what the mail server answered."""
    while True:
        try:
            return claims.record(claim, result, began=began, duration_ms=duration_ms, following=following)
        except DATABASE_AWAY:
            if connection.in_atomic_block or claim.time_left() <= 0:
                raise
            connection.close()
            time.sleep(0.2)
