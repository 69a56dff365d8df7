"""Errors to Sentry, or what speaks its protocol, where SENTRY_DSN is set: each line of the log at error, with the kinds
of the exceptions, the places in our code and the request's id. Nothing that anybody typed leaves: no values of
variables, no messages of exceptions, no request, no user. Off, nothing of it is loaded."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings

from lib.logs import request_id, trace_id

#: Of what a line of the log brings besides its words.
_KEPT = ("error", "where", "job", "revision", "tries", "checks")
#: Of an event, as the SDK makes it.
_SENT = (
    "event_id",
    "timestamp",
    "level",
    "logger",
    "platform",
    "release",
    "environment",
    "sdk",
    "exception",
    "logentry",
)


def start() -> None:
    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.dedupe import DedupeIntegration
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration
    from sentry_sdk.integrations.threading import ThreadingIntegration

    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        release=settings.RELEASE or None,
        environment=settings.ENVIRONMENT,
        # Those that look into requests and statements are left out.
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[
            LoggingIntegration(level=None, event_level=logging.ERROR),
            ExcepthookIntegration(),
            ThreadingIntegration(propagate_scope=False),
            DedupeIntegration(),
            AtexitIntegration(callback=lambda pending, timeout: None),
        ],
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        before_send=scrubbed,  # type: ignore[arg-type]
    )


def scrubbed(event: dict[str, Any], hint: Any = None) -> dict[str, Any]:
    """The event with what we know to be ours alone."""
    sent = {name: event[name] for name in _SENT if name in event}
    for error in sent.get("exception", {}).get("values", ()):
        error.pop("value", None)
        for frame in error.get("stacktrace", {}).get("frames", ()):
            frame.pop("vars", None)
    if "logentry" in sent:
        # The words as they stand in the code, without what was put into them.
        sent["logentry"] = {"message": sent["logentry"].get("message", "")}
    extra = event.get("extra", {})
    sent["extra"] = {name: extra[name] for name in _KEPT if name in extra}
    sent["tags"] = {"request_id": request_id.get(), "trace_id": trace_id.get()}
    return sent
