"""The public answers: pure functions from a request and a snapshot to status, headers and body, one per endpoint.

Two doors call them: `edge.py`, in front of Django, and the routes in `api.py`. Nothing here reads a database or waits.
"""

from __future__ import annotations

import re

from feature_flags.http import ofrep, unleash
from feature_flags.http.wire import METRICS_LIMIT, Answer, Refused, Request, Route, preflight
from feature_flags.runtime.snapshot import Snapshot

__all__ = ["ROUTES", "Answer", "Request", "Route", "failed", "find", "respond", "too_large"]

_SEED = Route("seed list", {"GET": unleash.seed_list}, unleash.refuse_house, is_house=True)
_OFREP = {"OPTIONS": preflight}

BULK = Route("ofrep bulk", {"POST": ofrep.bulk, **_OFREP}, ofrep.refuse)
SINGLE = Route("ofrep single", {"POST": ofrep.single, **_OFREP}, ofrep.refuse)

ROUTES = {
    "/api/feature-flags": _SEED,
    "/api/feature-flags/feature-flags": _SEED,
    "/api/client/features": Route(
        "client features", {"GET": unleash.client_features}, unleash.refuse_house, is_house=True
    ),
    "/api/client/delta": Route("client delta", {"GET": unleash.client_delta}, unleash.refuse_house, is_house=True),
    "/api/client/metrics/bulk": Route(
        "client metrics bulk", {"POST": unleash.client_metrics_bulk}, unleash.refuse_house, METRICS_LIMIT, is_house=True
    ),
    "/edge/validate": Route("edge validate", {"POST": unleash.validate}, unleash.refuse_house, is_house=True),
    "/api/client/register": Route(
        "client register", {"POST": unleash.client_register}, unleash.refuse_house, is_house=True
    ),
    "/api/client/metrics": Route(
        "client metrics", {"POST": unleash.client_metrics}, unleash.refuse_house, METRICS_LIMIT, is_house=True
    ),
    "/api/frontend": Route(
        "frontend", {"GET": unleash.frontend, "POST": unleash.frontend, "OPTIONS": preflight}, unleash.refuse
    ),
    "/api/frontend/client/register": Route(
        "frontend register", {"POST": unleash.frontend_register, "OPTIONS": preflight}, unleash.refuse
    ),
    "/api/frontend/client/metrics": Route(
        "frontend metrics", {"POST": unleash.frontend_metrics, "OPTIONS": preflight}, unleash.refuse, METRICS_LIMIT
    ),
    ofrep.STEM: BULK,
    # A base address that ends in a slash.
    f"/{ofrep.STEM}": BULK,
}
_STEMS = ("/api/", "/edge/", "//edge/", f"{ofrep.STEM}/", f"/{ofrep.STEM}/")
_SINGLE_STEMS = (f"{ofrep.STEM}/", f"/{ofrep.STEM}/")


def find(path: str) -> Route | None:
    """The route of a decoded path.

    A base address may end in a slash, and browsers follow no redirect of a preflight: all but the seed's own list
    answer with a closing slash, and with two slashes between base and rest, too.
    """
    route = ROUTES.get(path)
    if route is None and (path.endswith("/") or "//" in path) and path.startswith(_STEMS):
        route = ROUTES.get(tidy(path))
        route = None if route is _SEED else route
    if route is None and path.startswith(_SINGLE_STEMS):
        return SINGLE
    return route


def tidy(path: str) -> str:
    return re.sub("//+", "/", path).rstrip("/")


def respond(route: Route, request: Request, snapshot: Snapshot | None) -> Answer:
    try:
        endpoint = route.endpoints.get(request.method)
        if endpoint is None:
            raise Refused(405)
        if len(request.body) > route.limit:
            raise Refused(413)
        return endpoint(request, snapshot)
    except Refused as refused:
        return _refused(route, request, refused)


def too_large(route: Route, request: Request) -> Answer:
    """For a door that sees the size before it has read the body."""
    return _refused(route, request, Refused(413))


def failed(route: Route, request: Request) -> Answer:
    """For a door that has caught what nobody expected."""
    return _refused(route, request, Refused(500))


def _refused(route: Route, request: Request, refused: Refused) -> Answer:
    answer = route.refuse(request, refused)
    if refused.status == 405:
        return answer._replace(headers=[*answer.headers, (b"allow", route.allow)])
    return answer
