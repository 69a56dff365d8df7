"""What we use of Django that its documentation does not promise; lib/tests/test_private.py tries it on each release."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from io import BytesIO
from typing import Any

from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port, validate_host
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch, set_script_prefix
from django.utils.module_loading import import_string
from django.utils.translation.trans_real import parse_accept_lang_header


class StepHandler(ASGIHandler):
    """Django's request handling in steps, through `middleware` (async-capable dotted paths, outermost first)."""

    def __init__(self, middleware: Sequence[str]) -> None:
        self.middleware = middleware
        self._routes: dict[str, ResolverMatch] = {}
        super().__init__()

    def load_middleware(self, is_async: bool = False) -> None:
        hooks: list[Any] = []
        self._view_middleware = self._template_response_middleware = self._exception_middleware = hooks
        handler = convert_exception_to_response(self._get_response_async)  # type: ignore[attr-defined]
        for path in reversed(self.middleware):
            handler = convert_exception_to_response(import_string(path)(handler))
        self._middleware_chain = handler

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Remember paths without parameters, of which there are only so many: the resolver tries them one by one."""
        match = self._routes.get(request.path_info)
        if match is None:
            match = super().resolve_request(request)
            if not match.kwargs and not match.args:
                self._routes[request.path_info] = match
        request.resolver_match = match
        return match

    def read_request(
        self, scope: MutableMapping[str, Any], file: BytesIO
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponseBase]:
        """The request, or the response to one that cannot be read."""
        set_script_prefix(get_script_prefix(scope))
        return self.create_request(scope, file)

    async def answer(self, request: ASGIRequest, send: Callable[[Mapping[str, Any]], Awaitable[None]]) -> None:
        response = await self.run_get_response(request)
        try:
            await self.send_response(response, send)
        finally:
            # Not response.close(): that would send request_finished, whose receivers belong to other threads.
            for closer in response._resource_closers:  # type: ignore[attr-defined]
                closer()


def host_is_allowed(host: str, allowed: Sequence[str]) -> bool:
    """Whether a Host header names one of these hosts, as ALLOWED_HOSTS has them."""
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, list(allowed))


def accepted_languages(header: str) -> list[str]:
    """The codes in an `Accept-Language` (RFC 9110), the best first, in lower case."""
    return [code for code, _quality in parse_accept_lang_header(header.lower()[:500])]


def loaded_user(request: HttpRequest) -> Any:
    """The user of the Django session if something has asked for it; else None, without a query."""
    return getattr(request, "_cached_user", None)


def is_from_shell(command: Any) -> bool:
    """Whether the command was started by a shell, and not by `call_command`."""
    return bool(getattr(command, "_called_from_command_line", False))


def missing_object(model_admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """The admin's own way out where an object does not exist: a message, and back to its index."""
    return model_admin._get_obj_does_not_exist_redirect(request, model_admin.opts, object_id)  # type: ignore[no-any-return]
