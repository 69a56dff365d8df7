"""Flags, tokens and an ASGI caller for the tests of the public answers."""

import asyncio
import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from unittest import mock
from urllib.parse import unquote

from asgiref.sync import async_to_sync

from feature_flags.runtime import store
from feature_flags.services import importing, tokens
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory

BULK = "/ofrep/v1/evaluate/flags"
APP = "https://app.example.org"


@dataclass
class Reply:
    status: int
    headers: dict
    body: bytes
    parts: list = field(default_factory=list)

    def json(self):
        return json.loads(self.body)


def scope_of(method, target, headers=None, *, scheme="http", client=("192.0.2.7", 1)):
    path, _, query = target.partition("?")
    given = {"host": "testserver", **(headers or {})}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items() if value is not None],
        "client": client,
        "server": ("testserver", 80),
    }


def ask(app, method, target, headers=None, body=b"", **options):
    """One request; `chunks` sends the body in pieces, `leaves` goes away before its end."""
    chunks = options.pop("chunks", None) or [body]
    leaves = options.pop("leaves", False)
    if isinstance(body, (dict, list)):
        chunks = [json.dumps(body).encode()]
    if not leaves and "chunked" not in options:
        headers = {"content-length": str(sum(map(len, chunks))), **(headers or {})}
    options.pop("chunked", None)
    messages = [
        {"type": "http.request", "body": chunk, "more_body": leaves or number < len(chunks)}
        for number, chunk in enumerate(chunks, start=1)
    ]
    sent = []

    @async_to_sync
    async def run():
        async def receive():
            if messages:
                return messages.pop(0)
            if not leaves:
                await asyncio.sleep(3600)
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await app(scope_of(method, target, headers, **options), receive, send)

    run()
    if not sent:
        return None
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    assert len(headers) == len(sent[0]["headers"]), "a header was sent twice"
    return Reply(sent[0]["status"], headers, b"".join(part.get("body", b"") for part in sent[1:]))


def make_flag(codename, **fields):
    return FeatureFlagFactory.create(codename=codename, is_active=fields.pop("on", True), **fields)


def make_token(kind, **fields):
    return tokens.create_token(fields.pop("name", kind), kind=kind, **fields, **COMMAND)


def make_scene():
    """One flag of each kind, and a token of each kind."""
    five = [{"name": "five", "payload": 5}]
    colours = [{"name": "red", "payload": "#f00"}, {"name": "blue", "payload": "#00f"}]
    flags = {
        "FF_ON": {"label": "On"},
        "FF_OFF": {"is_active": False},
        "FF_HIDDEN": {"exposed": False},
        "FF_RULE": {"rules": [{"segments": ["italy"]}]},
        "FF_COLOUR": {"value_type": "string", "off_value": "#000", "variants": colours, "impression_data": True},
        "FF_COUNT": {"value_type": "integer", "off_value": 0, "variants": five},
        "FF_RATIO": {"value_type": "float", "off_value": 1.0, "variants": five},
        "FF_SHAPE": {"value_type": "object", "variants": [{"name": "box", "payload": {"a": [1, "é"]}}]},
        "FF_UNSET": {"is_active": False, "value_type": "object", "variants": [{"name": "box", "payload": {}}]},
    }
    # One import and one snapshot in the end, instead of one for each of them.
    with mock.patch.object(store, "changed"):
        importing.import_flags(
            [{"codename": codename, "is_active": True, **members} for codename, members in flags.items()],
            [{"name": "italy", "constraints": [constraint("country", "IN", "IT")]}],
            **COMMAND,
        )
        (server, server_secret), (_, frontend_secret) = make_token("server"), make_token("frontend")
    store.refresh()
    return SimpleNamespace(server=server_secret, frontend=frontend_secret, server_token=server)


def constraint(field, operator, *values):
    return {"field": field, "operator": operator, "values": list(values)}


def places(answer):
    """Where the problems of a refused body are."""
    assert answer.status_code == 422, answer.content
    return [problem["loc"] for problem in answer.json()["detail"]]
