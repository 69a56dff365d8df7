"""Which database lists are read from. A real replica is tried by hand (docs/deploying.md)."""

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connections
from django.http import HttpResponse
from django.test import RequestFactory

from lib import replica


class Away:
    """A connection to a server that does not answer."""

    def cursor(self):
        raise OperationalError("connection refused")

    def close(self):
        pass


@pytest.fixture
def copy(monkeypatch):
    """The test's own connection under the alias of a replica, said to follow."""
    monkeypatch.setitem(connections.settings, replica.ALIAS, connections.settings["default"])
    monkeypatch.setattr(replica, "FOLLOWS", "SELECT 1")
    monkeypatch.setattr(replica, "_paused_until", 0.0)
    # The rollback of the test is no transaction of a request.
    monkeypatch.setattr(connections["default"], "in_atomic_block", False)
    connections[replica.ALIAS] = connections["default"]
    token = replica._has_written.set(False)
    yield monkeypatch
    replica._has_written.reset(token)
    del connections[replica.ALIAS]


def source():
    return replica.read(Group.objects.all(), RequestFactory().get("/")).db


@pytest.mark.django_db
def test_lists_are_read_from_a_copy_that_follows(copy):
    assert source() == "replica"


@pytest.mark.django_db
@pytest.mark.parametrize("is_away", [True, False])
def test_a_copy_that_is_away_or_behind_is_left_alone_with_one_line(copy, caplog, is_away):
    copy.setattr(replica, "FOLLOWS", "SELECT 0")
    if is_away:
        connections[replica.ALIAS] = Away()

    assert [source() for _ in range(3)] == ["default"] * 3
    assert [found.why for found in caplog.records] == ["OperationalError" if is_away else "behind"]


@pytest.mark.django_db
def test_after_a_write_and_in_a_transaction_the_database_itself_is_read(copy):
    copy.setattr(connections["default"], "in_atomic_block", True)
    assert source() == "default"
    copy.setattr(connections["default"], "in_atomic_block", False)

    Group.objects.filter(name="nobody").update(name="somebody")

    assert source() == "default"


@pytest.mark.django_db
def test_who_has_just_changed_something_reads_the_database_itself(copy):
    answered = replica.OwnChangesMiddleware(lambda request: HttpResponse())
    asking, changing = RequestFactory().get("/"), RequestFactory().post("/")

    assert (answered(asking).cookies, source()) == ({}, "replica")
    mark = answered(changing).cookies[replica.COOKIE]
    asking.COOKIES[replica.COOKIE] = mark.value

    assert mark["max-age"] == replica.OWN_SECONDS
    assert replica.read(Group.objects.all(), asking).db == "default"


def test_without_a_copy_nothing_is_asked():
    assert source() == "default"


def test_only_the_database_itself_is_migrated():
    assert [replica.Router().allow_migrate(alias, "users") for alias in ("default", "replica", "listen")] == [
        *(True, False, False)
    ]
