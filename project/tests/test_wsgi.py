"""The same product behind a WSGI server."""

import io
import json

import pytest

from project.wsgi import application

pytestmark = pytest.mark.django_db(transaction=True)


def ask(method, path, body=b"", content_type="application/json"):
    answered = {}
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": content_type,
    }
    parts = application(environ, lambda status, headers: answered.update(status=int(status[:3]), headers=dict(headers)))
    return answered["status"], answered["headers"], json.loads(b"".join(parts))


def test_the_api_answers_the_same():
    assert ask("GET", "/api/_status")[0::2] == (200, {"status": "running"})
    assert ask("GET", "/api/users/user")[0] == 401
    assert ask("GET", "/api/login")[2]["detail"] == "Method Not Allowed"
    assert ask("POST", "/api/auth/verify", b"{")[0] == 422
    assert ask("POST", "/api/auth/verify", b"x" * 1_100_000)[0] == 413
    assert ask("GET", "/readyz")[2]["status"] == "ok"


def test_every_answer_carries_an_id_and_the_security_headers():
    _, headers, _ = ask("GET", "/api/_status")

    assert headers["X-Request-ID"]
    assert headers["X-Content-Type-Options"] == "nosniff"
