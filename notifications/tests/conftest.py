import pytest

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
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", free_port(), 2
    server = Sink(settings.EMAIL_PORT)
    yield server
    server.is_holding = False
    server.stop()


@pytest.fixture
def sink(mail_server):
    return mail_server.start()
