from datetime import timedelta

import pytest
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from lib.actors import Actor
from users.models import AuditEvent
from users.services import audit, deletion


def events(**where):
    return list(AuditEvent.objects.filter(**where).order_by("id").values_list("event", "outcome", "door"))


def test_a_sign_in_is_on_record_with_who_when_from_where_and_by_which_door(api, user):
    api.log_in(user)

    row = AuditEvent.objects.get(event="login.ok")
    assert (row.user_id, row.actor, row.door, row.outcome) == (user.pk, user.pk.hex, "api", "ok")
    assert (row.ip, row.session_id) == ("127.0.0.1", user.sessions.get().pk)
    assert row.request_id
    assert row.data == {"amr": ["pwd"], "kind": "api"}


def test_a_failed_sign_in_names_an_unknown_address_only_by_its_mac(api, db):
    api.login_form("nobody@example.org", "Wrong-Horse-7")

    row = AuditEvent.objects.get()
    assert (row.event, row.outcome, row.user_id) == ("login.failed", "failed", None)
    assert bytes(row.subject_mac) == audit.subject("nobody@example.org")
    assert "nobody" not in str(AuditEvent.objects.values().get())


def test_the_try_that_begins_a_pause_puts_it_on_record(api, user):
    for _ in range(7):
        api.login_form(user.email, "Wrong-Horse-7")

    assert AuditEvent.objects.filter(event="login.failed").count() == 5
    assert AuditEvent.objects.get(event="login.paused").data == {"pause_seconds": 60}


@pytest.mark.parametrize("change", ["UPDATE users_auditevent SET actor = 'me'", "DELETE FROM users_auditevent"])
def test_events_can_neither_be_changed_nor_deleted(api, user, change):
    api.log_in(user)

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)

    assert events() == [("login.ok", "ok", "api")]


def test_only_the_purge_takes_events_away_and_only_old_ones(api, user):
    api.log_in(user)
    before = timezone.now()
    api.log_in(user)

    later = before + timedelta(days=settings.USERS_AUDIT_RETENTION_DAYS)
    assert deletion.purge(later)["audit events"] == 1
    assert events() == [("login.ok", "ok", "api")]
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        AuditEvent.objects.all().delete()


def test_what_is_not_listed_cannot_be_written(user):

    with pytest.raises(ValueError, match="not to be audited"):
        audit.record("login.ok", actor=Actor("api"), user=user, password="Correct-Horse-7")


def test_rotated_keys_find_what_was_written_before(api, settings, user, outbox):
    api.login_form(user.email)
    api.login_form("nobody@example.org", "Wrong-Horse-7")
    settings.USERS_TOKEN_SECRET_FALLBACKS = [settings.USERS_TOKEN_SECRET]
    settings.USERS_TOKEN_SECRET = "another-token-secret-0123456789-abcdefghij"

    with outbox() as mails:
        api.login_form(user.email)

    assert mails == []
    assert [row.event for row in audit.about("nobody@example.org")] == ["login.failed"]
