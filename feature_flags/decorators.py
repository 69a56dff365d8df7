"""Views that exist only while a flag is on for the request; sync, async, and ninja operations alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

from asgiref.sync import iscoroutinefunction
from django.http import Http404, HttpRequest
from django.shortcuts import redirect

from feature_flags.declarations import Flag
from feature_flags.evaluation import is_enabled

View = Callable[..., Any]
Fallback = int | str | View


def flag_required(flag: Flag | str, *, fallback: Fallback = 404) -> Callable[[View], View]:
    """Let a request through while the flag is on for it.

    `fallback` is what happens otherwise: 404 (Http404), a view of the same kind and arguments, or anything
    `redirect()` takes.
    """
    if isinstance(fallback, int) and fallback != 404:
        raise ValueError("A fallback is 404, a view, or where to redirect to.")

    def decorate(view: View) -> View:
        if iscoroutinefunction(view):

            @wraps(view)
            async def awaited(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                # `request.user` is lazy and would read the database; here it may be awaited.
                if getattr(request, "auth", None) is None and hasattr(request, "auser"):
                    request.user = await request.auser()
                if is_enabled(flag, request):
                    return await view(request, *args, **kwargs)
                answer = _otherwise(fallback, request, args, kwargs)
                return await answer if hasattr(answer, "__await__") else answer

            return awaited

        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if is_enabled(flag, request):
                return view(request, *args, **kwargs)
            return _otherwise(fallback, request, args, kwargs)

        return guarded

    return decorate


class FlagRequiredMixin:
    """The same for class-based views: set `flag`, and `flag_fallback` if 404 is not wanted."""

    flag: ClassVar[Flag | str]
    flag_fallback: ClassVar[Fallback] = 404

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        view = super().dispatch  # type: ignore[misc]
        return flag_required(self.flag, fallback=self.flag_fallback)(view)(request, *args, **kwargs)


def _otherwise(fallback: Fallback, request: HttpRequest, args: Any, kwargs: Any) -> Any:
    if fallback == 404:
        raise Http404
    if callable(fallback):
        return fallback(request, *args, **kwargs)
    return redirect(str(fallback))
