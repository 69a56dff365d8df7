"""Endpoints of webhooks: what staff do to them, and what is published is kept for them, in the caller's transaction."""

from __future__ import annotations

import base64
import json
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from django.db import transaction
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from lib import encryption, events, outgoing, tracing
from lib.actors import Actor
from lib.db import SLICE, insert_alike, slices
from lib.errors import ProductError
from lib.events import Event
from lib.text import is_storable
from notifications import engine
from notifications.models import WebhookDelivery, WebhookEndpoint, database_time, moment
from notifications.services import webhook_claims
from notifications.services.webhook_claims import LASTS
from notifications.services.webhook_delivery import PREFIX

State = WebhookDelivery.State
TEST = "webhook.test"
#: How long the secret before goes on signing beside the new one.
OVERLAP = timedelta(hours=24)
#: Deliveries that are inserted as ever; more than these are inserted alike.
_FEW = 4
#: Each may have several requests under way in every process.
MOST = 50
#: The periodic job that does `work`.
JOB = "notifications.webhooks"
#: The row of a deleted endpoint stays for as long: a transaction that saw it before may still write a delivery for it.
OUTLASTS = timedelta(hours=1)


# --- What is published ------------------------------------------------------------------------------------------------


def keep(published: Sequence[Event]) -> None:
    """Write a delivery of each event for each endpoint that wants it: one query where none does."""
    names = {event.name for event in published}
    wanting = [each for each in WebhookEndpoint.objects.only("events") if names.intersection(each.events)]
    pairs = [(each, event) for event in published for each in wanting if event.name in each.events]
    (_insert_many if len(pairs) > _FEW else _insert)(pairs)


def _insert(pairs: Sequence[tuple[WebhookEndpoint, Event]]) -> list[WebhookDelivery]:
    if not pairs:
        return []
    bodies = {id(event): _body(event) for _endpoint, event in pairs}
    times: dict[str, Any] = {"created_at": moment(), "due_at": moment(), "expires_at": moment(LASTS)}
    trace = tracing.traceparent()
    rows = [
        WebhookDelivery(
            endpoint=each, event=event.name, subject=event.subject, body=bodies[id(event)], traceparent=trace, **times
        )
        for each, event in pairs
    ]
    WebhookDelivery.objects.bulk_create(rows, batch_size=500)
    transaction.on_commit(partial(engine.published, [row.pk for row in rows]), robust=True)
    return rows


def _insert_many(pairs: Sequence[tuple[WebhookEndpoint, Event]]) -> None:
    """The same for hundreds, such as accounts that end together: in a fraction of the time."""
    now, rows = database_time(), defaultdict(list)
    for each, event in pairs:
        rows[each, event.name].append({"uid": uuid4().hex, "subject": event.subject, "body": _body(event)})
    for (each, name), alike in rows.items():
        pattern = WebhookDelivery(endpoint=each, event=name, created_at=now, due_at=now, expires_at=now + LASTS)
        insert_alike(pattern, alike)
    uids = [row["uid"] for alike in rows.values() for row in alike]
    transaction.on_commit(partial(_published, uids), robust=True)


def _published(uids: Sequence[str]) -> None:
    engine.published(list(WebhookDelivery.objects.filter(uid__in=uids).values_list("pk", flat=True)))


def _body(event: Event) -> str:
    at = timezone.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    payload = {"type": event.name, "timestamp": at, "data": event.data}
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


# --- What staff do ----------------------------------------------------------------------------------------------------


@transaction.atomic
def create(
    *, name: str, url: str, events: Sequence[str], actor: Actor, reason: str = ""
) -> tuple[WebhookEndpoint, str]:
    """A new endpoint, sent what happens from now on, and its secret, which is shown this once.

    Raises: ENDPOINT_INVALID (400), ENDPOINT_FORBIDDEN (403) for events whose content the actor may not see,
    TOO_MANY_ENDPOINTS (400).
    """
    values = _checked(name, url, events, actor)
    if WebhookEndpoint.objects.count() >= MOST:
        raise ProductError("TOO_MANY_ENDPOINTS", _("There are %(count)d endpoints already.") % {"count": MOST})
    secret = new_secret()
    by = {"created_by": actor.label, "updated_by": actor.label}
    endpoint = WebhookEndpoint.objects.create(**values, **by, secret=encryption.encrypt(secret))
    actor.note("webhook.added", name=endpoint.name, **_why(reason))
    return endpoint, secret


@transaction.atomic
def edit(
    endpoint: WebhookEndpoint, *, name: str, url: str, events: Sequence[str], actor: Actor, reason: str = ""
) -> bool:
    """Write these; return whether anything changed. Raises: ENDPOINT_INVALID (400), ENDPOINT_FORBIDDEN (403)."""
    row = find(endpoint.pk)
    values = _checked(name, url, events, actor, before=row.events)
    changed = sorted(key for key, value in values.items() if getattr(row, key) != value)
    if not changed:
        return False
    _update(endpoint, actor, **values)
    actor.note("webhook.changed", name=endpoint.name, changed=changed, **_why(reason))
    return True


@transaction.atomic
def rotate_secret(endpoint: WebhookEndpoint, *, actor: Actor, reason: str = "") -> str:
    """A new secret, shown this once; the one before goes on signing beside it for 24 hours, and then ends."""
    row, secret = find(endpoint.pk), new_secret()
    old = {"old_secret": row.secret, "old_secret_until": timezone.now() + OVERLAP}
    _update(endpoint, actor, **old, secret=encryption.encrypt(secret))
    actor.note("webhook.secret_rotated", name=row.name, **_why(reason))
    return secret


def pause(endpoint: WebhookEndpoint, *, actor: Actor, reason: str = "") -> bool:
    """Send nothing until it is resumed; what happens meanwhile waits. Return whether that is new."""
    with transaction.atomic():
        return webhook_claims.stop(endpoint, actor=actor, reason=reason)


@transaction.atomic
def resume(endpoint: WebhookEndpoint, *, actor: Actor, reason: str = "") -> bool:
    """Send what waits, now and anew for three days, once `work` has made it due; return whether it was paused."""
    row = find(endpoint.pk)
    if row.paused_at is None:
        return False
    never: dict[str, Any] = dict.fromkeys(("paused_at", "failing_since", "rest_until"))
    _update(endpoint, actor, **never, paused_by="", paused_reason="", failures=0, resumed_at=database_time())
    actor.note("webhook.resumed", name=row.name, **_why(reason))
    engine.hasten(JOB)
    return True


@transaction.atomic
def delete(endpoint: WebhookEndpoint, *, actor: Actor, reason: str = "") -> None:
    """For good, with its deliveries, those that wait among them, which `work` deletes."""
    row = find(endpoint.pk)
    actor.note("webhook.deleted", name=row.name, **_why(reason))
    # The release before, which does not know `deleted_at`, finds it paused, with nothing to tell or to sign with.
    paused = {"paused_at": moment(), "paused_by": actor.label, "paused_reason": "deleted"}
    ended: dict[str, Any] = {"events": [], "secret": "", "old_secret": "", "old_secret_until": None}
    WebhookEndpoint.objects.filter(pk=row.pk).update(**paused, **ended, deleted_at=moment())
    engine.hasten(JOB)


@transaction.atomic
def send_test(endpoint: WebhookEndpoint, *, actor: Actor) -> WebhookDelivery:
    """A delivery of the event `webhook.test`. Raises: ENDPOINT_PAUSED (409)."""
    row = find(endpoint.pk)
    if row.paused_at is not None:
        raise ProductError("ENDPOINT_PAUSED", _("It is paused: resume it first."), status=409)
    actor.note("webhook.tested", name=row.name)
    data = {"endpoint": row.name, "actor": actor.label}
    return _insert([(row, Event(TEST, f"webhook:{row.pk}", data))])[0]


@transaction.atomic
def resend(delivery: WebhookDelivery, *, actor: Actor) -> None:
    """Send it again, or now instead of at its next try, with the same `webhook-id`. Raises: DELIVERY_SENDING (409)."""
    again = {"state": State.QUEUED, "due_at": moment(), "expires_at": moment(LASTS), "attempts": 0, "finished_at": None}
    if not WebhookDelivery.objects.filter(pk=delivery.pk).exclude(state=State.SENDING).update(**again):
        raise ProductError("DELIVERY_SENDING", _("It is being sent right now."), status=409)
    actor.note("webhook.resent", name=delivery.endpoint.name, kind=delivery.event)
    transaction.on_commit(partial(engine.published, [delivery.pk]), robust=True)


def work() -> Iterator[tuple[str, int]]:
    """What `delete` and `resume` leave to be done, a slice and a transaction at a time; yields what and how many."""
    deleted = WebhookEndpoint.everything.filter(deleted_at__isnull=False)
    for endpoint in deleted:
        for keys in slices(endpoint.deliveries.all(), by="id"):
            WebhookDelivery.objects.filter(pk__in=keys).delete()
            yield "webhook deliveries deleted", len(keys)
    deleted.filter(deleted_at__lt=moment(-OUTLASTS)).delete()
    for endpoint in WebhookEndpoint.objects.filter(resumed_at__isnull=False):
        yield from _make_due(endpoint)


def _make_due(endpoint: WebhookEndpoint) -> Iterator[tuple[str, int]]:
    """Make all that waits due at the time of the resume, and then let it be sent: before, what is due already would
    overtake what came earlier and waits for its next try."""
    at: Any = endpoint.resumed_at
    again = {"due_at": at, "expires_at": at + LASTS, "attempts": 0}
    # Two ranges of an index, which what is done has left.
    for left in ({"due_at__lt": at}, {"due_at__gt": at}):
        rows = endpoint.deliveries.filter(state=State.QUEUED, **left).order_by("due_at", "pk")
        while True:
            with transaction.atomic():
                keys = list(rows.select_for_update(no_key=True).values_list("pk", flat=True)[:SLICE])
                WebhookDelivery.objects.filter(pk__in=keys).update(**again)
            if not keys:
                break
            yield "webhook deliveries made due", len(keys)
    WebhookEndpoint.objects.filter(pk=endpoint.pk, resumed_at=at).update(resumed_at=None)
    engine.published([])


def may_see(actor: Actor, name: str) -> bool:
    """Whether the actor may see what an event of this name carries; commands may all."""
    kind = events.find(name)
    return actor.user is None or (kind is not None and actor.user.has_perm(kind.permission))


def _checked(name: str, url: str, wanted: Sequence[str], actor: Actor, before: Sequence[str] = ()) -> Mapping[str, Any]:
    name = " ".join(name.split())
    if not (0 < len(name) <= 100 and is_storable(name)):
        raise invalid(_("A name has 1 to 100 characters."))
    known = {kind.name for kind in events.declared()} - {TEST}
    if unknown := sorted(set(wanted) - known):
        raise invalid(_("There is no event “%(name)s”.") % {"name": unknown[0][:64]})
    if not wanted:
        raise invalid(_("Choose at least one event."))
    # What others chose may stay.
    if unseen := sorted(each for each in set(wanted) - set(before) if not may_see(actor, each)):
        text = _("You may not see what an event “%(name)s” carries.") % {"name": unseen[0]}
        raise ProductError("ENDPOINT_FORBIDDEN", text, status=403)
    return {"name": name, "url": checked_url(url), "events": sorted(set(wanted))}


def checked_url(url: str) -> str:
    """The address in its one spelling. Raises: ENDPOINT_INVALID (400)."""
    try:
        url = outgoing.check_url(url.strip())
    except outgoing.Refused as refused:
        raise invalid(str(_REFUSED[str(refused)])) from None
    if len(url) > 2000:
        raise invalid(_("An address has at most 2,000 characters."))
    return url


_REFUSED: dict[str, str | Promise] = {
    outgoing.NO_ADDRESS: gettext_lazy("This is no address like https://example.org/webhooks."),
    outgoing.USER_INFO: gettext_lazy("An address holds no user's name and no password."),
    outgoing.NOT_HTTPS: gettext_lazy("It begins with https."),
    outgoing.PRIVATE: gettext_lazy("It is in a network that WEBHOOKS_ALLOWED_NETWORKS does not name."),
}


def _why(reason: str) -> dict[str, str]:
    return {"reason": reason} if reason else {}


def invalid(message: str) -> ProductError:
    return ProductError("ENDPOINT_INVALID", message, reason=message)


def find(pk: int) -> WebhookEndpoint:
    """The endpoint, locked until the end of the transaction. Raises: ENDPOINT_UNKNOWN (404)."""
    row = WebhookEndpoint.objects.select_for_update(no_key=True).filter(pk=pk).first()
    if row is None:
        raise ProductError("ENDPOINT_UNKNOWN", _("There is no such endpoint."), status=404)
    return row


def _update(endpoint: WebhookEndpoint, actor: Actor, **values: Any) -> None:
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(**values, updated_at=timezone.now(), updated_by=actor.label)
    endpoint.refresh_from_db()


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
