"""The ceiling: an ASGI function that has every answer ready, with no framework and no database."""

import json

from benchmarks import seed

_HEADERS = [(b"content-type", b"application/json")]
_ANSWERS = {
    "/api/_status": json.dumps({"status": "running"}).encode(),
    "/api/feature-flags/feature-flags": json.dumps([seed.flag(number) for number in range(seed.FLAGS)]).encode(),
    "/api/users/user": json.dumps(
        {"id": "0" * 32, "email": seed.email(0), "first_name": seed.FIRST_NAME, "last_name": seed.LAST_NAME}
    ).encode(),
}


async def application(scope, receive, send):
    body = _ANSWERS[scope["path"]]
    headers = [*_HEADERS, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
