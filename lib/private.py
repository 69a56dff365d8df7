"""What we use of Django that its documentation does not promise; lib/tests/test_private.py tries it on each release."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import Executor
from functools import cache, cached_property, lru_cache, partial
from importlib import import_module
from inspect import getclosurevars
from io import BytesIO
from json import JSONEncoder
from json.encoder import (  # type: ignore[attr-defined]
    c_make_encoder,
    encode_basestring,
    encode_basestring_ascii,
)
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext, iscoroutinefunction, sync_to_async
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.core.handlers.exception import response_for_exception
from django.core.signals import setting_changed
from django.http import HttpRequest, HttpResponse, SimpleCookie
from django.http.request import split_domain_port, validate_host
from django.http.response import HttpResponseBase, ResponseHeaders
from django.urls import ResolverMatch, set_script_prefix
from django.utils.log import log_response
from django.utils.module_loading import import_string
from django.utils.translation import trans_real
from django.utils.translation.trans_real import parse_accept_lang_header

from lib.conf import conf
from lib.text import remember

if TYPE_CHECKING:
    from ninja import NinjaAPI
    from ninja.operation import Operation

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
R = TypeVar("R", bound=HttpResponseBase)
_request_logger = logging.getLogger("django.request")


class Request(ASGIRequest):
    """Django's request, made of its scope no sooner than something is asked for that most requests never are."""

    def __init__(self, scope: MutableMapping[str, Any], body_file: BytesIO) -> None:
        if scope.get("query_string") or scope.get("root_path"):
            super().__init__(scope, body_file)
            return
        self.scope, self._stream = scope, body_file
        self.path = self.path_info = scope["path"]
        self.method = scope["method"].upper()
        self.resolver_match = None

    def __getattr__(self, name: str) -> Any:
        if name not in _made_later() or name in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        known = dict(self.__dict__)
        super().__init__(self.scope, self._stream)
        self.__dict__.update(known)
        return self.__dict__[name]


@cache
def _made_later() -> frozenset[str]:
    """What Django's own sets at its beginning, which takes settings."""
    return frozenset(vars(ASGIRequest({"path": "/", "method": "GET"}, BytesIO())))


def by_name(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Repeated headers as one list (RFC 9110, 5.3), as Django reads them."""
    joined = dict(headers)
    if len(joined) != len(headers):
        joined = {}
        for name, value in headers:
            joined[name] = joined[name] + b"," + value if name in joined else value
    return joined


def header(request: HttpRequest, name: bytes) -> str | None:
    """`request.headers[name]`, without reading the others; the name is in lower case."""
    if not isinstance(request, ASGIRequest):
        return request.headers.get(name.decode())
    headers = request.__dict__.get("_by_name")
    if headers is None:
        headers = request.__dict__["_by_name"] = by_name(request.scope.get("headers", ()))
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def is_secure(request: HttpRequest) -> bool:
    """`request.is_secure()`, of which the scope alone tells as long as no header of a proxy does."""
    if isinstance(request, ASGIRequest) and conf.SECURE_PROXY_SSL_HEADER is None:
        return request.scope.get("scheme") == "https"
    return request.is_secure()


class StepHandler(ASGIHandler):
    """Django's request handling between hooks in place of middleware.

    `middleware` are dotted paths, outermost first, of classes with the `before` and `after` of
    lib.middleware.HookMiddleware; what one of them raises becomes a response for those outside of it.
    """

    request_class = Request

    def __init__(self, middleware: Sequence[str]) -> None:
        self.middleware = middleware
        super().__init__()

    def load_middleware(self, is_async: bool = False) -> None:
        hooks = [import_string(path)(None) for path in self.middleware]
        self._before = [hook.before for hook in hooks]
        self._after = [hook.after for hook in reversed(hooks)]
        self._view = lru_cache(1024)(self._awaitable)
        # The resolver tries its patterns one by one.
        self._route = remember(1024)(self._resolve)

    def _resolve(self, path: str) -> tuple[ResolverMatch, Callable[..., Any]]:
        request = HttpRequest()
        request.path_info = path
        match = super().resolve_request(request)
        return match, self._view(match.func)

    def _awaitable(self, view: Callable[..., Any]) -> Callable[..., Any]:
        if (operations := _operations(view)) is not None:
            return operations
        view = self.make_view_atomic(view)
        return view if iscoroutinefunction(view) else sync_to_async(view)

    def read_request(
        self, scope: MutableMapping[str, Any], file: BytesIO
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponseBase]:
        """The request, or the response to one that cannot be read."""
        if prefix := scope.get("root_path"):
            set_script_prefix(prefix)
        return self.create_request(scope, file)

    async def answer(self, request: ASGIRequest, send: Send) -> None:
        response: Any = await self._answer(request)
        try:
            content = b"" if response.streaming else response.content
            if response.streaming or has_cookies(response) or len(content) > self.chunk_size:
                await self.send_response(response, send)
            else:
                headers = encoded_headers(response)
                await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
                await send({"type": "http.response.body", "body": content, "more_body": False})
        finally:
            # Not response.close(): that would send request_finished, whose receivers belong to other threads.
            for closer in response._resource_closers:
                closer()
            if "_files" in request.__dict__:
                request.close()

    async def _answer(self, request: ASGIRequest) -> HttpResponseBase:
        entered = 0
        try:
            for before in self._before:
                response = before(request)
                entered += 1
                if response is not None:
                    break
            else:
                request.resolver_match, view = self._route(request.path_info)
                match: Any = request.resolver_match
                response = await view(request, *match.args, **match.kwargs)
                if type(response) is not PlainResponse:
                    self.check_response(response, match.func)
                    if callable(getattr(response, "render", None)):
                        response = await sync_to_async(response.render)()
        except Exception as error:
            response = await _as_response(request, error)
        for after in self._after[len(self._after) - entered :]:
            try:
                response = after(request, response)
            except Exception as error:
                response = await _as_response(request, error)
        status = response.status_code
        if status >= 500 or (status >= 400 and _request_logger.isEnabledFor(logging.WARNING)):
            words = ("%s: %s", response.reason_phrase, request.path)
            await sync_to_async(log_response, thread_sensitive=False)(*words, response=response, request=request)
        return response  # type: ignore[no-any-return]


@lru_cache(1024)
def _encoded(name: str, value: str) -> tuple[bytes, bytes]:
    return name.encode("ascii"), value.encode("latin-1")


def encoded_headers(response: HttpResponseBase) -> list[tuple[bytes, bytes]]:
    """Without cookies, as ASGI has them."""
    return [_encoded(*field) for field in response.headers._store.values()]


def _operations(view: Callable[..., Any]) -> Callable[..., Any] | None:
    """Ninja's operations of a path, by method, in place of its view; None for any other view."""
    own: Any = getclosurevars(view).nonlocals.get("self") if iscoroutinefunction(view) else None
    if "ninja.operation" not in sys.modules or type(own) is not sys.modules["ninja.operation"].PathView:
        return None
    runs = {
        method: operation.run
        for operation in reversed(own.operations)
        for method in operation.methods
        if operation.is_async
    }
    return lambda request, **path: runs.get(request.method, view)(request, **path)


_as_response = sync_to_async(response_for_exception, thread_sensitive=False)


def json_of(encoder: JSONEncoder) -> Callable[[Any], str]:
    """`encoder.encode` by one encoder in C; json makes one for each call. A value that holds itself: RecursionError."""
    if c_make_encoder is None:
        return encoder.encode
    quoted = encode_basestring_ascii if encoder.ensure_ascii else encode_basestring
    separators = encoder.key_separator, encoder.item_separator
    pieces = c_make_encoder(
        None, encoder.default, quoted, None, *separators, encoder.sort_keys, encoder.skipkeys, encoder.allow_nan
    )
    return lambda value: "".join(pieces(value, 0))


Fields = Mapping[str, tuple[str, str]]


def set_missing(response: HttpResponseBase, headers: Fields, more: Fields | None = None) -> None:
    """Set the headers that the response has not; `{name in lower case: (name, value)}`."""
    response.headers._store = {**headers, **(more or {}), **response.headers._store}


def set_header(response: HttpResponseBase, name: str) -> str | None:
    """`response.headers.get(name)`; the name is in lower case."""
    field = response.headers._store.get(name)
    return None if field is None else field[1]


class PlainResponse(HttpResponse):
    """Django's response to a body that is bytes already: none of its look-ups is needed."""

    #: The same for all who ask without credentials, but for the id of the request in it (lib/common_answers.py).
    is_common = False

    def __init__(self, content: bytes, status: int = 200, content_type: str = "application/json") -> None:
        self.status_code, self._container, self._resource_closers = status, [content], list[Any]()
        self.headers = ResponseHeaders({})
        self.headers._store["content-type"] = "Content-Type", content_type

    @cached_property
    def cookies(self) -> SimpleCookie:  # type: ignore[override]
        return SimpleCookie()


# What is alike in all of them stands in the class.
for _name, _value in vars(HttpResponse(content_type="application/json")).items():
    if _name != "cookies":
        setattr(PlainResponse, _name, _value)


def has_cookies(response: HttpResponseBase) -> bool:
    return "cookies" in response.__dict__ and bool(response.cookies)


def compact(run: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of ninja's operations (`add_decorator(compact, mode="view")`): the same answer with less on the way.

    No response is made that nothing asks for, and a model of the declared type becomes its answer at once. Operations
    that are more than a coroutine with authentication run as ninja runs them.
    """
    from ninja import NinjaAPI
    from ninja.errors import AuthenticationError
    from ninja.operation import AsyncOperation
    from ninja.responses import Status
    from pydantic import BaseModel

    operation: Any = getattr(run, "__self__", None)
    is_plain = type(operation) is AsyncOperation and run.__func__ is AsyncOperation.run  # type: ignore[attr-defined]
    if not is_plain or operation.throttle_objects or operation.stream_format or operation.csrf_exempt:
        return run
    api, wants_response = operation.api, operation.signature.response_arg
    content_type = api.get_content_type()
    is_usual = type(api).create_response is NinjaAPI.create_response and content_type.endswith("utf-8")
    declared: dict[Any, Any] = {
        status: model.model_fields["response"].annotation
        for status, model in operation.response_models.items()
        if isinstance(model, type) and issubclass(model, BaseModel)
    }
    is_common = getattr(operation.view_func, "is_common", False)
    usual_status = next(iter(operation.response_models)) if len(operation.response_models) == 1 else 200
    names: tuple[str, ...] = "by_alias", "exclude_unset", "exclude_defaults", "exclude_none"
    options = {name: getattr(operation, name) for name in names}
    authenticate = operation.auth_callbacks[0] if len(operation.auth_callbacks) == 1 else None
    is_alone = getattr(authenticate, "is_async", False)

    async def answer(request: HttpRequest, **path: Any) -> HttpResponseBase:
        try:
            if is_alone:
                if not (user := await authenticate(request)):  # type: ignore[misc]
                    raise AuthenticationError
                request.auth = user  # type: ignore[attr-defined]
            elif operation.auth_callbacks and (error := await operation._run_authentication(request)) is not None:
                return error  # type: ignore[no-any-return]
            response = api.create_temporal_response(request) if wants_response else None
            values = operation._get_values(request, path, response) if operation.models or wants_response else {}
            result = await operation.view_func(request, **values)
            status, value = (result.status_code, result.value) if isinstance(result, Status) else (usual_status, result)
            if type(value) is not declared.get(status):
                response = response or api.create_temporal_response(request)
                return operation._result_to_response(request, result, response)  # type: ignore[no-any-return]
            context = {"request": request, "response_status": status}
            if type(value).model_dump is BaseModel.model_dump:
                value = value.__pydantic_serializer__.to_python(value, **options, context=context)
            else:
                value = value.model_dump(**options, context=context)
            if response is not None:
                response.status_code = status
            elif is_usual:
                content = api.renderer.render(request, value, response_status=status)
                plain = PlainResponse(content if isinstance(content, bytes) else content.encode(), status, content_type)
                plain.is_common = is_common
                return plain
            return api.create_response(request, value, status=status, temporal_response=response)  # type: ignore[no-any-return]
        except Exception as error:
            return api.on_exception(request, error)  # type: ignore[no-any-return]

    return answer


def load_ninja() -> None:
    """Load ninja without django.test, of which it wants one signal, and that one stands in django.core.

    The rest brings unittest, and jinja2 where it is installed: 5 MiB, and a twentieth of a start.
    """
    signals = ModuleType("django.test.signals")
    signals.setting_changed = setting_changed  # type: ignore[attr-defined]
    for_now = {"django.test": ModuleType("django.test"), signals.__name__: signals}
    if for_now.keys() & sys.modules.keys():
        return
    sys.modules.update(for_now)
    try:
        import_module("ninja")
    finally:
        for name in for_now:
            del sys.modules[name]


def load_jwt() -> None:
    """Load PyJWT as it is without its extra `crypto`, which HMAC does not need: that takes 9 MiB of a process."""
    if {"jwt", "cryptography"} & sys.modules.keys():
        return
    sys.modules["cryptography"] = None  # type: ignore[assignment]
    try:
        import_module("jwt")
    finally:
        del sys.modules["cryptography"]


def share_response_models() -> None:
    """Make one model for each type that ninja's operations answer with; ninja makes one for each status of each."""
    from ninja.operation import Operation

    make: Any = Operation._create_response_model
    shared = cache(partial(make, None))

    def create(operation: Operation, kind: Any) -> Any:
        try:
            return shared(kind)
        except TypeError:  # a type that has no hash
            return make(operation, kind)

    Operation._create_response_model = create  # type: ignore[method-assign, assignment]


def operations_of(api: NinjaAPI) -> list[Operation]:
    """As the API answers them, with what it gave them of its own."""
    paths = [path for router in api._get_bound_routers() for path in router.path_operations.values()]
    return [operation for path in paths for operation in path.operations]


def sources_of(operation: Any) -> list[tuple[str, list[str]]]:
    """Where an operation of ninja reads from (`path`, `query`, `body`), and the names there; of a body none."""
    return [
        (model.__ninja_param_source__, [name for name, *_ in model.__ninja_flatten_map_reverse__.values()])
        for model in operation.models
    ]


def body_of(operation: Any, arguments: Mapping[str, Any]) -> Any:
    """What became of the body among the arguments; None where the operation reads none itself."""
    models = (model for model in operation.models if model.__ninja_param_source__ == "body")
    return next((arguments[name] for model in models for name in model.model_fields), None)


def arguments_of(operation: Any, request: HttpRequest, path: Mapping[str, Any]) -> tuple[dict[str, Any], HttpResponse]:
    """What ninja would call an operation with, and the response that its headers go to. Raises: ninja's
    ValidationError."""
    response: HttpResponse = operation.api.create_temporal_response(request)
    return operation._get_values(request, path, response), response


def answer_of(operation: Any, request: HttpRequest, result: Any, response: HttpResponse) -> Any:
    """Ninja's answer to what an operation returned."""
    return operation._result_to_response(request, result, response)


class Threads:
    """An executor for the `sync_to_async` calls of any number of requests at once, each inside `with`."""

    def __init__(self, executor: Executor) -> None:
        self._thread = threading.local()
        self._context = ThreadSensitiveContext()
        SyncToAsync.context_to_thread_executor[self._context] = executor

    def enter(self) -> tuple[Any, Any]:
        """What `leave` takes."""
        outer = None
        # Looked up once: the thread of a loop that a server runs is inside of no waiting thread, now or later.
        if not hasattr(self._thread, "is_outermost"):
            outer = getattr(AsyncToSync.executors, "current", None)
            if outer is not None:
                AsyncToSync.executors.current = None
            else:
                self._thread.is_outermost = True
        return SyncToAsync.thread_sensitive_context.set(self._context), outer

    def leave(self, entered: tuple[Any, Any]) -> None:
        token, outer = entered
        SyncToAsync.thread_sensitive_context.reset(token)
        if outer is not None:
            AsyncToSync.executors.current = outer


def host_is_allowed(host: str, allowed: Sequence[str]) -> bool:
    """Whether a Host header names one of these hosts, as ALLOWED_HOSTS has them."""
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, list(allowed))


def accepted_languages(header: str) -> list[str]:
    """The codes in an `Accept-Language` (RFC 9110), the best first, in lower case."""
    return [code for code, _quality in parse_accept_lang_header(header.lower()[:500])]


def remember_texts(language: str) -> None:
    """Keep what texts are in this language: Django looks for one without translation in a dozen catalogs each time."""
    found: Any = trans_real.translation(language)
    if not hasattr(found.gettext, "cache_info"):
        found.gettext = lru_cache(maxsize=4096)(found.gettext)


def loaded_user(request: HttpRequest) -> Any:
    """The user of the Django session if something has asked for it; else None, without a query."""
    return request.__dict__.get("_cached_user")


def without_error_line(response: R) -> R:
    """The response, of which Django writes no line at error where its status is 500 or above."""
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def is_from_shell(command: Any) -> bool:
    """Whether the command was started by a shell, and not by `call_command`."""
    return bool(getattr(command, "_called_from_command_line", False))


def missing_object(model_admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """The admin's own way out where an object does not exist: a message, and back to its index."""
    return model_admin._get_obj_does_not_exist_redirect(request, model_admin.opts, object_id)  # type: ignore[no-any-return]
