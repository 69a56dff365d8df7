from datetime import UTC, datetime, timedelta

import pytest

from notifications.models import ProviderState, Worker
from notifications.services.health import describe, span
from notifications.tests.factories import MessageFactory

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
ALIVE, SILENT = Worker(beat_at=NOW - 5 * SECOND), Worker(beat_at=NOW - 95 * SECOND)
TOKEN = "00000000-0000-4000-8000-000000000000"
SENDING = {"state": "sending", "lease_token": TOKEN, "lease_owner": "host:1:x"}


def told(*, providers=(), workers=(ALIVE,), engine="worker", **fields):
    fields = {"due_at": NOW - SECOND, "expires_at": NOW + HOUR, "finished_at": NOW - HOUR, **fields}
    if fields.get("state", "queued") not in ("queued", "sending"):
        fields["due_at"] = None
    message = MessageFactory.build(**fields)
    return describe(message, providers=providers, workers=workers, engine=engine, lease=30 * SECOND, now=NOW)


def paused(**fields):
    return [ProviderState(alias="email", **fields)]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "Due since 4 May 2026 11:59:59 UTC; a worker takes it next."),
        ({"workers": ()}, "Due, and no worker has given a sign of life."),
        ({"workers": (SILENT,)}, "It is due, and no worker has given a sign of life for 95 s."),
        ({"workers": (SILENT, ALIVE)}, "Due since 4 May 2026 11:59:59 UTC; a worker takes it next."),
        ({"workers": (), "engine": "inline"}, "Due since 4 May 2026 11:59:59 UTC; a worker takes it next."),
        ({"engine": "off"}, "Nothing is sent: set EMAIL_URL, and NOTIFICATIONS_ENGINE to anything but off."),
        ({"due_at": NOW + HOUR}, "Waiting for its time: 4 May 2026 13:00:00 UTC."),
        (
            {"due_at": NOW + HOUR, "expires_at": NOW + 2 * HOUR, "attempts": 2, "last_code": "451"},
            "Attempt 2 of 8 did not succeed (451); the next is at 4 May 2026 13:00:00 UTC.",
        ),
        (
            {"expires_at": NOW - SECOND},
            "It expired at 4 May 2026 11:59:59 UTC; the next worker that takes it notes so.",
        ),
        (
            {"providers": paused(paused=True, reason="maintenance")},
            "The way out is paused until staff resume it: maintenance.",
        ),
        (
            {"providers": paused(paused=True, paused_until=NOW + SECOND)},
            "The way out is paused until 4 May 2026 12:00:01 UTC.",
        ),
        (
            {"providers": paused(paused=True, paused_until=NOW - SECOND)},
            "Due since 4 May 2026 11:59:59 UTC; a worker takes it next.",
        ),
        (
            {"providers": [ProviderState(alias="sms", paused=True)]},
            "Due since 4 May 2026 11:59:59 UTC; a worker takes it next.",
        ),
        (
            {**SENDING, "due_at": NOW + 20 * SECOND},
            "Being sent by host:1:x since 4 May 2026 11:59:50 UTC.",
        ),
        (
            {**SENDING, "due_at": NOW + 20 * SECOND, "handed_at": NOW - 9 * SECOND},
            "Being sent by host:1:x, handed to the mail server at 4 May 2026 11:59:51 UTC.",
        ),
        (SENDING, "Its worker fell silent while sending; since 4 May 2026 11:59:59 UTC any other may take it over."),
        ({"state": "sent"}, "Sent at 4 May 2026 11:00:00 UTC."),
        (
            {"state": "sent", "delivery_state": "bounced"},
            "Sent at 4 May 2026 11:00:00 UTC; the provider reports: bounced.",
        ),
        (
            {"state": "sent", "reason": "unverified"},
            "Sent at 4 May 2026 11:00:00 UTC; the provider's answer could not be read, its report will tell.",
        ),
        (
            {"state": "failed", "reason": "refused", "last_code": "550"},
            "Failed: the mail server refused it (550), at 4 May 2026 11:00:00 UTC.",
        ),
        ({"state": "failed", "reason": "odd_one"}, "Failed: odd one, at 4 May 2026 11:00:00 UTC."),
        (
            {"state": "unknown", "handed_at": NOW - HOUR},
            "It may have arrived: handed over at 4 May 2026 11:00:00 UTC, and no answer was noted, "
            "so only staff send it again.",
        ),
        ({"state": "suppressed", "reason": "suppressed"}, "Not sent: the address is on the list of suppressions."),
        ({"state": "suppressed", "reason": "preference"}, "Not sent: its recipient has switched this category off."),
        (
            {"state": "suppressed", "reason": "inactive"},
            "Not sent: its recipient's account is not active any more.",
        ),
        (
            {"state": "suppressed", "reason": "not_allowed"},
            "Not sent: NOTIFICATIONS_ALLOW_TO does not name this address.",
        ),
        (
            {"state": "suppressed", "reason": "throttled"},
            "Not sent: the address has had as many of this type as its rate allows.",
        ),
        ({"state": "expired"}, "Not sent: it expired at 4 May 2026 13:00:00 UTC."),
        ({"state": "cancelled", "reason": "staff"}, "Cancelled by staff (4 May 2026 11:00:00 UTC)."),
        (
            {"state": "cancelled", "reason": "superseded"},
            "Withdrawn before it was sent: superseded (4 May 2026 11:00:00 UTC).",
        ),
    ],
)
def test_one_sentence_says_why(fields, sentence):
    assert told(**fields) == sentence


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172800, "2 d")]
)
def test_spans_are_told_at_a_glance(seconds, shown):
    assert span(timedelta(seconds=seconds)) == shown
