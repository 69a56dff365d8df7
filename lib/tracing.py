"""Traces by OpenTelemetry, where OTEL_EXPORTER_OTLP_ENDPOINT is set: a span for each request, statement, mail and
webhook, joined by W3C `traceparent` (https://www.w3.org/TR/trace-context/) from the caller in, through the rows of what
is sent later, and out. Off, nothing of it is loaded.

A span holds templates and kinds: no path, no value of a statement, no message of an error, no address.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, connections
from django.db.backends.signals import connection_created

from lib.logs import request_id, trace_id

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

    from lib.asgi import App, Receive, Scope, Send

#: None: off.
tracer: Tracer | None = None
_provider: TracerProvider | None = None
_STATEMENT_LENGTH = 2_000
#: Seconds that a stop waits for the receiver.
_STOP_SECONDS = 2.0


def start() -> None:
    """Begin to trace in this process, by the SDK's own settings (`OTEL_…`) besides the endpoint."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    global tracer, _provider
    os.environ.setdefault("OTEL_SERVICE_NAME", "switchboard")
    # At its own end it waits for half a minute.
    _provider = TracerProvider(resource=Resource.create({"service.version": settings.RELEASE}), shutdown_on_exit=False)
    atexit.register(stop)
    _provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces"))
    )
    tracer = _provider.get_tracer("switchboard")
    connection_created.connect(_trace_statements)
    for opened in connections.all(initialized_only=True):
        _trace_statements(opened)


def stop() -> None:
    """Send what waits, once, for as long as a stop may take: a receiver that hangs holds nothing up."""
    global _provider
    if _provider is not None:
        # Its own timeout is not kept (open-telemetry/opentelemetry-python, issue 4568).
        sending = threading.Thread(target=_provider.force_flush, name="traces", daemon=True)
        _provider = None
        sending.start()
        sending.join(_STOP_SECONDS)


@contextmanager
def span(name: str, *, kind: str, parent: str | None = None, **about: str | int) -> Iterator[Span | None]:
    """What happens inside, as part of the trace that `parent` (a `traceparent`) names, else of the current one.

    `kind`: server, client, consumer, …; `about`: attributes, with `__` for each dot of their names.
    """
    if tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
    attributes = {key.replace("__", "."): value for key, value in about.items()}
    with tracer.start_as_current_span(
        name,
        context,
        SpanKind[kind.upper()],
        attributes,
        # Their messages repeat what people typed.
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        reset = trace_id.set(f"{current.get_span_context().trace_id:032x}")
        try:
            yield current
        except Exception as error:
            current.set_attribute("error.type", type(error).__name__)
            current.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            trace_id.reset(reset)


def traceparent() -> str | None:
    """What names the current span to others; None without one."""
    if tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def traced(app: App) -> App:
    """`app` with a span around each request; `app` itself when off."""
    if tracer is None:
        return app

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        given = {name: value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"}
        method = scope["method"] if scope["method"].isalpha() else "_OTHER"
        with span(method, kind="server", parent=given.get(b"traceparent"), http__request__method=method) as current:

            async def sending(message: Mapping[str, Any]) -> None:
                if message["type"] == "http.response.start" and current is not None:
                    _describe(current, message["status"])
                await send(message)

            await app(scope, receive, sending)

    return inner


def name_span(method: str, route: str) -> None:
    """Name the span of this request by its route template; only while `tracer` is there."""
    from opentelemetry.trace import get_current_span

    current = get_current_span()
    current.update_name(f"{method} {route}")
    current.set_attribute("http.route", route)


def _describe(current: Span, status: int) -> None:
    from opentelemetry.trace import Status, StatusCode

    current.set_attribute("http.response.status_code", status)
    if identity := request_id.get():
        current.set_attribute("switchboard.request_id", identity)
    if status >= 500:
        current.set_status(Status(StatusCode.ERROR))


def statement(sql: str) -> Any:
    """A span around a statement, if there is one around it: threads that poll leave none."""
    from opentelemetry.trace import INVALID_SPAN, get_current_span

    if tracer is None or get_current_span() is INVALID_SPAN:
        return nullcontext()
    operation = sql.split(None, 1)[0].upper() if sql else ""
    about: dict[str, Any] = {"db__system__name": connection.vendor, "db__operation__name": operation}
    return span(operation, kind="client", db__query__text=sql[:_STATEMENT_LENGTH], **about)


def _trace_statements(connection: Any, **kwargs: Any) -> None:
    if _execute not in connection.execute_wrappers:
        connection.execute_wrappers.append(_execute)


def _execute(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    with statement(str(sql)):
        return execute(sql, params, many, context)
