"""Each thing that we use of Django and its documentation does not promise, on whichever Django this runs."""

import asyncio
import io
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.core.serializers.json import DjangoJSONEncoder
from django.core.signals import request_finished
from django.http import HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import RequestFactory, override_settings
from django.urls import path
from django.utils import translation
from django.utils.translation import gettext, ngettext, pgettext, trans_real
from ninja import NinjaAPI, Status
from ninja.decorators import decorate_view
from ninja.security import APIKeyQuery
from ninja.throttling import AnonRateThrottle

from lib import private
from lib.api import Schema
from lib.middleware import HookMiddleware
from project.tests import structure

UNDOCUMENTED = re.compile(
    r"_get_response_async|_middleware_chain|_(view|exception|template_response)_middleware|_resource_closers|_cached_user"
    r"|_called_from_command_line|_get_obj_does_not_exist_redirect|split_domain_port|validate_host|trans_real"
    r"|convert_exception_to_response|response_for_exception|get_script_prefix|log_response|headers\._store"
    r"|_create_response_model|thread_sensitive_context|context_to_thread_executor|_run_authentication|_get_values|_result_to_response"
)
DUMMY_CACHE = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
happened = []


async def closing(request, number=0):
    response = HttpResponse(f"{request.path} {request.body.decode()} {request.resolver_match.kwargs}")
    response._resource_closers.append(lambda: happened.append("closed"))
    return response


async def forbidden(request):
    raise PermissionDenied


async def whole(request):
    return HttpResponse(b"x" * 200_000)


def sync(request):
    return HttpResponse(threading.current_thread().name)


def rendered(request):
    return TemplateResponse(request, engines["django"].from_string("{{ word }}"), {"word": "shown"})


urlpatterns = [
    path("plain", closing),
    path("with/<int:number>", closing),
    *(path(view.__name__, view) for view in (forbidden, whole, sync, rendered)),
]


class Outer(HookMiddleware):
    def after(self, request, response):
        happened.append("outer")
        return response


class Inner(HookMiddleware):
    def before(self, request):
        if b"at" in request.body:
            raise BadRequest(request.body.decode())

    def after(self, request, response):
        happened.append("inner")
        if request.body == b"after":
            raise BadRequest("after")
        return response


HOOKS = [f"{__name__}.Outer", f"{__name__}.Inner"]


def answered(url, body=b"", method="POST"):
    """The messages of an answer to one request."""
    happened.clear()
    sent = []

    async def send(message):
        sent.append(message)

    async def scenario():
        handler = private.StepHandler(HOOKS)
        scope = {"type": "http", "method": method, "path": url, "query_string": b"", "headers": []}
        request, error = handler.read_request(scope, io.BytesIO(body))
        assert error is None
        await handler.answer(request, send)

    def finished(**kwargs):
        happened.append("request_finished")

    request_finished.connect(finished)
    try:
        with override_settings(ROOT_URLCONF=__name__):
            asyncio.run(scenario())
    finally:
        request_finished.disconnect(finished)
    return sent


def test_a_request_goes_through_the_hooks_to_its_view_and_what_it_holds_is_closed_without_the_signal():
    sent = answered("/plain", b"text")

    assert sent[0]["status"] == 200
    assert sent[1]["body"] == b"/plain text {}"
    assert happened == ["inner", "outer", "closed"]


def test_each_path_with_parameters_has_its_own():
    assert b"'number': 7" in answered("/with/7")[1]["body"]
    assert b"'number': 8" in answered("/with/8")[1]["body"]


def test_a_path_without_a_view_is_404():
    assert answered("/nowhere")[0]["status"] == 404


@pytest.mark.parametrize(
    ("url", "body", "status", "passed"),
    [
        ("/forbidden", b"", 403, ["inner", "outer"]),
        ("/plain", b"at the door", 400, ["outer"]),
        ("/plain", b"after", 400, ["inner", "outer"]),
    ],
)
def test_what_is_raised_becomes_a_response_for_those_outside(url, body, status, passed):
    assert answered(url, body)[0]["status"] == status
    assert [name for name in happened if name != "closed"] == passed


def test_a_large_body_leaves_in_pieces():
    sent = answered("/whole")

    assert b"".join(message["body"] for message in sent[1:]) == b"x" * 200_000
    assert [message["more_body"] for message in sent[1:]] == [True, True, True, False]


def test_a_plain_view_runs_in_a_thread():
    assert answered("/sync")[1]["body"].decode() != threading.current_thread().name


def test_a_response_is_rendered():
    assert answered("/rendered")[1]["body"] == b"shown"


SCOPES = {
    "plain": {"headers": [(b"host", b"testserver"), (b"x-a", b"1"), (b"x-a", b"2"), (b"x_b", b"3")]},
    "query": {"query_string": b"a=1&a=2&b=%C3%A9"},
    "prefix": {"root_path": "/below", "path": "/below/plain"},
    "form": {
        "method": "POST",
        "headers": [(b"content-type", b"application/x-www-form-urlencoded; charset=utf-8"), (b"content-length", b"4")],
    },
    "cookies": {"headers": [(b"cookie", b"a=1"), (b"cookie", b"b=2")], "client": ("::1", 1), "server": ("h", 80)},
}
ASKED = ("META", "headers", "GET", "POST", "COOKIES", "body", "content_type", "content_params", "encoding", "path_info")


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
@pytest.mark.parametrize("first", ASKED)
def test_a_request_is_djangos_whatever_it_is_asked_first(scope, first):
    scope = {"type": "http", "method": "GET", "path": "/plain", "query_string": b"", "headers": [], **scope}
    ours, djangos = (kind(scope, io.BytesIO(b"a=%C3")) for kind in (private.Request, ASGIRequest))

    # Django's own encoding, too, is known once the head has been read.
    for name in (first, "META", *ASKED):
        assert name == "encoding" == first or getattr(ours, name) == getattr(djangos, name), name
    assert not hasattr(ours, "auth")


def test_a_header_is_found_by_its_name():
    request = private.Request(
        {"method": "GET", "path": "/", "headers": [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]}, None
    )

    assert (private.header(request, b"a"), private.header(request, b"c")) == ("1,3", None)
    assert private.header(RequestFactory().get("/", headers={"a": "1"}), b"a") == "1"


def test_headers_that_are_missing_are_set():
    response = HttpResponse(headers={"x-a": "own"})

    private.set_missing(response, {"x-a": ("X-A", "ours"), "x-b": ("X-B", "ours")})

    assert (response["X-A"], response["X-B"]) == ("own", "ours")


class Item(Schema):
    number: int
    note: str | None = None


class Key(APIKeyQuery):
    def authenticate(self, request, key):
        return key == "right"


def operations(api):
    @api.get("/item", response=Item, exclude_none=True)
    async def item(request):
        return Item(number=1)

    @api.get("/status/{number}", response={200: Item, 404: Item, 204: None})
    async def status(request, number: int, response: HttpResponse):
        response["X-Number"] = str(number)
        return Status(number, None if number == 204 else Item(number=number, note="é"))

    @api.get("/list", response=list[Item])
    async def items(request):
        return [{"number": 1}, Item(number=2)]

    @api.get("/dict", response=Item)
    async def mapping(request):
        return {"number": "5"}

    @api.get("/bug", response=Item)
    async def bug(request):
        raise ZeroDivisionError

    @api.get("/response", auth=Key())
    async def response(request):
        return HttpResponse(f"own {request.auth}", status=202)

    @api.get("/rarely", throttle=AnonRateThrottle("0/d"))
    async def rarely(request):
        return {}

    @api.get("/sync", response=Item)
    def sync(request):
        return Item(number=3)

    @api.get("/decorated", response=Item)
    @decorate_view(lambda run: lambda request: asyncio.sleep(0, HttpResponse("decorated")))
    async def decorated(request):
        return Item(number=4)


APIS = [NinjaAPI(urls_namespace=name) for name in ("ninja", "compact")]
for one in APIS:
    operations(one)
    one.add_exception_handler(ZeroDivisionError, lambda request, error: HttpResponse("a bug", status=500))
APIS[1].add_decorator(private.compact, mode="view")
urlpatterns += [path("ninja/", APIS[0].urls), path("compact/", APIS[1].urls)]


@pytest.mark.parametrize(
    "url",
    ["item", "status/200", "status/204", "status/404", "status/500", "status/x", "list", "dict", "bug", "response"]
    + ["response?key=right", "rarely", "sync", "decorated"],
)
def test_a_compact_operation_answers_as_ninja_does(client, url):
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[], CACHES=DUMMY_CACHE):
        client.raise_request_exception = False
        ninjas, compact = (client.get(f"/{name}/{url}") for name in ("ninja", "compact"))

    assert (compact.status_code, compact.headers, compact.content) == (
        ninjas.status_code,
        ninjas.headers,
        ninjas.content,
    )


def test_a_compact_operation_makes_no_response_before_it_has_one(monkeypatch):
    monkeypatch.setattr(APIS[1], "create_temporal_response", None)
    with override_settings(ROOT_URLCONF=__name__):
        assert answered("/compact/item", method="GET")[1]["body"] == b'{"number": 1}'


@pytest.mark.parametrize(
    ("url", "method", "status"),
    [("item", "GET", 200), ("item", "POST", 405), ("sync", "GET", 200), ("sync", "PUT", 405)],
)
def test_a_path_runs_the_operation_of_the_method(url, method, status):
    with override_settings(ROOT_URLCONF=__name__):
        assert answered(f"/compact/{url}", method=method)[0]["status"] == status


def test_operations_with_one_type_of_answer_share_its_model():
    api = NinjaAPI(urls_namespace="shared")
    nameless = Annotated[int, {"has": "no hash"}]
    for path_, answers in [("/one", {200: Item, 400: Item}), ("/two", {200: Item, 201: nameless, 204: None})]:
        api.get(path_, response=answers)(lambda request: None)

    models = [
        model
        for view in api.default_router.path_operations.values()
        for model in view.operations[0].response_models.values()
        if model
    ]

    assert len(models) == 4
    assert len(set(models)) == 2


@pytest.mark.parametrize("options", [{}, {"separators": (",", ":"), "ensure_ascii": False}, {"sort_keys": True}])
def test_json_is_that_of_its_encoder(options):
    encoder = DjangoJSONEncoder(**options)
    value = {"é": ['"\n', 1, 1.5, None, True, {}], "at": datetime(2026, 1, 31, 1, 2, 3, 456789, UTC), "a": UUID(int=1)}

    for one in (value, "é", 1.0, None):
        assert private.json_of(encoder)(one) == encoder.encode(one)
    with pytest.raises(TypeError):
        private.json_of(encoder)({"set": {1}})


def test_an_answer_of_bytes_is_djangos_response():
    ours, djangos = private.PlainResponse(b"{}", 418), HttpResponse(b"{}", status=418, content_type="application/json")
    ours.set_cookie("a", "1")

    assert vars(ours).keys() <= vars(djangos).keys()
    assert {name: getattr(ours, name) for name in vars(djangos)} == {**vars(djangos), "cookies": ours.cookies}
    assert (private.has_cookies(ours), private.has_cookies(private.PlainResponse(b""))) == (True, False)


def test_many_requests_have_their_threads_in_one_executor():
    async def asked(threads):
        entered = threads.enter()
        await asyncio.sleep(0)
        name = await sync_to_async(lambda: threading.current_thread().name)()
        threads.leave(entered)
        return name

    async def scenario():
        with ThreadPoolExecutor(1, "a") as one, ThreadPoolExecutor(1, "b") as other:
            places = private.Threads(one), private.Threads(other)
            return await asyncio.gather(*(asked(place) for place in places * 3))

    assert [name[0] for name in asyncio.run(scenario())] == ["a", "b"] * 3
    # Also where a thread that waits would run the calls itself.
    assert [name[0] for name in async_to_sync(scenario)()] == ["a", "b"] * 3


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [("example.org", True), ("a.example.org:8000", True), ("[::1]:80", True), ("example.com", False), ("a b", False)],
)
def test_a_host_is_allowed_as_django_sees_it(host, is_allowed):
    assert private.host_is_allowed(host, [".example.org", "[::1]"]) is is_allowed


def test_languages_come_by_their_weight():
    assert private.accepted_languages("de;q=0.5, EN-gb, *;q=0.1") == ["en-gb", "de", "*"]


def test_a_text_is_looked_up_once():
    with translation.override("de"):
        before = [gettext("Delete"), pgettext("x", "nowhere"), ngettext("%d row", "%d rows", 2)]
        private.remember_texts("de")
        private.remember_texts("de")

        asked = trans_real.translation("de").gettext
        assert [gettext("Delete"), pgettext("x", "nowhere"), ngettext("%d row", "%d rows", 2)] == before
        hits = asked.cache_info().hits
        assert gettext("Delete") == "Löschen"
        assert asked.cache_info().hits == hits + 1


def test_a_user_is_known_once_it_was_asked_for(rf, monkeypatch):
    monkeypatch.setattr("django.contrib.auth.middleware.auth.get_user", lambda request: AnonymousUser())
    request = rf.get("/")
    request.session = {}
    AuthenticationMiddleware(lambda request: None).process_request(request)
    before = private.loaded_user(request)

    assert request.user.is_anonymous
    assert (before, private.loaded_user(request)) == (None, AnonymousUser())


def test_a_command_knows_whether_a_shell_started_it():
    seen = []

    class Command(BaseCommand):
        requires_system_checks = ()

        def handle(self, *args, **options):
            seen.append(private.is_from_shell(self))

    call_command(Command())
    Command().run_from_argv(["manage.py", "command"])

    assert seen == [False, True]


def test_the_admin_has_a_way_out_where_an_object_does_not_exist(rf, monkeypatch):
    from django.contrib import admin
    from django.contrib.auth import get_user_model

    model_admin = admin.site.get_model_admin(get_user_model())
    monkeypatch.setattr("django.contrib.admin.ModelAdmin.message_user", lambda *args: None)

    assert private.missing_object(model_admin, rf.get("/"), "7").url == "/admin/"


def test_nothing_of_it_is_used_elsewhere():
    used = [
        f"{module}: {found.group()}"
        for module, file in structure.files().items()
        if module != "lib.private" and ".tests." not in module
        for found in UNDOCUMENTED.finditer(file.read_text())
    ]

    assert used == []


def test_what_is_left_out_while_a_package_loads_can_be_loaded_afterwards():
    code = (
        "import sys; from lib import private; from django.conf import settings; settings.configure();"
        "private.load_ninja(); private.load_jwt(); print(sorted({'django.test', 'cryptography'} & sys.modules.keys()));"
        "import jwt, ninja, django.test, cryptography.fernet;"
        "token, key = jwt.encode({'a': 1}, 'k' * 32), 'k' * 32;"
        "print(jwt.decode(token, key, algorithms=['HS256']), django.test.TestCase.__name__)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=settings.BASE_DIR)

    assert done.stdout.splitlines() == ["[]", "{'a': 1} TestCase"], done.stderr


def test_operations_are_known_with_what_the_api_gave_them():
    guarded = NinjaAPI(urls_namespace="guarded", auth=lambda request: "anyone")

    @guarded.get("/own")
    def own(request):
        return {}

    @guarded.get("/open", auth=None)
    def opened(request):
        return {}

    found = {each.view_func: bool(each.auth_callbacks) for each in private.operations_of(guarded)}

    assert found == {own: True, opened: False}
