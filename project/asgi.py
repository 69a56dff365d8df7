"""Three doors in front of the same functions: flag answers from memory, lanes for the API, Django
with its full middleware for everything else. TRUSTED_PROXIES is applied once, in front of all of them."""

import os
import sys
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from django.core.asgi import get_asgi_application

from lib.private import load_jwt, load_ninja

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
load_ninja()
load_jwt()
django_app = get_asgi_application()

from django.conf import settings  # noqa: E402
from django.urls import get_resolver  # noqa: E402

from feature_flags.http.asgi import edge  # noqa: E402
from feature_flags.runtime import store  # noqa: E402
from lib import async_db, metrics, tracing  # noqa: E402
from lib.asgi import LaneHandler, Lanes, bounded, by_path, loading, with_lifespan  # noqa: E402
from lib.proxies import TrustedProxies  # noqa: E402
from notifications import engine  # noqa: E402

# The event loop waits that long for a lane that computes; at Python's 5 ms a few of them would hold up every answer.
sys.setswitchinterval(0.0005)

# Two sets, so that no slow page of the admin stands in the API's way. Django's own handler would take a new thread,
# and leave a new database connection behind, for every request.
LANES = ("/api", "/ofrep", "//ofrep", "/healthz", "/readyz", "/metrics", "/mcp")
api_lanes, admin_lanes = Lanes(settings.API_LANES, "api"), Lanes(2, "pages")
api = LaneHandler(lanes=api_lanes, middleware=settings.API_MIDDLEWARE, limit=settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


def start() -> None:
    # Loaded now: the first request would hold up all others while they load.
    _ = get_resolver().url_patterns
    # The flags, too, so that a database lost before the first request finds them in memory.
    store.current()
    # They wait for the disk at each commit, and the more wait, the more one turn of the disk ends.
    async_db.open_pool(2 * settings.API_LANES)
    engine.start()
    metrics.start()


def stop() -> None:
    engine.stop()
    metrics.stop()
    store.stop()
    async_db.close_pool()
    api_lanes.close()
    admin_lanes.close()
    tracing.stop()


# Django's own handler would keep what it is sent in a file, whatever the size and the path.
pages = bounded(admin_lanes.carry(django_app), settings.DATA_UPLOAD_MAX_MEMORY_SIZE)  # type: ignore[arg-type]
api_doors = by_path(["/api/staff", "/mcp"], loading("project.staff_urls", api), api)
doors: Any = edge(by_path(LANES, api_doors, loading("project.admin_urls", pages)))


def _during() -> AbstractAsyncContextManager[None]:
    if not settings.MCP:
        return nullcontext()
    from project.agents import http

    return http.running(doors)


outer = tracing.traced(TrustedProxies(doors, settings.TRUSTED_PROXIES))
application = with_lifespan(outer, start=start, stop=stop, during=_during)
