import pytest

from feature_flags import flags, store
from feature_flags.tests.factories import make_staff


@pytest.fixture(autouse=True)
def _fresh_store():
    store.forget()
    yield
    store.forget()


@pytest.fixture
def declarations(monkeypatch):
    """The registry of declared flags, put back afterwards."""
    monkeypatch.setattr(flags, "_declared", dict(flags._declared))
    monkeypatch.setattr(flags, "_conflicts", set(flags._conflicts))
    return flags


@pytest.fixture
def staff(db):
    return make_staff(
        "staff@example.org", "view_featureflag", "add_featureflag", "change_featureflag", "switch_featureflag"
    )


@pytest.fixture
def staff_client(client, staff):
    client.force_login(staff)
    return client
