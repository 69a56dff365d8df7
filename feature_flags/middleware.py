"""From its first evaluation on, a request keeps its snapshot, its time and its random value."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from feature_flags.context import enter_request, leave_request
from lib.middleware import HookMiddleware


class FlagsMiddleware(HookMiddleware):
    """`request.flags.seen` lists what was evaluated, `{codename: answer}`, for error reports."""

    def before(self, request: HttpRequest) -> HttpResponse | None:
        request.flags = enter_request()  # type: ignore[attr-defined]
        return None

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        leave_request()
        return response
