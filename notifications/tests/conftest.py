import pytest

from lib import email_url
from notifications import engine
from notifications.tests import kinds
from notifications.tests.sink import Sink, free_port


@pytest.fixture(autouse=True)
def _types(settings):
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [*settings.TEMPLATES[0]["DIRS"], kinds.TEMPLATES]}]
    kinds.declare()
    yield
    engine.stop(timeout=5.0)
    engine._engine.forget()
    kinds.forget()


@pytest.fixture
def mail_server(settings):
    """Where mail goes in this test; nobody listens there until `start()`."""
    port = free_port()
    settings.MAILERS = email_url.parse(f"smtp://127.0.0.1:{port}", timeout=2)["MAILERS"]
    server = Sink(port)
    yield server
    server.is_holding = False
    server.stop()


@pytest.fixture
def sink(mail_server):
    return mail_server.start()
