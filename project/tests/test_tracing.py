"""Traces and reports of errors, as receivers of either get them: joined, and with nothing that people typed."""

import gzip
import json
import logging
import threading

import httpx
import pytest
import sentry_sdk
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from lib import error_reports, tracing
from lib.logs import request_id
from notifications.tests.receiver import Receiver
from project.tests.processes import environment, manage, serving, until

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PERSON = {"email": "typed.by-someone@example.net", "password": "Quiet-harbour-0815", "first_name": "Hiddenfirst"}


@pytest.fixture
def receiver():
    found = Receiver()
    yield found
    found.stop()


def spans(receiver):
    found = []
    for path, _headers, body in list(receiver.requests):
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


def test_a_request_its_statements_and_its_mail_are_one_trace(tmp_path, receiver):
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with serving(tmp_path, **traced) as server:
        httpx.post(f"{server.url}/api/register", json={**PERSON, "last_name": "Hiddenlast"})
        given = {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "request-of-a-trace"}
        url = f"{server.url}/api/auth/request-verification-token"
        answer = httpx.post(url, json={"email": PERSON["email"]}, headers=given)
        names = {"send mail", "POST api/auth/request-verification-token"}
        until(lambda: names <= {span.name for span in spans(receiver)})
        # Written after its span has ended.
        until(lambda: '"message": "message"' in server.log.read_text())
        logged = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
        found = [span for span in spans(receiver) if span.trace_id.hex() == TRACE]

    assert answer.status_code == 200
    (request,) = [span for span in found if span.kind == span.SPAN_KIND_SERVER]
    assert (request.name, request.parent_span_id.hex()) == ("POST api/auth/request-verification-token", CALLER)
    about = {each.key: each.value for each in request.attributes}
    assert about["http.response.status_code"].int_value == 200
    assert about["switchboard.request_id"].string_value == "request-of-a-trace"
    assert any(span.name == "INSERT" and span.parent_span_id == request.span_id for span in found)
    (mail,) = [span for span in found if span.name == "send mail"]
    assert mail.parent_span_id in {span.span_id for span in found}
    lines = {line["message"]: line for line in logged if line.get("request_id") == "request-of-a-trace"}
    assert [lines[kind]["trace_id"] for kind in ("request", "message")] == [TRACE] * 2
    sent = b"".join(body for _path, _headers, body in receiver.requests)
    assert b"api/register" in sent
    assert not any(typed.encode() in sent for typed in PERSON.values())


def test_a_receiver_that_hangs_does_not_hold_up_a_stop(monkeypatch):
    is_over, waited_out = threading.Event(), []

    class Hanging(SpanExporter):
        def export(self, spans):
            waited_out.append(not is_over.wait(10))
            return SpanExportResult.SUCCESS

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Hanging()))
    provider.get_tracer("test").start_span("one").end()
    monkeypatch.setattr(tracing, "_provider", provider)
    monkeypatch.setattr(tracing, "_STOP_SECONDS", 0.05)

    tracing.stop()
    is_over.set()
    provider.force_flush()

    assert waited_out == [False]


def test_switched_off_neither_is_loaded():
    script = "import sys, project.asgi; print({name.partition('.')[0] for name in sys.modules})"

    done = manage("shell", "-v", "0", "-c", script, env=environment("sqlite:////tmp/never-opened.sqlite3"))

    assert done.returncode == 0, done.stderr
    assert "'lib'" in done.stdout
    assert not any(f"'{name}'" in done.stdout for name in ("opentelemetry", "sentry_sdk", "prometheus_client"))


def test_errors_are_reported_without_what_people_typed(settings, receiver):
    settings.SENTRY_DSN = f"http://key@127.0.0.1:{receiver.port}/1"
    error_reports.start()
    reset = request_id.set("request-of-an-error")
    try:
        typed = PERSON["password"]
        try:
            raise ValueError(f"Key (email)=({PERSON['email']}) already exists: {typed}")
        except ValueError:
            logging.getLogger("switchboard.errors").exception(
                "unhandled error of %s", PERSON["first_name"], extra={"path": typed, "error": "ValueError"}
            )
        sentry_sdk.flush(10)
    finally:
        request_id.reset(reset)
        sentry_sdk.get_client().close()
        sentry_sdk.init()

    ((path, headers, body),) = receiver.requests
    text = (gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body).decode()
    assert path == "/api/1/envelope/"
    event = json.loads(text.splitlines()[-1])
    assert event["tags"]["request_id"] == "request-of-an-error"
    assert event["logentry"] == {"message": "unhandled error of %s"}
    assert event["extra"] == {"error": "ValueError"}
    (error,) = event["exception"]["values"]
    assert error["type"] == "ValueError"
    assert error["stacktrace"]["frames"][-1]["function"] == "test_errors_are_reported_without_what_people_typed"
    assert not any(value in text for value in PERSON.values())
