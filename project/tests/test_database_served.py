"""Statements on the event loop of a running server: which answers make them, and how they get over a lost database."""

import contextlib
import os
import socket
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from django.utils import timezone

from lib.actors import Actor
from project.tests.processes import serving, until
from users.services import sessions
from users.tests.factories import UserFactory

pytestmark = [
    pytest.mark.database,
    pytest.mark.skipif(not os.environ.get("TEST_DATABASE_URL"), reason="SQLite stays on the lanes"),
]

#: What only those statements have: Django's own connections send values in their place.
NUMBERED = "datname = %s AND query LIKE '%%$1%%'"


def signed_in(server):
    """The tokens of a new person's session."""
    with server.connected():
        _, made = sessions.opened(UserFactory.create(), Actor("command", label="test"), timezone.now(), amr=("pwd",))
    return made


def ask(server, method, path, made, **given):
    headers = {"Authorization": f"Bearer {made.access}"}
    return httpx.request(method, f"{server.url}/api{path}", headers=headers, timeout=30, **given)


@contextlib.contextmanager
def asking(server):
    """Ask PostgreSQL about the server's connections: `seen("SELECT … WHERE " + NUMBERED)`."""
    base, _, name = server.database_url.rpartition("/")
    with psycopg.connect(f"{base}/postgres", autocommit=True) as admin:
        yield lambda sql: admin.execute(sql, [name]).fetchall()


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("GET", "/users/user", None, "JOIN users_user u"),
        ("PATCH", "/users/user", {"first_name": "Grace"}, "UPDATE users_user"),
        ("POST", "/auth/refresh-tokens", {}, "WITH token AS"),
        ("GET", "/users/sessions", None, "FROM users_usersession"),
        ("GET", "/notifications", None, "notifications_inappnotification"),
        ("GET", "/notifications/unread-count", None, "notifications_inappnotification"),
    ],
)
def test_hot_answers_make_their_statements_on_the_loop(server, method, path, body, words):
    made = signed_in(server)
    given = {} if body is None else {"json": body or {"token": made.refresh}}

    response = ask(server, method, path, made, **given)

    assert response.status_code == 200, response.text
    with asking(server) as seen:
        newest = seen(f"SELECT query FROM pg_stat_activity WHERE {NUMBERED} ORDER BY query_start DESC LIMIT 1")
    assert words in newest[0][0]


def test_ended_connections_are_replaced_and_no_answer_is_a_bug(tmp_path):
    with serving(tmp_path) as server, asking(server) as seen:
        made = signed_in(server)
        assert ask(server, "GET", "/users/user", made).status_code == 200
        seen("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s")

        statuses = []
        until(lambda: statuses.append(ask(server, "GET", "/users/user", made).status_code) or statuses[-1] == 200)

    assert set(statuses) <= {200, 503}


def test_requests_that_leave_keep_no_connection(tmp_path):
    with serving(tmp_path, API_LANES="2") as server, asking(server) as seen:
        made = signed_in(server)
        address = urlsplit(server.url)
        head = f"GET /api/users/user HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {made.access}\r\n\r\n"
        waiting = f"SELECT pid FROM pg_stat_activity WHERE {NUMBERED} AND wait_event_type = 'Lock'"
        with psycopg.connect(server.database_url) as locking:
            locking.execute("LOCK TABLE users_usersession IN ACCESS EXCLUSIVE MODE")
            with contextlib.ExitStack() as stack:
                for _ in range(8):
                    client = stack.enter_context(socket.create_connection((address.hostname, address.port)))
                    client.sendall(head.encode())
                until(lambda: len(seen(waiting)) == 4)
            assert len(seen(waiting)) == 4

        answers = [ask(server, "GET", "/users/user", made).status_code for _ in range(4)]

        assert answers == [200] * 4
        assert len(seen(f"SELECT pid FROM pg_stat_activity WHERE {NUMBERED}")) <= 4
