import pytest

from users.services import limiter


@pytest.fixture(autouse=True)
def no_waiting_for_tries_under_way(monkeypatch):
    """One test at a time signs in here; project/tests/test_races.py is where tries overlap."""
    monkeypatch.setattr(limiter, "_FRESH", 0)
