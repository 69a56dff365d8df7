"""The door in front of Django: the same answers as the routes behind it, byte for byte."""

import asyncio
import gc
import json
import logging
import tracemalloc

import pytest
from django.core.asgi import get_asgi_application

from feature_flags.http import asgi
from feature_flags.runtime import store
from feature_flags.tests.wire import APP, BULK, ask, make_token
from lib.conf import conf
from project.asgi import application

pytestmark = pytest.mark.django_db

SEED = "/api/feature-flags/feature-flags"
FEATURES = "/api/client/features"
FRONTEND = "/api/frontend"
PREFLIGHT = {"origin": APP, "access-control-request-method": "POST"}
CONTEXT = {"context": {"targetingKey": "u1", "country": "IT"}}
METRICS = {"appName": "shop", "bucket": {"start": "", "stop": "", "toggles": {"FF_ON": {"yes": 2, "no": 1}}}}

# What is asked; `{server}`, `{frontend}`, `{limited}`, `{tag}` are filled in.
CASES = {
    "seed": ("GET", SEED, {}, b"", 200),
    "seed, short": ("GET", "/api/feature-flags", {}, b"", 200),
    "seed, listed origin": ("GET", SEED, {"origin": APP}, b"", 200),
    "seed, other origin": ("GET", SEED, {"origin": "https://evil.example"}, b"", 200),
    "seed, slash": ("GET", f"{SEED}/", {}, b"", 307),
    "seed, HEAD": ("HEAD", SEED, {}, b"", 405),
    "seed, POST": ("POST", SEED, {"origin": APP}, b"{}", 405),
    "seed, preflight": ("OPTIONS", SEED, {"origin": APP, "access-control-request-method": "GET"}, b"", 200),
    "features": ("GET", FEATURES, {"authorization": "{server}", "unleash-client-spec": "5.2.0"}, b"", 200),
    "features, inlined": ("GET", FEATURES, {"authorization": "{server}"}, b"", 200),
    "features, gzip": (
        "GET",
        FEATURES,
        {"authorization": "Bearer {server}", "unleash-client-spec": "5.2.0", "accept-encoding": "gzip, br"},
        b"",
        200,
    ),
    "features, 304": (
        "GET",
        FEATURES,
        {"x-api-key": "{server}", "unleash-client-spec": "5.2.0", "if-none-match": "{tag}"},
        b"",
        304,
    ),
    "features, two tags in two headers": (
        "GET",
        FEATURES,
        {
            "x-api-key": "{server}",
            "unleash-client-spec": "5.2.0",
            "if-none-match": '"a"',
            "If-None-Match": "{tag}",
        },
        b"",
        304,
    ),
    "features, 401": ("GET", FEATURES, {}, b"", 401),
    "features, 403": ("GET", FEATURES, {"authorization": "{frontend}", "origin": APP}, b"", 403),
    "features, 405": ("DELETE", FEATURES, {"authorization": "{server}"}, b"", 405),
    "features, slash": ("GET", f"{FEATURES}/?a=b", {"authorization": "{server}"}, b"", 200),
    "features, two slashes": ("GET", "/api//client/features", {"authorization": "{server}"}, b"", 200),
    "metrics, slash": ("POST", "/api/client/metrics/", {"authorization": "{server}"}, METRICS, 202),
    "frontend, slash": ("GET", f"{FRONTEND}/?userId=7", {"authorization": "{frontend}", "origin": APP}, b"", 200),
    "frontend, slash, preflight": ("OPTIONS", f"{FRONTEND}/", PREFLIGHT, b"", 200),
    "frontend, unknown, preflight": ("OPTIONS", f"{FRONTEND}/nowhere/", PREFLIGHT, b"", 200),
    "frontend metrics, two slashes": (
        "POST",
        f"{FRONTEND}//client/metrics",
        {"authorization": "{frontend}", "origin": APP},
        METRICS,
        202,
    ),
    "frontend metrics, preflight": ("OPTIONS", f"{FRONTEND}//client/metrics", PREFLIGHT, b"", 200),
    "register": ("POST", "/api/client/register", {"authorization": "{server}", "origin": APP}, b"{}", 202),
    "metrics": ("POST", "/api/client/metrics", {"authorization": "{server}"}, METRICS, 202),
    "metrics, no json": ("POST", "/api/client/metrics", {"authorization": "{server}"}, b"{", 400),
    "metrics, 413": ("POST", "/api/client/metrics", {"authorization": "{server}"}, b" " * 1_000_001, 413),
    "frontend": (
        "GET",
        f"{FRONTEND}?userId=7&properties%5Bcountry%5D=IT&sessionId=s",
        {"authorization": "{frontend}", "origin": APP},
        b"",
        200,
    ),
    "frontend, POST": ("POST", FRONTEND, {"authorization": "{frontend}"}, CONTEXT, 200),
    "frontend, 304": ("POST", FRONTEND, {"authorization": "{frontend}", "if-none-match": "*"}, CONTEXT, 304),
    "frontend, 400": ("POST", FRONTEND, {"authorization": "{frontend}"}, b"[]", 400),
    "frontend, 401": ("GET", FRONTEND, {"authorization": "junk", "origin": "https://any.example"}, b"", 401),
    "frontend, 403": ("GET", FRONTEND, {"authorization": "{limited}", "origin": "https://evil.example"}, b"", 403),
    "frontend, 413": ("POST", FRONTEND, {"authorization": "{frontend}"}, b" " * 70_000, 413),
    "frontend, PUT": ("PUT", FRONTEND, {"authorization": "{frontend}"}, b"", 405),
    "frontend, preflight": ("OPTIONS", FRONTEND, {**PREFLIGHT, "origin": "https://any.example"}, b"", 200),
    "frontend register": ("POST", f"{FRONTEND}/client/register", {"authorization": "{frontend}"}, b"", 202),
    "frontend metrics": (
        "POST",
        f"{FRONTEND}/client/metrics",
        {"authorization": "{frontend}", "origin": APP},
        METRICS,
        202,
    ),
    "bulk": ("POST", BULK, {"authorization": "Bearer {frontend}", "origin": APP}, CONTEXT, 200),
    "bulk, two slashes": ("POST", f"/{BULK}", {"authorization": "Bearer {server}"}, CONTEXT, 200),
    "bulk, 304": ("POST", BULK, {"authorization": "{server}", "if-none-match": 'W/"x", *'}, CONTEXT, 304),
    "bulk, no json": ("POST", BULK, {"authorization": "{server}"}, b"{", 400),
    "bulk, 401": ("POST", BULK, {"origin": APP}, b"", 401),
    "bulk, 403": ("POST", BULK, {"authorization": "{limited}", "origin": "https://evil.example"}, b"", 403),
    "bulk, GET": ("GET", BULK, {"authorization": "{server}"}, b"", 405),
    "bulk, OPTIONS": ("OPTIONS", BULK, {}, b"", 405),
    "bulk, 413": ("POST", BULK, {"authorization": "{server}"}, b" " * 70_000, 413),
    "bulk, preflight": (
        "OPTIONS",
        BULK,
        {**PREFLIGHT, "access-control-request-headers": "authorization,if-none-match, bad name"},
        b"",
        200,
    ),
    "single": ("POST", f"{BULK}/FF_RATIO", {"authorization": "{server}"}, CONTEXT, 200),
    "single, empty body": ("POST", f"{BULK}/FF_RULE", {"authorization": "{server}"}, b"", 200),
    "single, two slashes": ("POST", f"/{BULK}/FF_ON", {"authorization": "{server}"}, CONTEXT, 200),
    "single, unknown": ("POST", f"{BULK}/a/b%20c/../é", {"authorization": "{server}"}, CONTEXT, 404),
    "single, slash": ("POST", f"{BULK}/FF_ON/", {"authorization": "{server}"}, CONTEXT, 200),
    "single, slash, preflight": ("OPTIONS", f"{BULK}/FF_ON/", PREFLIGHT, b"", 200),
    "bulk, slash": ("POST", f"{BULK}/", {"authorization": "{server}"}, CONTEXT, 200),
    "bulk, slash, preflight": ("OPTIONS", f"{BULK}/", PREFLIGHT, b"", 200),
    "single, hidden": ("POST", f"{BULK}/FF_HIDDEN", {"authorization": "{frontend}"}, CONTEXT, 404),
    "single, context": ("POST", f"{BULK}/FF_ON", {"authorization": "{server}"}, {"context": []}, 400),
    "single, 401": ("POST", f"{BULK}/FF_ON", {}, CONTEXT, 401),
    "single, GET": ("GET", f"{BULK}/FF_ON", {}, b"", 405),
    "configuration": ("GET", "/ofrep/v1/configuration", {"authorization": "{server}"}, b"", 404),
    "unknown host": ("POST", BULK, {"authorization": "{server}", "host": "evil.example"}, CONTEXT, 400),
}


@pytest.fixture
def scene(scene):
    scene.limited = make_token("frontend", name="limited", allowed_origins=["https://shop.example"])[1]
    scene.tag = store.snapshot.features.tag
    return scene


def asked(name, scene):
    method, target, headers, body, _ = CASES[name]
    return method, target, {key: value.format_map(vars(scene)) for key, value in headers.items()}, body


def comparable(reply):
    headers = {name: value for name, value in reply.headers.items() if name != "x-request-id"}
    # What the admin's own middleware adds to every page of the stock path.
    for name in ("x-frame-options", "cross-origin-opener-policy"):
        headers.pop(name, None)
    body = reply.body
    if b'"request_id"' in body:
        document = reply.json()
        body = {key: value for key, value in document.items() if key != "request_id"}
        headers.pop("content-length", None)
    return reply.status, headers, body


def test_the_edge_and_the_routes_answer_alike(scene, settings, subtests):
    for name, case in CASES.items():
        with subtests.test(name):
            settings.FLAGS_EDGE = True
            fast = ask(application, *asked(name, scene))
            settings.FLAGS_EDGE = False
            slow = ask(application, *asked(name, scene))

            assert fast.status == case[-1]
            assert comparable(fast) == comparable(slow)


def test_djangos_own_handler_answers_alike(scene, subtests):
    stock_application = get_asgi_application()
    for name in CASES:
        if name.startswith(("bulk", "unknown")):
            continue
        with subtests.test(name):
            fast, stock = (ask(app, *asked(name, scene)) for app in (application, stock_application))

            for reply in (fast, stock):
                reply.headers.pop("vary", None)  # the stock path opens the session
                reply.headers.pop("content-length", None)  # and tells it of a 304, too
            assert comparable(fast) == comparable(stock)


def test_before_the_first_snapshot_both_doors_say_so(scene, settings, monkeypatch, subtests):
    requests = {name: asked(name, scene) for name in CASES}
    store.put(None)
    monkeypatch.setattr(store, "current", lambda: None)
    for name, (method, target, *_, status) in CASES.items():
        with subtests.test(name):
            settings.FLAGS_EDGE = True
            fast = ask(application, *requests[name])
            settings.FLAGS_EDGE = False

            assert comparable(fast) == comparable(ask(application, *requests[name]))
            if status in {200, 202, 304, 401} and method != "OPTIONS":
                assert fast.status == (500 if BULK in target else 503)


@pytest.mark.parametrize("is_edge", [True, False])
@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("seed", {"detail": "Internal Server Error", "code": "internal"}),
        ("frontend", {"detail": "Internal Server Error", "code": "internal"}),
        ("bulk", {"errorCode": "GENERAL", "errorDetails": "The flag could not be evaluated."}),
        ("single", {"key": "FF_RATIO", "errorCode": "GENERAL", "errorDetails": "The flag could not be evaluated."}),
    ],
)
def test_a_bug_is_a_json_500_with_an_id_and_a_traceback_in_the_log(
    name, body, is_edge, scene, settings, monkeypatch, caplog
):
    def explode(*args):
        raise RuntimeError("boom")

    monkeypatch.setattr(asgi, "cache_of", explode)
    settings.FLAGS_EDGE = is_edge
    reply = ask(application, *asked(name, scene))

    assert (reply.status, reply.json()) == (500, body)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "boom" in str(record.exc_info)
    assert reply.headers["x-request-id"]


def test_a_success_leaves_no_line_and_a_failure_leaves_one(scene, caplog):
    caplog.set_level(logging.INFO)
    for name in ("seed", "features, 304", "bulk", "frontend"):
        assert "x-request-id" not in ask(application, *asked(name, scene)).headers
    assert not [record for record in caplog.records if record.name == "switchboard.request"]

    reply = ask(application, "GET", FEATURES, {"x-request-id": "abc-12345"})

    (record,) = [record for record in caplog.records if record.name == "switchboard.request"]
    assert (record.request_id, record.path, record.status) == ("abc-12345", FEATURES, 401)
    assert reply.headers["x-request-id"] == "abc-12345"


def test_successes_are_counted_and_told_once_a_minute(scene, caplog, monkeypatch):
    asgi._log_counts(asgi.perf_counter())
    caplog.clear()
    caplog.set_level(logging.INFO)
    for _ in range(3):
        ask(application, *asked("bulk", scene))
    monkeypatch.setattr(asgi, "_logged_at", asgi._logged_at - 3600)
    ask(application, *asked("features, 304", scene))

    (record,) = [record for record in caplog.records if record.message == "served from memory"]
    assert record.served == {"client features 304": 1, "ofrep bulk 200": 3}


def test_the_secret_is_in_no_line(scene, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("frontend, 413", "features, 403", "features, 405", "frontend, PUT"):
        ask(application, *asked(name, scene))

    assert scene.frontend not in caplog.text
    assert scene.server not in caplog.text


def test_a_body_that_says_it_is_too_large_is_not_read(scene):
    headers = {"authorization": scene.server, "content-length": str(2**40)}

    reply = ask(application, "POST", BULK, headers, leaves=True, chunks=[b"{"])

    assert (reply.status, reply.json()["errorCode"]) == (413, "GENERAL")


def test_a_body_without_a_length_is_read_up_to_its_limit(scene):
    chunks = [b" " * 40_000] * 3

    reply = ask(application, "POST", BULK, {"authorization": scene.server}, chunks=chunks, chunked=True)

    assert reply.status == 413


def test_nothing_a_caller_sends_fills_the_memory(scene, settings, subtests):
    settings.ALLOWED_HOSTS = [".example.org"]
    conf.forget()

    def request(name, number):
        odd = f"{number}.{'x.' * 30_000}example.org"
        odd = f"Bearer{' ' * 60_000}{' ' * number}{scene.server}" if name == "authorization" else odd
        ask(application, "GET", FEATURES, {"authorization": scene.server, "host": "a.example.org", name: odd})
        ask(application, "POST", BULK, {"authorization": scene.server, "host": "a.example.org", name: odd}, CONTEXT)

    for name in [
        "host",
        "origin",
        "accept-encoding",
        "authorization",
        "unleash-client-spec",
        "if-none-match",
        "x-request-id",
    ]:
        with subtests.test(name):
            request(name, 0)
            gc.collect()
            tracemalloc.start()
            for number in range(30):
                request(name, number)
            gc.collect()
            kept = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()

            # One of them each time would be 1.8 MB; what other tests left running allocates, too.
            assert kept < 1_000_000


def test_a_client_that_leaves_while_it_sends_is_let_go(scene, caplog):
    for path in [BULK, f"{BULK}/FF_ON", FRONTEND, "/api/client/metrics"]:
        assert ask(application, "POST", path, {"authorization": scene.server}, leaves=True, chunks=[b"{"]) is None
        assert not caplog.records, path


def test_other_paths_and_other_kinds_of_connection_are_handed_on():
    seen = []

    async def inner(scope, receive, send):
        seen.append(scope.get("path", scope["type"]))
        await send({"type": "http.response.start", "status": 418, "headers": []})

    app = asgi.edge(inner)
    for path in ("/", "/admin/", "/api/_status", "/api/client", "/ofrep/v1", "//api/client/features", f"{SEED}/x"):
        assert ask(app, "GET", path).status == 418

    @asgi.edge
    async def other(scope, receive, send):
        seen.append(scope["type"])
        await send({"type": "x", "status": 0, "headers": []})

    async def send(message):
        pass

    asyncio.run(other({"type": "websocket"}, None, send))
    assert seen[-1] == "websocket"


def test_the_answers_ask_no_database(scene, django_assert_num_queries):
    with django_assert_num_queries(0):
        for name in CASES:
            ask(application, *asked(name, scene))


def test_the_description_names_every_route(client):
    paths = client.get("/api/openapi.json").json()["paths"]
    ofrep = client.get("/ofrep/v1/openapi.json").json()["paths"]

    described = {(path, method) for path, methods in {**paths, **ofrep}.items() for method in methods}
    served = {
        (path, method.lower())
        for path, route in asgi.ROUTES.items()
        for method in route.endpoints
        # The descriptions are of two trees; what Unleash Edge asks stands beside them.
        if method != "OPTIONS" and path.startswith(("/api/", "/ofrep/"))
    }
    assert served <= described
    assert (f"{BULK}/{{key}}", "post") in described


def test_refusals_have_the_members_their_description_names(client):
    document = client.get("/api/openapi.json").json()
    described = document["paths"]["/api/client/features"]["get"]["responses"]["401"]["content"]["application/json"]
    required = document["components"]["schemas"][described["schema"]["$ref"].rpartition("/")[2]]["required"]

    answered = ask(application, "GET", "/api/client/features")

    assert (answered.status, set(json.loads(answered.body))) == (401, set(required))
