"""Fixtures every room shares: a client that speaks the API, and ways to be somebody."""

import contextlib
import functools
import gc
import json
import re
from importlib import import_module

import pytest
from django.db import connection
from django.template import Template
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone
from psycopg import OperationalError

from lib.actors import Actor, RequestInfo
from project.tests import processes, restoring
from users.tests.factories import PASSWORD, UserFactory

gc.disable()


class ApiClient(Client):
    """Django's client with JSON bodies and, after `log_in` or `sign_in`, a bearer."""

    bearer = ""

    def call(self, method, path, body=None, *, bearer=None, **headers):
        token = self.bearer if bearer is None else bearer
        if token:
            headers["authorization"] = f"Bearer {token}"
        data = body if isinstance(body, (bytes, str)) else json.dumps(body) if body is not None else ""
        return self.generic(method, f"/api{path}", data, content_type="application/json", headers=headers)

    def login_form(self, email, password=PASSWORD, **headers):
        return self.post("/api/login", {"username": email, "password": password}, headers=headers)

    def log_in(self, user, password=PASSWORD):
        answer = self.login_form(user.email, password)
        assert answer.status_code == 200, answer.content
        self.bearer = answer.json()["access_token"]
        return answer.json()

    def sign_in(self, user):
        """What a right password leaves, without the request and the comparison: `log_in` where signing in is tested."""
        from users.services import sessions, tokens

        known = self.cookies["device"].value if "device" in self.cookies else ""
        actor = Actor("api", user, request=RequestInfo("127.0.0.1", device=known))
        _, made = sessions.opened(user, actor, timezone.now(), amr=("pwd",))
        self.cookies["device"] = tokens.device_cookie(user.email)
        self.bearer = made.access
        return {"access_token": made.access, "refresh_token": made.refresh}


def pytest_collection_finish():
    """What is imported and collected stays to the end: looking for garbage in it would be in vain.

    Tests look at endpoints and admin pages as a server has them that was asked for each once.
    """
    get_resolver().url_patterns  # noqa: B018
    import_module("project.staff_urls")
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what touches the database: the rest runs on one database only, see `make test`."""
    for item in items:
        if uses_test_database(item):
            item.add_marker("database")


def uses_test_database(item):
    return item.get_closest_marker("django_db") or {"db", "transactional_db"} & set(item.fixturenames)


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        with contextlib.suppress(OperationalError):  # no test needed a server
            processes.drop(processes.TEMPLATE)


@pytest.fixture(scope="session")
def django_db_setup(
    request, django_test_environment, django_db_modify_db_settings, django_db_blocker, tmp_path_factory
):
    """In place of pytest-django's, which would migrate a database for each worker: a copy of the one that all share,
    if one of the chosen tests uses it. What migrations brought comes back after each test."""
    root = tmp_path_factory.getbasetemp()
    processes.shared = root.parent if hasattr(request.config, "workerinput") else root
    processes.blocker = django_db_blocker
    if not any(map(uses_test_database, request.session.items)):
        yield
        return
    name = connection.settings_dict["TEST"].get("NAME") or processes.TEST_DATABASE
    processes.drop(name)
    processes.create(name, processes.template())
    before, connection.settings_dict["NAME"] = connection.settings_dict["NAME"], name
    with django_db_blocker.unblock():
        connection.close()
        restoring.keep()
    yield
    with django_db_blocker.unblock():
        connection.close()
    connection.settings_dict["NAME"] = before
    processes.drop(name)


@pytest.fixture(autouse=True)
def refusals_are_described(monkeypatch):
    """Whatever refusal a test is answered, the API's description names it at that operation."""
    from project import api, errors

    seen, answer = set(), errors.answer

    def noted(request, status, detail=None, code="", **extra):
        match = getattr(request, "resolver_match", None)
        if code and match:
            seen.add((re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", f"/{match.route}"), request.method.lower(), status, code))
        return answer(request, status, detail, code, **extra)

    monkeypatch.setattr(errors, "answer", noted)
    yield
    paths = api.api.get_openapi_schema()["paths"] if seen else {}
    for path, method, status, code in seen:
        media = paths[path][method]["responses"][status]["content"]["application/json"]
        assert code in media["examples"], (path, method, status, code)


@pytest.fixture(scope="session", autouse=True)
def close_lanes(django_db_setup):
    """Connections of other threads would keep PostgreSQL from dropping the test database."""
    yield
    from project.asgi import admin_lanes, api_lanes

    api_lanes.close()
    admin_lanes.close()


@pytest.fixture(scope="session", autouse=True)
def contexts_of_pages_alone(django_test_environment):
    """The test client copies the context of every template, also of each widget; tests look at those of pages."""
    instrumented = Template._render

    def render(template, context):
        is_page = context.template is template and not (template.name or "").startswith("django/forms/")
        return instrumented(template, context) if is_page else template.nodelist.render(context)

    Template._render = render
    yield
    Template._render = instrumented


@pytest.fixture(scope="session", autouse=True)
def forced_sign_ins_have_both_factors():
    """`force_login` stands for a whole sign-in, the second factor included, which staff need."""
    from users.middleware import SESSION_KEY
    from users.models import UserSession

    force_login = Client.force_login

    def with_both(client, user, backend=None):
        force_login(client, user, backend)
        UserSession.objects.filter(pk=client.session[SESSION_KEY]).update(amr=["pwd", "otp"])

    Client.force_login = with_both
    yield
    Client.force_login = force_login


@pytest.fixture(scope="session", autouse=True)
def certificates_read_once():
    """httpx reads all certificates anew for each of its clients, and no test speaks TLS."""
    from httpx._transports import default

    read = default.create_ssl_context
    default.create_ssl_context = functools.cache(read)
    yield
    default.create_ssl_context = read


@pytest.fixture(scope="session")
def first_flags(django_db_setup, django_db_blocker):
    """The flags as every test finds them: those that code declares."""
    from feature_flags.runtime import store

    with django_db_blocker.unblock():
        store.put(None)
        return store.current()


@pytest.fixture(autouse=True)
def fresh_flags(first_flags):
    from feature_flags.runtime import store, usage

    store.put(first_flags)
    usage.forget()
    yield
    store.put(first_flags)


@pytest.fixture
def override_flags():
    """`override_flags(FF_NEW=True)`: in place until the test ends."""
    from contextlib import ExitStack

    import feature_flags

    with ExitStack() as stack:
        yield lambda *answers, **named: stack.enter_context(feature_flags.override_flags(*answers, **named))


@pytest.fixture
def api():
    return ApiClient()


@pytest.fixture
def user(db):
    return UserFactory.create()


@pytest.fixture
def superuser(db):
    return UserFactory.create(superuser=True, email="root@example.org")


@pytest.fixture
def staff_client(superuser):
    client = Client()
    client.force_login(superuser)
    return client


@pytest.fixture
def outbox(mailoutbox, django_capture_on_commit_callbacks):
    """The mails that a `with outbox() as mails:` block has sent once its transaction is committed."""
    from contextlib import contextmanager

    @contextmanager
    def sent():
        before = len(mailoutbox)
        mails = []
        with django_capture_on_commit_callbacks(execute=True):
            yield mails
        mails.extend(mailoutbox[before:])

    return sent


@pytest.fixture
def queries(db):
    """`with queries() as made:`; afterwards `made()` is the number of statements, BEGIN and SAVEPOINT aside."""
    from contextlib import contextmanager

    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    @contextmanager
    def counting():
        with CaptureQueriesContext(connection) as captured:
            yield lambda: len(
                [q for q in captured.captured_queries if "SAVEPOINT" not in q["sql"] and q["sql"] != "BEGIN"]
            )

    return counting
