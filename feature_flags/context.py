"""The evaluation context: a request, a person or a mapping, made flat for the engine. Asks no database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from feature_flags.conf import conf
from feature_flags.engine.context import normal_context
from lib.net import client_ip

Flat = dict[str, str]


def flat(source: Any) -> Flat:
    """The context of a mapping (Unleash or OpenFeature names), a request, a person, or of nobody (None).

    Without `userId`, `targetingKey` stands in for it. A request is its person (`request.auth`, else `request.user`)
    with `remoteAddress` and `sessionId`. A person brings `flag_context()`, else `userId`.
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
        context = _of_person(source)
    context.setdefault("environment", conf.environment)
    return context


def _of_person(person: Any) -> Flat:
    if hasattr(person, "flag_context"):
        return normal_context(person.flag_context())
    if getattr(person, "is_anonymous", False) or getattr(person, "pk", None) is None:
        return {}
    return {"userId": str(person.pk)}


def _of_request(request: HttpRequest) -> Flat:
    # `request.user` is lazy: in an async view await `request.auser()` first, as for every other use of it.
    person = getattr(request, "auth", None) or getattr(request, "user", None)
    context = _of_person(person) if person is not None else {}
    if address := client_ip(request):
        context["remoteAddress"] = address
    if key := getattr(getattr(request, "session", None), "session_key", None):
        context["sessionId"] = key
    return context
