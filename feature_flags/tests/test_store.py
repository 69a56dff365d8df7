import logging
from threading import Thread

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import JSONField, Value

import feature_flags
from feature_flags.runtime import snapshot, store
from feature_flags.services import editing, segments, tokens
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, rewrite_rules


@pytest.fixture
def committed(settings):
    """The store as in production: read at commits, in this thread."""
    settings.FLAGS_REBUILD = "commit"


@pytest.fixture
def unreachable(monkeypatch):
    """A switch that cuts the database off, as a lost connection does."""

    def refuse():
        raise OperationalError("server closed the connection")

    return lambda: monkeypatch.setattr(snapshot, "read_revision", refuse)


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


def states():
    return {name: flag.constant.enabled for name, flag in store.snapshot.flags.items()}


@pytest.mark.django_db
def test_asking_costs_no_query(django_assert_num_queries):
    flag = FeatureFlagFactory.create(on=True)
    rule = {"constraints": [{"field": "country", "operator": "IN", "values": ["IT"]}]}
    ruled = FeatureFlagFactory.create(on=True, rules=[rule])

    with django_assert_num_queries(0):
        assert feature_flags.is_enabled(flag.codename)
        assert feature_flags.is_enabled(ruled.codename, {"country": "IT"})
        assert not feature_flags.is_enabled(ruled.codename, {"country": "FR"})
        assert store.snapshot.seed_list


@pytest.mark.django_db(transaction=True)
def test_a_switch_is_seen_by_this_process_at_its_commit(committed):
    flag = FeatureFlagFactory.create()

    with transaction.atomic():
        editing.switch(flag, on=True, **COMMAND)
        assert not feature_flags.is_enabled(flag.codename)

    assert feature_flags.is_enabled(flag.codename)


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_was_never_seen(committed):
    flag, other = FeatureFlagFactory.create(), FeatureFlagFactory.create()

    with transaction.atomic():
        editing.switch(flag, on=True, **COMMAND)
        transaction.set_rollback(True)
    # The same revision number now belongs to another change.
    editing.switch(other, on=True, **COMMAND)

    assert not feature_flags.is_enabled(flag.codename)
    assert feature_flags.is_enabled(other.codename)


@pytest.mark.django_db(transaction=True)
def test_only_what_changed_is_compiled_again(committed):
    flag, other = FeatureFlagFactory.create(), FeatureFlagFactory.create()
    before = store.snapshot

    editing.switch(flag, on=True, **COMMAND)

    after = store.snapshot
    assert after is not before
    assert after.flags[other.codename] is before.flags[other.codename]
    assert after.flags[flag.codename] is not before.flags[flag.codename]
    assert not before.flags[flag.codename].constant.enabled


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("change", ["rename", "archive", "delete", "segment"])
def test_step_by_step_leads_to_the_same_as_starting_anew(committed, change):
    segment = segments.create_segment("Invited", constraints=[constraint("a@example.org")], **COMMAND)
    flag = FeatureFlagFactory.create(on=True, rules=[{"segments": ["Invited"]}])
    FeatureFlagFactory.create(prerequisites=[{"parent": flag.codename}]) if change in {"rename", "segment"} else None

    if change == "rename":
        editing.rename(flag, "FF_RENAMED", **COMMAND)
    elif change == "archive":
        editing.archive(flag, **COMMAND)
    elif change == "delete":
        editing.delete(flag, **COMMAND)
    else:
        segments.edit_segment(segment, {"constraints": [constraint("b@example.org")]}, **COMMAND)
        assert feature_flags.is_enabled(flag.codename, {"email": "b@example.org"})

    stepwise = store.snapshot
    store.put(None)
    store.refresh()
    assert stepwise.features.body == store.snapshot.features.body
    assert stepwise.features_inlined.body == store.snapshot.features_inlined.body
    assert stepwise.seed_list == store.snapshot.seed_list
    assert list(stepwise.flags) == list(store.snapshot.flags)


def constraint(email):
    return {"field": "email", "operator": "IN", "values": [email]}


@pytest.mark.django_db(transaction=True)
def test_reads_go_on_from_memory_without_a_database(committed, unreachable, caplog):
    flag = FeatureFlagFactory.create(on=True)
    before = store.snapshot
    caplog.set_level(logging.ERROR, "switchboard.flags")

    unreachable()

    assert store.refresh() is before
    assert store.refresh() is before
    assert feature_flags.is_enabled(flag.codename)
    assert len(caplog.records) == 1


@pytest.mark.django_db
def test_a_cold_start_without_database_answers_declared_defaults(unreachable):
    store.put(None)
    unreachable()

    assert feature_flags.is_enabled("FF_ENABLE_REGISTRATION")
    assert not feature_flags.is_enabled("FF_NOBODY_KNOWS")
    assert feature_flags.is_enabled("FF_NOBODY_KNOWS", default=True)
    assert store.snapshot is None


@pytest.mark.django_db(transaction=True)
def test_a_rebuild_that_fails_keeps_the_snapshot_and_is_tried_again(committed, monkeypatch, caplog):
    flag = FeatureFlagFactory.create()
    before = store.snapshot
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "_build", lambda *args: 1 / 0)
        editing.switch(flag, on=True, **COMMAND)
    assert store.snapshot is before
    assert "flags cannot be rebuilt" in caplog.text

    store.refresh()

    assert states()[flag.codename]


@pytest.mark.django_db(transaction=True)
def test_listeners_hear_every_swap(committed):
    heard = []
    store.listen(heard.append)
    flag = FeatureFlagFactory.create()

    editing.switch(flag, on=True, **COMMAND)
    editing.switch(flag, on=True, **COMMAND)

    store._listeners.discard(heard.append)
    assert heard[-1] is store.snapshot
    assert [known.revision for known in heard] == sorted({known.revision for known in heard})


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "written",
    [[{"field": "email", "operator": "NUM_GT", "value": "many"}], 7, [{"a": 1}], ["x"], {"a": 1}, None],
    ids=str,
)
def test_a_row_written_behind_the_verbs_breaks_its_own_flag_alone(committed, caplog, written):
    broken = FeatureFlagFactory.create(on=True, rules=[{"constraints": [constraint("a@example.org")]}])
    fine = FeatureFlagFactory.create()
    with transaction.atomic():
        rewrite_rules(broken, constraints=written)

    editing.switch(fine, on=True, **COMMAND)
    store.put(None)
    store.refresh()

    assert not feature_flags.is_enabled(broken.codename, {"email": "a@example.org"})
    assert feature_flags.is_enabled(fine.codename)
    assert store.snapshot.flags[broken.codename].error
    assert "flag cannot be compiled" in caplog.text
    # And it can still be switched off.
    assert editing.switch(broken, on=False, **COMMAND)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("origins", [5, None, {"a": 1}, [1]], ids=str)
def test_a_token_written_behind_the_verbs_stops_no_flag(committed, origins):
    from feature_flags.models import FlagToken

    token, _ = tokens.create_token("T", kind="frontend", **COMMAND)
    flag = FeatureFlagFactory.create()
    FlagToken.objects.filter(pk=token.pk).update(allowed_origins=Value(origins, JSONField()))

    editing.switch(flag, on=True, **COMMAND)

    assert feature_flags.is_enabled(flag.codename)
    (known,) = store.snapshot.tokens.values()
    assert known.origins == {"unreadable"}
