import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from lib import email_url
from notifications import engine
from notifications.tests import kinds
from notifications.tests.receiver import Receiver
from notifications.tests.sink import Sink, StrictController


@pytest.fixture(scope="package", autouse=True)
def _template_directory():
    """Set once: each change of TEMPLATES makes Django compile every template anew."""
    first = django_settings.TEMPLATES[0]
    with override_settings(TEMPLATES=[{**first, "DIRS": [*first["DIRS"], kinds.TEMPLATES]}]):
        yield


@pytest.fixture(autouse=True)
def _types():
    kinds.declare()
    yield
    engine.stop(timeout=5.0)
    engine._engine.forget()
    kinds.forget()


def _mail_to(port):
    return email_url.parse(f"smtp://127.0.0.1:{port}", timeout=2)["MAILERS"]


@pytest.fixture
def mail_server(settings):
    """Where mail goes in this test; nothing listens there until `start()`."""
    server = Sink()
    settings.MAILERS = _mail_to(server.port)
    yield server
    server.is_holding = False
    server.stop()


@pytest.fixture(scope="session")
def _listener():
    first = Sink()
    controller = StrictController(first, hostname="127.0.0.1", port=first.port, server_hostname="localhost")
    controller.start()
    yield controller
    controller.stop()


@pytest.fixture
def sink(settings, mail_server, _listener):
    """A mail server that runs already: one listener for all tests, with a handler of each test's own."""
    _listener.handler = mail_server
    mail_server.port = _listener.port
    settings.MAILERS = _mail_to(mail_server.port)
    return mail_server


@pytest.fixture
def receiver(settings):
    """Where webhooks go in this test."""
    settings.WEBHOOKS_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    server = Receiver()
    yield server
    server.stop()
