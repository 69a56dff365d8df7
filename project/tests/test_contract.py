"""The rules every seed client relies on, asked of Django's own handler and of the lanes alike."""

import json
import re

import httpx
import pytest
from asgiref.sync import async_to_sync
from django.core.asgi import get_asgi_application
from django.db import OperationalError

from lib import net
from project.api import api
from project.asgi import application
from users.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db(transaction=True)

FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}
ORIGIN = "https://app.example.org"


@async_to_sync
async def ask(app, method, path, headers=None, content=None):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        return await client.request(method, path, headers=headers, content=content)


@pytest.fixture(params=["lanes", "stock"])
def door(request):
    app = application if request.param == "lanes" else get_asgi_application()
    return lambda *args, **kwargs: ask(app, *args, **kwargs)


REQUESTS = {
    "status": ("GET", "/api/_status", {}, None),
    "flags": ("GET", "/api/feature-flags/feature-flags", {}, None),
    "query": ("GET", "/api/_status?a=%FF&b=%00", {}, None),
    "unknown path": ("GET", "/api/nope", {}, None),
    "root": ("GET", "/api", {}, None),
    "slash": ("GET", "/api/_status/?a=b", {}, None),
    "slash on nothing": ("GET", "/api/nope/", {}, None),
    "two slashes": ("GET", "/api//evil.example/", {}, None),
    "wrong method": ("DELETE", "/api/login", {}, None),
    "no bearer": ("GET", "/api/users/user", {}, None),
    "bad bearer": ("GET", "/api/users/user", {"authorization": b"Bearer \xe9"}, None),
    "preflight": ("OPTIONS", "/api/users/user", {"origin": ORIGIN, "access-control-request-method": "PATCH"}, None),
    "preflight elsewhere": (
        "OPTIONS",
        "/api/nope/",
        {"origin": "https://evil.example", "access-control-request-method": "PATCH"},
        None,
    ),
    "unlisted origin": ("GET", "/api/_status", {"origin": "https://evil.example"}, None),
    "error with origin": ("GET", "/api/nope", {"origin": ORIGIN}, None),
    "empty body": ("POST", "/api/auth/verify", JSON, b""),
    "no json": ("POST", "/api/auth/verify", JSON, b"{"),
    "not utf-8": ("POST", "/api/auth/verify", JSON, b'{"token": "\xff"}'),
    "utf-16": ("POST", "/api/auth/verify", JSON, '{"token": "x"}'.encode("utf-16")),
    "nan": ("POST", "/api/auth/forgot-password", JSON, b'{"email": NaN}'),
    "nan beside": ("POST", "/api/auth/forgot-password", JSON, b'{"email": "a", "x": NaN}'),
    "infinity": ("POST", "/api/auth/forgot-password", JSON, b'{"email": "a", "x": -Infinity}'),
    "huge number": ("POST", "/api/auth/forgot-password", JSON, b'{"email": ' + b"9" * 10_000 + b"}"),
    "deep": ("POST", "/api/auth/forgot-password", JSON, b"[" * 100_000),
    "list": ("POST", "/api/auth/forgot-password", JSON, b"[]"),
    "null": ("POST", "/api/auth/forgot-password", JSON, b"null"),
    "string": ("POST", "/api/auth/forgot-password", JSON, b'"email"'),
    "surrogate": ("POST", "/api/auth/forgot-password", JSON, b'{"email": "\\ud800"}'),
    "nul": ("POST", "/api/auth/forgot-password", JSON, b'{"email": "\\u0000"}'),
    "charset": (
        "POST",
        "/api/auth/forgot-password",
        {"content-type": "application/json; charset=nope"},
        b'{"email": 1}',
    ),
    "form charset": (
        "POST",
        "/api/login",
        {"content-type": "application/x-www-form-urlencoded; charset=utf-16"},
        b"a=b",
    ),
    "form": ("POST", "/api/login", FORM, b"username=%00&password=%ED%A0%80"),
    "many fields": ("POST", "/api/login", FORM, b"&".join(b"a%d=1" % n for n in range(20_000))),
    "multipart": ("POST", "/api/login", {"content-type": "multipart/form-data"}, b"x"),
    "multipart boundary": ("POST", "/api/login", {"content-type": b"multipart/form-data; boundary=\xe9"}, b"x"),
    "megabyte": ("POST", "/api/auth/verify", JSON, json.dumps({"token": "x" * 2**20}).encode()),
    "json logout": ("DELETE", "/api/logout", JSON, b"\xff" * 100),
    "unknown host": ("GET", "/api/_status", {"host": "evil.example"}, None),
    "health": ("GET", "/healthz", {}, None),
    "docs": ("GET", "/api/docs", {}, None),
    "schema": ("GET", "/api/openapi.json", {}, None),
}


def comparable(response):
    headers = {k: v for k, v in response.headers.items() if k not in {"x-request-id", "vary", "date"}}
    # What the admin's own middleware adds to every page of the stock path.
    for name in ("x-frame-options", "cross-origin-opener-policy"):
        headers.pop(name, None)
    try:
        body = response.json()
        body.pop("request_id", None) if isinstance(body, dict) else None
        headers.pop("content-length", None)
    except ValueError:
        body = response.text
    return response.status_code, headers, body


@pytest.mark.parametrize("name", REQUESTS)
def test_both_doors_answer_alike(name):
    lanes, stock = (ask(app, *REQUESTS[name]) for app in (application, get_asgi_application()))

    assert comparable(lanes) == comparable(stock)
    assert lanes.status_code < 500
    if lanes.status_code >= 400:
        assert set(lanes.json()) == {"detail", "code", "request_id"}
        assert lanes.json()["request_id"] == lanes.headers["x-request-id"]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("unknown path", 404),
        ("slash on nothing", 404),
        ("two slashes", 404),
        ("wrong method", 405),
        ("no bearer", 401),
        ("bad bearer", 401),
        ("empty body", 422),
        ("no json", 422),
        ("not utf-8", 422),
        ("nan", 422),
        ("nan beside", 422),
        ("huge number", 422),
        ("deep", 422),
        ("list", 422),
        ("surrogate", 422),
        ("nul", 422),
        ("form", 422),
        ("megabyte", 413),
        ("unknown host", 400),
        ("form charset", 400),
        ("many fields", 400),
        ("json logout", 200),
    ],
)
def test_bad_input_has_the_right_status(name, status):
    assert ask(application, *REQUESTS[name]).status_code == status


def test_unknown_paths_and_wrong_methods_in_the_seeds_words(door):
    unknown, wrong = door("GET", "/api/nope"), door("GET", "/api/login")

    assert unknown.json()["detail"] == "Not Found"
    assert (wrong.json()["detail"], wrong.headers["allow"]) == ("Method Not Allowed", "POST")


def test_broken_json_is_json_invalid(door):
    problem = door("POST", "/api/auth/verify", JSON, b"{").json()["detail"][0]

    assert (problem["type"], problem["loc"]) == ("json_invalid", ["body"])


def test_a_trailing_slash_is_redirected_without_a_host(door):
    response = door("POST", "/api/login/?next=1", FORM, b"username=a&password=b")

    assert response.status_code == 307
    assert response.headers["location"] == "/api/login?next=1"


def test_every_answer_to_a_listed_origin_carries_cors_headers(door):
    for name in ("status", "unknown path", "no bearer", "no json", "wrong method", "megabyte", "slash", "flags"):
        method, path, headers, content = REQUESTS[name]
        response = door(method, path, {**headers, "origin": ORIGIN}, content)

        assert response.headers["access-control-allow-origin"] == ORIGIN, name
        assert response.headers["access-control-allow-credentials"] == "true"
        assert "origin" in response.headers["vary"].lower()
        exposed = {name.strip().lower() for name in response.headers["access-control-expose-headers"].split(",")}
        assert exposed == {"retry-after", "x-request-id", "etag"}


def test_a_preflight_is_answered_before_everything_else(door):
    response = door(
        "OPTIONS",
        "/api/users/user/",
        {"origin": ORIGIN, "access-control-request-method": "PATCH", "access-control-request-headers": "authorization"},
    )

    assert response.status_code == 200
    assert response.headers["access-control-max-age"] == "600"
    assert response.headers["access-control-allow-methods"] == "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
    assert "authorization" in response.headers["access-control-allow-headers"]
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("origin", "is_listed"),
    [
        ("https://shop.example.com", True),
        ("https://pr-7_x.example.com", True),
        ("https://example.com", False),
        ("https://a.b.example.com", False),
        ("https://.example.com", False),
        ("http://shop.example.com", False),
        ("https://shop.example.com:8443", False),
        ("https://shop.example.com.evil", False),
        ("https://shopxexample.com", False),
        ("https://evil.org/.example.com", False),
        ("https://shop.example.com\n", False),
    ],
)
def test_a_star_stands_for_one_label_at_every_door(door, settings, origin, is_listed):
    settings.CORS_ALLOWED_ORIGIN_REGEXES = [net.origin_pattern("https://*.example.com")]
    asks = {"origin": origin, "access-control-request-method": "PATCH"}

    answers = [door("OPTIONS", "/api/users/user", asks)]
    answers += [door("GET", path, {"origin": origin}) for path in ("/api/nope", "/api/feature-flags/feature-flags")]

    wanted = origin if is_listed else None
    assert [answer.headers.get("access-control-allow-origin") for answer in answers] == [wanted] * 3


@pytest.mark.parametrize("asks", [{}, {"access-control-request-method": "POST"}])
def test_no_path_of_the_api_redirects_what_is_asked_by_options(asks, door):
    paths = [path.replace("{", "").replace("}", "") for path in api.get_openapi_schema()["paths"]]

    for path in [*paths, "/api/nowhere", "/api/frontend/nowhere", "/ofrep/v1/evaluate/flags", "/api/docs"]:
        plain, slash = (door("OPTIONS", asked, {"origin": ORIGIN, **asks}) for asked in (path, f"{path}/"))

        assert plain.status_code == slash.status_code, path
        assert plain.status_code == 200 if asks else plain.status_code in {404, 405}, path


@pytest.mark.parametrize("path", ["/admin", "/admin/login", "/admin/users/user"])
def test_the_admin_redirects_to_its_slash(path, staff_client):
    response = staff_client.get(f"{path}?q=1")

    assert (response.status_code, response["Location"]) == (301, f"{path}/?q=1")


def test_other_origins_are_never_reflected(door):
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "https://app.example.org.evil"}):
        response = door("GET", "/api/_status", headers)

        assert response.status_code == 200
        assert "access-control-allow-origin" not in response.headers


def test_security_headers_are_on_every_answer(door):
    for path in ("/api/_status", "/api/nope", "/healthz", "/api/docs"):
        response = door("GET", path)
        policy = response.headers["content-security-policy"]

        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "same-origin"
        assert policy.startswith("default-src 'self'" if path == "/api/docs" else "default-src 'none'")


def test_a_bug_is_a_json_500_with_an_id_and_the_traceback_stays_in_the_log(door, monkeypatch, caplog):
    from users.services import sign_in

    def explode(*args, **kwargs):
        raise RuntimeError("boom")

    for name in ("count_try", "acount_try"):
        monkeypatch.setattr(sign_in.rate_limits, name, explode)
    response = door("POST", "/api/login", {**FORM, "origin": ORIGIN}, f"username=a@b.org&password={PASSWORD}".encode())

    assert response.status_code == 500
    assert response.json() == {
        "detail": "Internal Server Error",
        "code": "internal",
        "request_id": response.headers["x-request-id"],
    }
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert any("boom" in str(record.exc_info) for record in caplog.records)
    assert PASSWORD not in caplog.text


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("error", "status", "says"),
    [(OperationalError("host 10.0.0.1"), 503, "nicht erreichbar"), (RuntimeError("boom"), 500, "schiefgegangen")],
)
def test_a_page_that_fails_is_one_of_ours(client, superuser, monkeypatch, caplog, error, status, says):
    def explode(*args, **kwargs):
        raise error

    client.force_login(superuser)
    client.raise_request_exception = False
    monkeypatch.setattr("project.overview.attention", explode)
    response = client.get("/admin/", headers={"accept-language": "de"})

    assert response.status_code == status
    assert says in response.content.decode()
    assert response.get("Retry-After") == ("1" if status == 503 else None)
    assert ("boom" in str([record.exc_info for record in caplog.records])) == (status == 500)
    assert "10.0.0.1" not in caplog.text


def test_the_callers_request_id_is_kept_when_it_is_plain(door):
    assert door("GET", "/api/_status", {"x-request-id": "abc-12345"}).headers["x-request-id"] == "abc-12345"
    assert door("GET", "/api/_status", {"x-request-id": "a b\tc'12345"}).headers["x-request-id"] != "a b\tc'12345"


def test_one_log_line_says_who_and_what_and_no_secret(door, caplog):
    user = UserFactory.create()
    form = f"username={user.email}&password={PASSWORD}".encode()
    token = door("POST", "/api/login", FORM, form).json()["access_token"]
    caplog.clear()

    door("GET", "/api/users/user?secret=1", {"authorization": f"Bearer {token}"})

    (record,) = [record for record in caplog.records if record.name == "switchboard.request"]
    assert (record.method, record.path, record.status, record.user_id) == (
        "GET",
        "/api/users/user",
        200,
        str(user.pk),
    )
    assert token not in caplog.text


def test_the_openapi_document_says_what_the_wire_says(door):
    paths = door("GET", "/api/openapi.json").json()["paths"]

    assert set(paths) >= {
        "/api/_status",
        "/api/_authenticated",
        "/api/register",
        "/api/auth/request-verification-token",
        "/api/auth/verify",
        "/api/login",
        "/api/auth/refresh-tokens",
        "/api/logout",
        "/api/auth/forgot-password",
        "/api/auth/reset-password",
        "/api/users/user",
        "/api/feature-flags/feature-flags",
    }
    assert "201" in paths["/api/register"]["post"]["responses"]
    assert "security" not in paths["/api/login"]["post"]
    assert paths["/api/users/user"]["get"]["security"]


def test_the_openapi_document_is_asked_for_again_by_its_etag(door):
    first = door("GET", "/api/openapi.json")

    again = door("GET", "/api/openapi.json", {"if-none-match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert first.headers["cache-control"] == again.headers["cache-control"] == "no-cache"
    assert door("GET", "/api/openapi.json", {"if-none-match": '"another"'}).status_code == 200


def test_the_openapi_document_names_the_rules_that_refuse_texts(door):
    shapes = door("GET", "/api/openapi.json").json()["components"]["schemas"]

    registration = shapes["RegisterIn"]["properties"]
    assert (registration["email"]["format"], registration["email"]["maxLength"]) == ("email", 254)
    for field in ("password", "first_name"):
        assert re.search(registration[field]["pattern"], "any\ntext")
        assert not re.search(registration[field]["pattern"], "\x00")
    form = door("GET", "/api/openapi.json").json()["paths"]["/api/login"]["post"]["requestBody"]["content"]
    assert form["application/x-www-form-urlencoded"]["schema"]["properties"]["grant_type"]["enum"] == ["password", ""]
