"""The evaluation context: a request, a user or a mapping, made flat for the engine. Reads no database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from feature_flags.conf import conf
from feature_flags.engine.model import normal_context
from lib.net import client_ip

Flat = dict[str, str]


def flat(source: Any) -> Flat:
    """The context of a mapping (Unleash or OpenFeature names), a request, a user, or None.

    Without `userId`, `targetingKey` stands in for it. A request is its user (`request.auth`, else `request.user`)
    with `remoteAddress` and `sessionId`. A user has `flag_context()`, else `userId`.
    """
    if source is None:
        context: Flat = {}
    elif isinstance(source, Mapping):
        context = normal_context(source)
        if "userId" not in context and "targetingKey" in context:
            context["userId"] = context["targetingKey"]
    elif isinstance(source, HttpRequest):
        context = _of_request(source)
    else:
        context = _of_user(source)
    context.setdefault("environment", conf.environment)
    return context


def _of_user(user: Any) -> Flat:
    if hasattr(user, "flag_context"):
        return normal_context(user.flag_context())
    if getattr(user, "is_anonymous", False) or getattr(user, "pk", None) is None:
        return {}
    return {"userId": str(user.pk)}


def _of_request(request: HttpRequest) -> Flat:
    # `request.user` is lazy: in an async view await `request.auser()` first, as for every other use of it.
    user = getattr(request, "auth", None) or getattr(request, "user", None)
    context = _of_user(user) if user is not None else {}
    if address := client_ip(request):
        context["remoteAddress"] = address
    if key := getattr(getattr(request, "session", None), "session_key", None):
        context["sessionId"] = key
    return context
