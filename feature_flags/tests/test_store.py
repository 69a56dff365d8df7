import logging
from threading import Thread

import pytest
from django.db import OperationalError, connection, transaction

import feature_flags
from feature_flags import services, store
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory
from lib.errors import ProductError


@pytest.fixture
def unreachable(monkeypatch):
    """A switch that cuts the database off, as a lost connection does."""

    def refuse():
        raise OperationalError("server closed the connection")

    return lambda: monkeypatch.setattr(store, "_read_revision", refuse)


def in_thread(call):
    results = []

    def run():
        try:
            results.append(call())
        finally:
            connection.close()

    thread = Thread(target=run)
    thread.start()
    thread.join()
    return results[0]


@pytest.mark.django_db(transaction=True)
def test_a_warm_read_costs_one_query(django_assert_num_queries):
    flag = FeatureFlagFactory.create(on=True)

    with django_assert_num_queries(2):
        assert feature_flags.is_enabled(flag)
    with django_assert_num_queries(1):
        assert feature_flags.is_enabled(flag)
    with django_assert_num_queries(1):
        store.seed_list()


@pytest.mark.django_db(transaction=True)
def test_a_switch_is_seen_at_the_next_read_by_another_connection():
    flag = FeatureFlagFactory.create()
    assert not feature_flags.is_enabled(flag)

    in_thread(lambda: services.switch(flag, on=True, **COMMAND))

    assert feature_flags.is_enabled(flag)


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_was_never_remembered():
    flag, other = FeatureFlagFactory.create(), FeatureFlagFactory.create()
    assert not feature_flags.is_enabled(flag)

    with transaction.atomic():
        services.switch(flag, on=True, **COMMAND)
        assert feature_flags.is_enabled(flag)
        transaction.set_rollback(True)
    # The same revision number now belongs to another change.
    services.switch(other, on=True, **COMMAND)

    assert not feature_flags.is_enabled(flag)
    assert feature_flags.is_enabled(other)


@pytest.mark.django_db(transaction=True)
def test_others_do_not_see_an_open_transaction():
    flag = FeatureFlagFactory.create()

    with transaction.atomic():
        if connection.vendor == "postgresql":
            services.switch(flag, on=True, **COMMAND)
            assert feature_flags.is_enabled(flag)
        assert not in_thread(lambda: feature_flags.is_enabled(flag))


@pytest.mark.django_db(transaction=True)
def test_reads_go_on_from_memory_without_a_database(unreachable, caplog):
    flag = FeatureFlagFactory.create(on=True)
    before = store.seed_list()
    caplog.set_level(logging.ERROR, "switchboard.flags")

    unreachable()

    assert feature_flags.is_enabled(flag)
    assert store.seed_list() == before
    assert store.ready()
    assert len(caplog.records) == 1


@pytest.mark.django_db
def test_a_cold_start_without_database_answers_declared_defaults(unreachable):
    unreachable()

    assert feature_flags.is_enabled("FF_ENABLE_REGISTRATION")
    assert not feature_flags.is_enabled("FF_NOBODY_KNOWS")
    assert not store.ready()
    with pytest.raises(ProductError) as caught:
        store.seed_list()
    assert caught.value.status == 503


@pytest.mark.django_db(transaction=True)
def test_the_database_is_asked_again_after_a_moment(unreachable, monkeypatch):
    flag = FeatureFlagFactory.create()
    assert not feature_flags.is_enabled(flag)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_read_revision", lambda: (_ for _ in ()).throw(OperationalError("gone")))
        assert not feature_flags.is_enabled(flag)
    services.switch(flag, on=True, **COMMAND)

    assert not feature_flags.is_enabled(flag)
    monkeypatch.setattr(store, "_retry_at", 0.0)
    assert feature_flags.is_enabled(flag)
