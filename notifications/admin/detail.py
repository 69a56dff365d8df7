"""The page of one message: the reason for its state, its timeline, its content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from notifications import registry
from notifications.models import Message, ProviderState, Worker
from notifications.registry import MASK
from notifications.rendering import render
from notifications.rendering.render import compose
from notifications.services.claims import lease
from notifications.services.health import describe

SHOWN = 100
#: Headers whose value lets its readers act for the recipient.
_SECRET_HEADERS = {"list-unsubscribe"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timeline."""

    at: datetime
    what: str
    code: str = ""
    text: str = ""
    by: str = ""


def reason_of(message: Message, *, shows_providers: bool) -> str:
    """The reason for its state; the reason of a provider's pause only where it may be shown."""
    providers = list(ProviderState.objects.all())
    for provider in providers:
        provider.reason = provider.reason if shows_providers else ""
    return describe(
        message,
        providers=providers,
        workers=Worker.objects.order_by("-beat_at")[:1],
        engine=settings.NOTIFICATIONS_ENGINE,
        lease=lease(),
        now=timezone.now(),
    )


def timeline(message: Message, *, shows_reports: bool) -> list[Entry]:
    """The newest hundred attempts and reports, oldest first; of the reports only their kind, unless all is shown."""
    return sorted(_entries(message, shows_reports=shows_reports), key=lambda entry: entry.at)


def _entries(message: Message, *, shows_reports: bool) -> Iterator[Entry]:
    yield Entry(message.created_at, _("Queued"), by=message.request_id)
    for attempt in message.tries.order_by("-pk")[:SHOWN]:
        yield Entry(
            attempt.created_at,
            _("Attempt %(n)d: %(outcome)s") % {"n": attempt.n, "outcome": attempt.get_outcome_display()},
            code=attempt.code,
            text=attempt.response,
            by=f"{attempt.worker}, {attempt.provider or '–'}, {attempt.duration_ms} ms",
        )
    for event in message.events.order_by("-pk")[:SHOWN]:
        text = event.detail if shows_reports else ""
        yield Entry(event.at, _("Reported: %(kind)s") % {"kind": event.summary}, text=text, by=event.provider)
    for copy in message.copies.order_by("-pk")[:SHOWN]:
        yield Entry(copy.created_at, _("Sent again as new"), text=str(copy.uid))


@dataclass(slots=True)
class Content:
    """The mail, with every secret blotted, or in `trouble` why it cannot be shown."""

    trouble: str = ""
    rendered: render.Rendered | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    size: int = 0
    is_changed: bool = False


def content(message: Message) -> Content:
    """Rendered by today's templates. `derive` is not asked: a page of the admin holds no live code or link."""
    try:
        kind = registry.get(message.type)
    except registry.UnknownType:
        return Content(_("This version of the product does not know this type any more."))
    if not message.context and kind.context.model_fields:
        return Content(_("What it said was deleted when its time to be kept was over."))
    try:
        found = render.masked(message)
        mail = compose(message, found, date=message.sent_at or message.created_at).message()
    except Exception as error:
        # Whatever a template, a context of an older version or a header runs into is what the page has to say.
        return Content(_("It cannot be rendered today: %(error)s.") % {"error": type(error).__name__})
    return Content(
        rendered=found,
        headers=[(name, MASK if name.lower() in _SECRET_HEADERS else str(value)) for name, value in mail.items()],
        size=len(mail.as_bytes()),
        is_changed=bool(message.template_source and found.source and found.source != message.template_source),
    )
