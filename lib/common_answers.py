"""Answers that are the same for all who ask: made once by Django, then given again without its request and response.

Who makes such an answer marks it (`PlainResponse.is_common`); what it hangs on besides is the key: method, path, Host,
Origin and scheme. A request that brings more than that (credentials, a body, a condition, a header not listed here) is
answered anew. The hooks of API_MIDDLEWARE do not see an answer that is given again; its id and its line in the log are
its own.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from django.core.handlers.asgi import ASGIRequest
from django.core.signals import setting_changed

from lib.logs import request_id
from lib.middleware import leave_traces, normal_request_id
from lib.private import PlainResponse, encoded_headers, has_cookies

Scope = Mapping[str, Any]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Key = tuple[str, str, bytes, bytes, str]

#: Headers that no common answer hangs on. Who is trusted to forward has been heard before (project/asgi.py).
IGNORED = frozenset(
    b"accept accept-encoding accept-language cache-control connection dnt pragma priority referer sec-ch-ua "
    b"sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user sec-gpc te "
    b"traceparent tracestate upgrade-insecure-requests user-agent via x-forwarded-for x-forwarded-host "
    b"x-forwarded-port x-forwarded-proto x-real-ip".split()
)
#: Strangers choose keys.
_LONGEST, _MOST = 256, 1024


class _Answer(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]  #: But its length and its id.
    body: list[bytes]  #: What stands around its id.
    route: str


class CommonAnswers:
    """Those of one entrance."""

    def __init__(self) -> None:
        self._answers: dict[Key, _Answer] = {}
        setting_changed.connect(self._forget)

    def __len__(self) -> int:
        return len(self._answers)

    def _forget(self, **kwargs: Any) -> None:
        self._answers.clear()

    async def give(self, scope: Scope, send: Send) -> bool:
        """Whether the request has been answered here."""
        started = time.perf_counter()
        key, offered = _read(scope)
        answer = self._answers.get(key) if key else None
        if answer is None:
            return False
        identity = normal_request_id(offered)
        request_id.set(identity)
        leave_traces(scope["method"], scope["path"], answer.route, answer.status, started)
        token = identity.encode()
        body = token.join(answer.body)
        own = (b"X-Request-ID", token), (b"Content-Length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, *own]})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        return True

    def keep(self, request: ASGIRequest, response: PlainResponse) -> None:
        """Keep an answer as it leaves, where all that it hangs on is known."""
        key, offered = _read(request.scope)
        match = request.resolver_match
        if key is None or offered or has_cookies(response) or (match and "token" in match.kwargs):
            return
        if len(self._answers) >= _MOST:
            self._answers.clear()
        identity: bytes = request.id.encode()  # type: ignore[attr-defined]
        headers = [field for field in encoded_headers(response) if field[0] not in {b"X-Request-ID", b"Content-Length"}]
        body = response.content.split(identity)
        self._answers[key] = _Answer(response.status_code, headers, body, match.route if match else "")


def _read(scope: Scope) -> tuple[Key | None, str]:
    """What the answer hangs on, None where there is more than a key has; and the id that the caller offers."""
    host, origin, offered = b"", b"", ""
    for name, value in scope["headers"]:
        if name in IGNORED:
            continue
        if name == b"host" and not host:
            host = value
        elif name == b"origin" and not origin:
            origin = value
        elif name == b"x-request-id" and not offered:
            offered = value.decode("latin-1")
        else:
            return None, ""
    path = scope["path"]
    if len(path) + len(host) + len(origin) > _LONGEST or scope.get("http_version") != "1.1" or scope.get("root_path"):
        return None, ""
    return (scope["method"], path, host, origin, scope.get("scheme", "http")), offered
