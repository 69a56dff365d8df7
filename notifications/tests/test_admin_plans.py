"""Each page of the list of messages is answered by an index, on both databases."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from notifications.models import Announcement, Message
from notifications.tests.factories import MessageFactory
from notifications.tests.staff import MESSAGES, rows

pytestmark = pytest.mark.django_db
TABLE = "notifications_message"
RARE = {"state": "failed", "due_at": None, "type": "tests.once", "to_address": "rare@example.org"}


@pytest.fixture
def many(monkeypatch):
    """A table as it looks when it is large: most is sent, and a window is a small part of it."""
    monkeypatch.setattr("lib.admin.lists.WINDOW", 100)
    monkeypatch.setattr("notifications.admin.messages.WINDOW", 100)
    now = timezone.now()
    built = MessageFactory.build(state="sent", due_at=None)
    fields = [field.attname for field in Message._meta.concrete_fields if field.name not in {"id", "uid"}]
    values = {name: getattr(built, name) for name in fields}
    Message.objects.bulk_create(
        Message(
            **values
            | {
                "to_address": f"many{seconds}@example.org",
                "message_id": f"<many{seconds}.example.org@example.org>",
                "finished_at": now - timedelta(seconds=seconds),
            }
        )
        for seconds in range(4000, 0, -1)
    )
    message = MessageFactory.create(finished_at=now, **RARE)
    MessageFactory.create_batch(3)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return message


def plans(client, address, query):
    """How the database answers each statement of this page about messages."""
    client.get(address, query)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address, query).status_code == 200
    asked = [q["sql"] for q in captured.captured_queries if f'FROM "{TABLE}"' in q["sql"]]
    assert asked
    return [plan(sql) for sql in asked]


def plan(sql):
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{sql.replace('%', '%%')}", ())
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def is_whole(text):
    """Whether it reads the whole table, other than from its newest row on until a page is full."""
    if connection.vendor == "postgresql":
        return "Seq Scan on notifications_message" in text
    return f"SCAN {TABLE}" in text


def test_a_page_is_answered_by_an_index(staff_client, many, subtests):
    for query, index in [
        ({"state__exact": "failed"}, "message_state_finished"),
        ({"state__exact": "sent"}, "message_state_finished"),
        ({"state__exact": "queued"}, "message_state_finished"),
        ({"state__exact": "sent", "type": "tests.once"}, "message_state_finished"),
        ({"q": "rare@example.org"}, "message_address_created"),
        ({"q": "rare"}, "message_address_created"),
        ({"q": "<rare.example.org@example.org>"}, "message_message_id"),
        ({"q": "rare.example.org@example.org"}, "message_message_id"),
        ({"q": str(many.uid)}, "uid"),
    ]:
        with subtests.test(str(query)):
            *_, page = plans(staff_client, MESSAGES, query)

            assert index in page
            assert not is_whole(page)


def test_all_of_an_announcement_are_a_range_in_the_order_of_the_list(staff_client, many):
    kept = Announcement.objects.create(words={"en": {"title": "News", "body": "New."}}, audience="everybody")
    older = Message.objects.filter(to_address__startswith="many").order_by("pk")[:2000]
    Message.objects.filter(pk__in=list(older.values_list("pk", flat=True))).update(announcement=kept)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")

    *_, page = plans(staff_client, MESSAGES, {"announcement": kept.pk})

    # Its messages are older than a window of the newest, and found all the same.
    found = rows(staff_client.get(MESSAGES, {"announcement": kept.pk}))
    assert found[0] == kept.messages.latest("pk").pk
    assert "message_announcement" in page
    assert "message_announcement_state" not in page
    assert "Sort" not in page
    assert "TEMP B-TREE" not in page


def test_by_state_nothing_is_sorted(staff_client, many):
    *_, page = plans(staff_client, MESSAGES, {"state__exact": "sent"})

    assert "Sort" not in page
    assert "TEMP B-TREE" not in page


def test_the_newest_come_from_the_primary_key(staff_client, many, subtests):
    for query in [{}, {"type": "tests.once"}, {"category": "security"}, {"provider": "smtp"}]:
        with subtests.test(str(query)):
            *_, page = plans(staff_client, MESSAGES, query)

            assert "TEMP B-TREE" not in page
            if connection.vendor == "postgresql":
                assert "notifications_message_pkey" in page
            elif query:
                assert "USING INTEGER PRIMARY KEY (rowid>?)" in page


def test_the_overview_reads_no_table_from_end_to_end(staff_client, many, settings):
    settings.NOTIFICATIONS_ENGINE = "worker"

    for text in plans(staff_client, "/admin/", {}):
        assert not is_whole(text) or "Limit" in text
        assert "message_state_finished" in text or "message_due" in text
