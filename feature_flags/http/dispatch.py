"""The endpoints by path: pure functions from a request and a snapshot to status, headers and body.

Two entrances call them: `asgi`, in front of Django, and `routes`, inside it. Nothing here reads a database or waits.
"""

from __future__ import annotations

import re
from functools import partial

from feature_flags.http import ofrep, unleash
from feature_flags.http.wire import METRICS_LIMIT, Refused, Request, Response, Route, preflight
from feature_flags.runtime.snapshot import Snapshot

_site = partial(Route, refuse=unleash.refuse_on_site, is_site=True)
_frontend = partial(Route, refuse=unleash.refuse)
_SEED = _site("seed list", {"GET": unleash.seed_list})
BULK = Route("ofrep bulk", {"POST": ofrep.bulk, "OPTIONS": preflight}, ofrep.refuse)
SINGLE = Route("ofrep single", {"POST": ofrep.single, "OPTIONS": preflight}, ofrep.refuse)

ROUTES = {
    "/api/feature-flags": _SEED,
    "/api/feature-flags/feature-flags": _SEED,
    "/api/client/features": _site("client features", {"GET": unleash.client_features}),
    "/api/client/delta": _site("client delta", {"GET": unleash.client_delta}),
    "/api/client/metrics": _site("client metrics", {"POST": unleash.client_metrics}, limit=METRICS_LIMIT),
    "/api/client/metrics/bulk": _site(
        "client metrics bulk", {"POST": unleash.client_metrics_bulk}, limit=METRICS_LIMIT
    ),
    "/api/client/register": _site("client register", {"POST": unleash.client_register}),
    "/edge/validate": _site("edge validate", {"POST": unleash.validate}),
    "/api/frontend": _frontend(
        "frontend", {"GET": unleash.frontend, "POST": unleash.frontend_post, "OPTIONS": preflight}
    ),
    "/api/frontend/client/register": _frontend(
        "frontend register", {"POST": unleash.frontend_register, "OPTIONS": preflight}
    ),
    "/api/frontend/client/metrics": _frontend(
        "frontend metrics", {"POST": unleash.frontend_metrics, "OPTIONS": preflight}, limit=METRICS_LIMIT
    ),
    ofrep.PREFIX: BULK,
    # A base address that ends in a slash.
    f"/{ofrep.PREFIX}": BULK,
}
_SINGLE_PREFIXES = (f"{ofrep.PREFIX}/", f"/{ofrep.PREFIX}/")
_PREFIXES = ("/api/", "/edge/", "//edge/", *_SINGLE_PREFIXES)


def find(path: str) -> Route | None:
    """The route of a decoded path.

    A base address may end in a slash, and browsers follow no redirect of a preflight: all but the seed's own list
    answer with a closing slash, and with two slashes between base and rest, too.
    """
    route = ROUTES.get(path)
    if route is None and (path.endswith("/") or "//" in path) and path.startswith(_PREFIXES):
        route = ROUTES.get(normal_path(path))
        route = None if route is _SEED else route
    if route is None and path.startswith(_SINGLE_PREFIXES):
        return SINGLE
    return route


def normal_path(path: str) -> str:
    """Without double slashes and without one at the end."""
    return re.sub("//+", "/", path).rstrip("/")


def respond(route: Route, request: Request, snapshot: Snapshot | None) -> Response:
    try:
        endpoint = route.endpoints.get(request.method)
        if endpoint is None:
            raise Refused(405)
        if len(request.body) > route.limit:
            raise Refused(413)
        return endpoint(request, snapshot)
    except Refused as refused:
        response = route.refuse(request, refused)
        if refused.status != 405:
            return response
        allowed = ", ".join(sorted(route.endpoints)).encode()
        return response._replace(headers=[*response.headers, (b"allow", allowed)])


def refuse(route: Route, request: Request, status: int) -> Response:
    """For an entrance that sees a size before it has read the body (413), or has caught a bug (500)."""
    return route.refuse(request, Refused(status))
