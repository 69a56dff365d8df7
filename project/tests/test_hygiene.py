"""What every answer brings along for the browser, whichever door it leaves by; and what no request may forge."""

import gc
import re
from html.parser import HTMLParser
from itertools import count
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as project
from django.core.asgi import get_asgi_application
from django.test import Client
from django.urls import resolve
from django.utils import timezone

from feature_flags.tests import test_stream, wire
from lib.actors import RequestInfo
from lib.middleware import JSON_POLICY, PAGE_POLICY
from notifications.models import Message, Suppression
from notifications.services import preferences
from notifications.tests import kinds, offers
from notifications.tests.factories import InAppFactory, MessageFactory
from project.api import DOCS_POLICY
from project.asgi import application
from project.tests import browser, processes
from users.models import UserSession
from users.services import hashing, sessions, sign_in
from users.tests.factories import PASSWORD, UserFactory

ON_DATABASE = pytest.mark.django_db(transaction=True)
#: This client reads an answer and is gone, so that Django drops body and file for the collector to close.
HALF_READ = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
APP = "https://app.example.org"
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}


@async_to_sync
async def ask(app, method, path, headers=None, content=None, scheme="https"):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://testserver") as client:
        return await client.request(method, path, headers=headers, content=content)


@pytest.fixture(params=["composed", "stock"])
def door(request):
    app = application if request.param == "composed" else get_asgi_application()
    yield lambda *args, **kwargs: ask(app, *args, **kwargs)
    gc.collect()  # what HALF_READ is about shall not be found in a later test


# --- Headers of every answer ------------------------------------------------------------------------------------------

#: Method, path, headers, body, status.
ANSWERS = [
    ("GET", "/api/_status", {}, None, 200),
    ("HEAD", "/api/_status", {}, None, 405),
    ("GET", "/api/_status/", {}, None, 307),
    ("GET", "/api/openapi.json", {}, None, 200),
    ("GET", "/api/docs", {}, None, 200),
    ("GET", "/api/nope", {}, None, 404),
    ("GET", "/api", {}, None, 404),
    ("GET", "/api/login", {}, None, 405),
    ("POST", "/api/login", FORM, b"username=nobody@example.org&password=x", 400),
    ("POST", "/api/login", FORM, b"username=nobody@example.org", 422),
    ("POST", "/api/auth/verify", JSON, b"{", 422),
    ("POST", "/api/auth/verify", JSON, b"x" * 1_100_000, 413),
    ("POST", "/api/auth/refresh-tokens", JSON, b'{"token": "x"}', 400),
    ("GET", "/api/users/user", {}, None, 401),
    ("DELETE", "/api/logout", {}, None, 200),
    ("OPTIONS", "/api/login", {"origin": APP, "access-control-request-method": "POST"}, None, 200),
    ("GET", "/api/_status", {"host": "evil.example"}, None, 400),
    ("GET", "/api/feature-flags/feature-flags", {}, None, 200),
    ("GET", "/api/feature-flags/feature-flags", {"host": "evil.example"}, None, 400),
    ("DELETE", "/api/feature-flags/feature-flags", {}, None, 405),
    ("GET", "/api/client/features", {}, None, 401),
    ("GET", "/api/frontend", {}, None, 401),
    ("POST", wire.BULK, JSON, b"{}", 401),
    ("GET", wire.BULK, {}, None, 405),
    ("OPTIONS", wire.BULK, {"origin": APP, "access-control-request-method": "POST"}, None, 200),
    ("GET", "/ofrep/v1/openapi.json", {}, None, 200),
    ("GET", "/ofrep/v1/nope", {}, None, 404),
    ("GET", "/api/notifications/unsubscribe/junk", {}, None, 404),
    ("POST", "/api/notifications/webhooks/nobody", JSON, b"{}", 404),
    ("GET", "/healthz", {}, None, 200),
    ("GET", "/readyz", {}, None, 200),
    ("GET", "/metrics", {}, None, 404),
    ("GET", "/", {}, None, 302),
    ("GET", "/docs", {}, None, 302),
    ("GET", "/.well-known/change-password", {}, None, 302),
    ("GET", "/admin/", {}, None, 302),
    ("GET", "/admin", {}, None, 301),
    ("GET", "/admin/login/", {}, None, 200),
    ("GET", "/admin/jsi18n/", {}, None, 302),
    ("GET", "/admin/nope/", {}, None, 302),
    ("GET", "/admin/login/", {"host": "evil.example"}, None, 400),
    ("POST", "/admin/login/", FORM, b"username=a@example.org&password=x", 403),
    ("GET", "/nope", {}, None, 404),
    ("GET", "/favicon.ico", {}, None, 404),
    ("GET", "/static/admin/css/base.css", {}, None, 200),
    ("GET", "/static/nope.css", {}, None, 404),
]


def assert_hardened(response, *, is_https):
    headers = response.headers
    is_page = headers.get("content-type", "").startswith("text/html")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cache-control"]
    assert headers["content-security-policy"] in ((PAGE_POLICY, DOCS_POLICY) if is_page else (JSON_POLICY,))
    assert ("camera=()" in headers.get("permissions-policy", "")) == is_page
    assert headers.get("strict-transport-security") == ("max-age=31536000" if is_https else None)
    assert "server" not in headers
    assert headers.get("access-control-allow-origin") in {None, APP}
    assert "x-powered-by" not in headers


def test_the_policies_name_no_foreign_host_and_nothing_unsafe():
    for policy in (JSON_POLICY, PAGE_POLICY, DOCS_POLICY):
        assert "frame-ancestors 'none'" in policy
        assert "base-uri 'none'" in policy
        assert "default-src 'none'" in policy or "script-src 'self'; style-src 'self'; object-src 'none'" in policy
        assert not re.search(r"unsafe|http|\*|//", policy)


@ON_DATABASE
@HALF_READ
def test_every_answer_is_hardened(door):
    for method, path, headers, content, status in ANSWERS:
        response = door(method, path, headers, content)

        assert response.status_code == status, (method, path)
        assert_hardened(response, is_https=True)
        assert_hardened(door(method, path, headers, content, scheme="http"), is_https=False)


@ON_DATABASE
@HALF_READ
def test_answers_with_flags_are_hardened(door):
    scene = wire.make_scene()
    bearer = {"authorization": f"Bearer {scene.server}"}

    for method, path, headers in (
        ("POST", wire.BULK, {**JSON, **bearer}),
        ("POST", f"{wire.BULK}/FF_ON", {**JSON, **bearer}),
        ("POST", f"{wire.BULK}/FF_NOPE", {**JSON, **bearer}),
        ("GET", "/api/client/features", {"authorization": scene.server}),
        ("GET", "/api/frontend", {"authorization": scene.frontend}),
    ):
        body = b'{"context": {}}' if method == "POST" else None
        response = door(method, path, headers, body)
        assert response.status_code == (404 if "NOPE" in path else 200)
        assert_hardened(response, is_https=True)
        assert response.headers["cache-control"] == "private, no-cache"

    asked = {"authorization": scene.server}
    for _ in range(2):  # the first may find newer flags than the scene's
        asked["if-none-match"] = door("GET", "/api/client/features", asked).headers["etag"]
    unchanged = door("GET", "/api/client/features", asked)
    assert unchanged.status_code == 304
    assert_hardened(unchanged, is_https=True)


@pytest.mark.django_db
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_event_stream_is_hardened(scheme):
    token, _ = wire.make_token("frontend")
    wire.make_flag("FF_A")

    @async_to_sync
    async def run():
        listener = test_stream.Listener(test_stream.target(token))
        listener.scope["scheme"] = scheme
        async with listener:
            return listener.start

    start = run()
    response = httpx.Response(start["status"], headers=start["headers"])
    assert response.status_code == 200
    assert_hardened(response, is_https=scheme == "https")
    assert response.headers["cache-control"] == "no-store"


@ON_DATABASE
@HALF_READ
def test_failures_are_hardened(door, monkeypatch):
    form = b"username=nobody@example.org&password=x"
    monkeypatch.setattr(hashing._pool()._places, "acquire", lambda **_: False)
    busy = door("POST", "/api/login", FORM, form)
    for name in ("count_try", "acount_try"):
        monkeypatch.setattr(sign_in.rate_limits, name, lambda *args, **kwargs: 1 / 0)
    broken = door("POST", "/api/login", FORM, form)
    page = door("GET", "/admin/login/")
    cookie = page.cookies["csrftoken"]
    posted = form + b"&csrfmiddlewaretoken=" + cookie.encode()
    headers = {**FORM, "cookie": f"csrftoken={cookie}", "origin": "https://testserver"}
    broken_page = door("POST", "/admin/login/", headers, posted)

    assert (busy.status_code, broken.status_code, broken_page.status_code) == (503, 500, 500)
    for response in (busy, broken, broken_page):
        assert_hardened(response, is_https=True)
        assert response.headers["cache-control"] == "no-store"


@pytest.mark.django_db
def test_in_debug_nobody_is_bound_to_https(settings):
    settings.SECURE_HSTS_SECONDS = 0

    for path in ("/api/_status", "/api/feature-flags/feature-flags"):
        assert "strict-transport-security" not in ask(application, "GET", path).headers


# --- What nobody may keep ---------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_answers_with_tokens_or_personal_data_are_stored_by_nobody(api, user, settings):
    settings.USERS_RETURN_FORGOT_PASSWORD_TOKEN = settings.USERS_RETURN_VERIFICATION_TOKENS = True
    body = {"email": "new@example.com", "password": PASSWORD, "first_name": "A", "last_name": "B"}
    pair = api.login_form(user.email).json()
    answers = [
        api.login_form(user.email),
        api.login_form(user.email, "Wrong-Horse-7"),
        api.call("POST", "/auth/refresh-tokens", {"token": pair["refresh_token"]}),
        api.call("POST", "/register", body),
        api.call("POST", "/auth/request-verification-token", {"email": "new@example.com"}),
        api.call("POST", "/auth/forgot-password", {"email": user.email}),
    ]
    api.bearer = pair["access_token"]
    answers += [
        api.call("GET", "/users/user"),
        api.call("PATCH", "/users/user", {"first_name": "Grace"}),
        api.call("GET", "/_authenticated"),
        api.call("GET", "/notifications"),
        api.call("GET", "/notifications/preferences"),
        api.call("GET", "/staff/messages"),
        api.call("GET", "/users/user", bearer="dead"),
        api.call("DELETE", "/logout"),
    ]

    assert [answer["Cache-Control"] for answer in answers] == ["no-store"] * len(answers)


@pytest.mark.django_db
def test_what_browsers_ask_for_again_is_at_least_private(api, user):
    api.sign_in(user)

    assert api.call("GET", "/notifications/unread-count")["Cache-Control"] == "private, no-cache"


# --- Pages ------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The links of a page, and what its policy would stop."""

    URLS = ("href", "src", "action", "formaction", "data")

    def __init__(self, html):
        super().__init__()
        self.links, self.loaded, self.faults = set(), set(), []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        inline = [name for name in attrs if name.startswith("on") or name in {"style", "srcdoc"}]
        is_data = attrs.get("type") == "application/json"
        if inline or tag in {"style", "base"} or (tag == "script" and not attrs.get("src") and not is_data):
            self.faults.append(self.get_starttag_text())
        for name in self.URLS:
            if (attrs.get(name) or "").strip().lower().startswith(("javascript:", "data:")):
                self.faults.append(self.get_starttag_text())
        if tag == "a":
            self.links.add(attrs.get("href") or "")
        elif tag in {"script", "img", "link", "iframe"}:
            self.loaded.add(attrs.get("src") or attrs.get("href") or "")


@pytest.fixture
def some_offers():
    offers.declare()
    yield
    kinds.forget()


@pytest.fixture
def staff_with_much_to_see(staff_client, superuser, some_offers):
    """A superuser's client on a database with something of everything."""
    wire.make_scene()
    UserFactory.create(email="a&b@example.org", first_name='<script>x</script>" onclick="x', unverified=True)
    UserFactory.create(inactive=True, deactivated_reason="<b>why</b>")
    sessions.new_session(superuser, RequestInfo("203.0.113.7", "<i>curl</i>"), UserSession.Kind.API, timezone.now())
    MessageFactory.create(user=superuser, to_address=superuser.email)
    MessageFactory.create(finished=True, type="users.forgot_password")
    InAppFactory.create(user=superuser)
    Suppression.objects.create(address="a&b@example.org", scope="all", reason="bounce")
    more = [f"/admin/users/user/{superuser.pk}/history/"]
    more += [f"/admin/notifications/message/{message.pk}/change/" for message in Message.objects.all()]
    staff_client.starts = ["/admin/", *more]
    return staff_client


def crawl(client, *starts):
    """GET every page there is a link to, one for each view and set of parameters; yields address and answer."""
    waiting, seen, numbers = list(starts), set(), count()
    while waiting and next(numbers) < 600:
        address = waiting.pop(0)
        path, query = urlsplit(address).path, urlsplit(address).query
        match = resolve(path)
        key = match.view_name, tuple(match.kwargs), frozenset(part.partition("=")[0] for part in query.split("&"))
        if key in seen:
            continue
        seen.add(key)
        response = client.get(address)
        yield address, response
        if response.headers.get("Content-Type", "").startswith("text/html") and not response.streaming:
            links = (urljoin(address, link) for link in sorted(Page(response.content.decode()).links))
            waiting += [link for link in links if link.startswith("/") and not link.startswith("/static/")]
        if location := response.headers.get("Location"):
            waiting.append(urljoin(address, location))


@pytest.mark.django_db
def test_no_page_of_the_admin_holds_anything_inline(staff_with_much_to_see, client):
    pages = [*crawl(staff_with_much_to_see, *staff_with_much_to_see.starts), *crawl(client, "/admin/login/")]
    visited = {resolve(urlsplit(address).path).view_name for address, _ in pages}

    for address, response in pages:
        assert response.status_code in {200, 302}, address
        if not response.headers["Content-Type"].startswith("text/html") or response.status_code != 200:
            continue
        if urlsplit(address).path.startswith("/admin/"):
            # The frame with a mail in it has a policy of its own, and may do nothing.
            if response["X-Frame-Options"] == "SAMEORIGIN":
                assert response["Content-Security-Policy"].endswith("sandbox")
                continue
            assert response["Content-Security-Policy"] == PAGE_POLICY, address
            assert "no-store" in response["Cache-Control"], address
        page = Page(response.content.decode())
        assert not page.faults, (address, page.faults)
        assert all(url.startswith("/") and not url.startswith("//") for url in page.loaded), (address, page.loaded)
    assert visited >= {
        "admin:index",
        "admin:login",
        "admin:password_change",
        "admin:users_user_changelist",
        "admin:users_user_change",
        "admin:users_user_add",
        "admin:users_user_history",
        "admin:auth_group_add",
        "admin:feature_flags_featureflag_change",
        "admin:feature_flags_featureflag_add",
        "admin:feature_flags_segment_change",
        "admin:feature_flags_flagtoken_changelist",
        "admin:notifications_message_change",
        "admin:notifications_templateoverride_changelist",
    }


@pytest.mark.django_db
def test_pages_outside_the_admin_hold_nothing_inline_either(client, some_offers):
    unsubscribe = urlsplit(preferences.unsubscribe_url("ada@example.org", "announcement")).path
    refused = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "a", "password": "b"})
    pages = [
        client.get(unsubscribe),
        client.post(unsubscribe),
        client.post(unsubscribe, {"undo": "1"}),
        client.get("/nope"),
        client.get("/api/docs"),
        client.get("/admin/login/", headers={"host": "evil.example"}),
        refused,
    ]

    assert [page.status_code for page in pages] == [200, 200, 200, 404, 200, 400, 403]
    for page in pages:
        assert page["Content-Type"].startswith("text/html")
        assert not Page(page.content.decode()).faults
        assert "no-store" in page["Cache-Control"]
    assert [page["Content-Security-Policy"] for page in pages] == [*[PAGE_POLICY] * 4, DOCS_POLICY, *[PAGE_POLICY] * 2]
    assert b"This form has expired" in refused.content


@pytest.mark.e2e
def test_the_page_of_the_api_works_under_its_policy(tmp_path):
    with processes.serving(tmp_path) as server, browser.chromium(tmp_path / "profile") as driver:
        driver.get(server.url + "/api/docs#/Operation/get_status")
        browser.find(driver, ".opblock.is-open .try-out__btn").click()
        browser.find(driver, ".opblock.is-open .execute").click()
        answered = browser.wait(driver, lambda: browser.find(driver, ".live-responses-table .microlight").text)
        loaded = driver.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")

        assert '"running"' in answered
        assert not browser.violations(driver)
        assert {urlsplit(address).netloc for address in loaded} <= {urlsplit(server.url).netloc, ""}


# --- Where a password is changed --------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_password_managers_find_the_page(method):
    response = ask(application, method, "/.well-known/change-password", {"origin": "https://evil.example"})

    assert (response.status_code, response.headers["location"]) == (302, "https://app.example.org/forgot-password")


@pytest.mark.django_db
def test_the_well_known_address_takes_nothing(client):
    assert client.post("/.well-known/change-password").status_code == 405


# --- Hosts, proxies and cookies ---------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    "forged",
    [
        {"x-forwarded-host": "evil.example"},
        {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https", "x-forwarded-port": "8443"},
        {"forwarded": "host=evil.example;proto=https"},
        {"origin": "https://evil.example", "referer": "https://evil.example/"},
        {"host": "localhost:9999"},
        {"x-original-url": "https://evil.example/", "x-rewrite-url": "/evil.example", "x-host": "evil.example"},
    ],
)
def test_links_in_mails_come_from_settings_alone(api, user, outbox, forged):
    with outbox() as mails:
        assert api.call("POST", "/auth/forgot-password", {"email": user.email}, **forged).status_code == 200

    links = re.findall(r"https?://[^\s\"'<>)]+", mails[0].body + str(mails[0].alternatives))
    assert any(link.startswith(f"{APP}/forgot-password/reset?reset_token=") for link in links)
    assert {urlsplit(link).netloc for link in links} <= {urlsplit(APP).netloc, urlsplit(project.BASE_URL).netloc}
    assert not any(word in str(mails[0].message()) for word in ("evil.example", ":9999", ":8443"))


@pytest.mark.django_db
@pytest.mark.parametrize("host", ["evil.example", "app.example.org@evil.example", "testserver.evil.example", ""])
def test_a_forged_host_gets_no_mail_sent(api, user, outbox, host):
    with outbox() as mails:
        assert api.call("POST", "/auth/forgot-password", {"email": user.email}, host=host).status_code == 400

    assert mails == []


@pytest.fixture(scope="module")
def production(tmp_path_factory):
    """A server started as in production, behind proxies at 127.0.0.0/8, 10.0.0.0/8 and 2001:db8:1::/64."""
    switches = dict.fromkeys(("USERS_RETURN_VERIFICATION_TOKENS", "USERS_RETURN_FORGOT_PASSWORD_TOKEN"), "0")
    proxies = "127.0.0.0/8, 10.0.0.0/8, 2001:db8:1::/64"
    folder = tmp_path_factory.mktemp("production")
    with processes.serving(folder, TRUSTED_PROXIES=proxies, ENVIRONMENT="prod", **switches) as server:
        with server.connected():
            UserFactory.create(superuser=True, email="root@example.org")
        yield server


def cookies_of(response):
    return dict(line.partition("=")[::2] for line in response.headers.get_list("set-cookie"))


def sign_in_over_https(server, **headers):
    url = server.url + "/admin/login/"
    headers = {"x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.7", **headers}
    token = cookies_of(httpx.get(url, headers=headers))["__Host-csrftoken"].partition(";")[0]
    form = {"username": "root@example.org", "password": PASSWORD, "csrfmiddlewaretoken": token, "next": "/admin/"}
    origin = server.url.replace("http://", "https://")
    return httpx.post(url, data=form, headers={"origin": origin, "cookie": f"__Host-csrftoken={token}", **headers})


def test_the_cookies_of_the_admin_belong_to_this_host_alone(production):
    form = httpx.get(production.url + "/admin/login/", headers={"x-forwarded-proto": "https"})
    cookies = cookies_of(form) | cookies_of(sign_in_over_https(production))

    assert set(cookies) == {"__Host-sessionid", "__Host-csrftoken"}
    for value in cookies.values():
        attributes = {part.strip().lower() for part in value.split(";")[1:]}
        assert {"secure", "path=/", "samesite=lax"} <= attributes
        assert not any(attribute.startswith("domain") for attribute in attributes)
    assert "httponly" in cookies["__Host-sessionid"].lower()


def test_https_at_the_proxy_is_https_here(production):
    assert "strict-transport-security" in sign_in_over_https(production).headers
    for path in ("/api/_status", "/api/feature-flags/feature-flags", "/admin/login/", "/static/admin/css/base.css"):
        for proto in ("https", "http", "junk", "http, https", ""):
            headers = {"x-forwarded-proto": proto} if proto else {}
            response = httpx.get(production.url + path, headers=headers)
            assert response.status_code == 200
            assert_hardened(response, is_https=proto == "https")


def test_a_form_from_a_foreign_page_is_refused(production):
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}):
        assert sign_in_over_https(production, **headers).status_code == 403


def test_the_first_address_that_is_no_proxy_of_ours_counts(production):
    chains = {
        ("203.0.113.7",): "203.0.113.7",
        ("198.51.100.1, 203.0.113.7",): "203.0.113.7",
        ("127.0.0.1, 10.1.1.1, 203.0.113.7",): "203.0.113.7",
        ("198.51.100.1, 203.0.113.7, 10.9.9.9",): "203.0.113.7",
        ("198.51.100.1, 203.0.113.7, 10.9.9.9, 127.0.0.9",): "203.0.113.7",
        ("198.51.100.1", "203.0.113.7", "10.0.0.1"): "203.0.113.7",
        ("198.51.100.1,203.0.113.7:4711",): "203.0.113.7",
        ("2001:db8:2::7",): "2001:db8:2::7",
        ("2001:DB8:2:0:0:0:0:7, 2001:db8:1::9",): "2001:db8:2::7",
        ("[2001:db8:2::7]:4711",): "2001:db8:2::7",
        ("::ffff:203.0.113.7",): "203.0.113.7",
        # What is no address counts as none: never as the one before it, which the caller wrote.
        ("198.51.100.1, junk",): "",
        ("198.51.100.1, 203.0.113.7'; --",): "",
        ("198.51.100.1, unknown",): "",
        ("198.51.100.1, _hidden",): "",
        ("198.51.100.1,",): "127.0.0.1",
        ("",): "127.0.0.1",
    }
    form = {"username": "root@example.org", "password": PASSWORD}
    before = addresses_seen(production, "root@example.org")

    for chain in chains:
        headers = [("x-forwarded-for", part) for part in chain] + [("forwarded", "for=198.51.100.2")]
        assert httpx.post(production.url + "/api/login", data=form, headers=headers).status_code == 200

    seen = addresses_seen(production, "root@example.org")[len(before) :]
    assert dict(zip(chains, seen, strict=True)) == chains


def addresses_seen(server, email):
    with server.connected():
        own = UserSession.objects.filter(user__email=email)
        return list(own.order_by("created_at").values_list("ip", flat=True))


def test_nothing_forwarded_is_believed_without_a_proxy(server):
    headers = {"x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.7", "x-forwarded-host": "evil.example"}
    for path in ("/api/_status", "/api/feature-flags/feature-flags", "/admin/login/"):
        assert_hardened(httpx.get(server.url + path, headers=headers), is_https=False)
    with server.connected():
        UserFactory.create(email="direct@example.org")
    form = {"username": "direct@example.org", "password": PASSWORD}
    assert httpx.post(server.url + "/api/login", data=form, headers=headers).status_code == 200
    assert addresses_seen(server, "direct@example.org") == ["127.0.0.1"]
