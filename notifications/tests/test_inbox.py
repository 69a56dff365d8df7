import pytest
from django.db import connection
from django.utils import timezone

from notifications.models import InAppNotification
from notifications.services import outbox
from notifications.tests import offers
from notifications.tests.factories import InAppFactory, MessageFactory
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
PATH = "/notifications"


@pytest.fixture
def inbox(api, user):
    api.sign_in(user)
    return api


def ids(answer):
    return [item["id"] for item in answer.json()["items"]]


def unread_count(api, tag=""):
    return api.call("GET", f"{PATH}/unread-count", **({"if-none-match": tag} if tag else {}))


def test_what_is_queued_for_the_product_is_found_there(inbox, user):
    offers.declare()
    outbox.queue("tests.hint", to="", context={"title": "Summer", "url": "/summer", "data": {"n": 1}}, user=user)

    (item,) = inbox.call("GET", PATH).json()["items"]

    assert item.pop("id")
    assert item.pop("created_at").endswith("Z")
    assert item == {
        "type": "tests.hint",
        "title": "Summer",
        "body": "Read Summer today.",
        "url": "/summer",
        "data": {"n": 1},
        "severity": "info",
        "count": 1,
        "seen_at": None,
        "read_at": None,
    }


@pytest.mark.parametrize(
    "context",
    [
        {"url": "javascript:alert(1)"},
        {"url": "//evil.example"},
        {"url": "/\\evil.example"},
        {"url": f"/{'x' * 2000}"},
        {"severity": "loud"},
    ],
)
def test_what_no_client_could_use_is_not_added(user, context):
    offers.declare()

    with pytest.raises(ValueError, match="link|Severity"):
        outbox.queue("tests.hint", to="", context=context, user=user)

    assert not InAppNotification.objects.exists()


def test_pages_follow_each_other_without_gap_or_double(inbox, user):
    rows = InAppFactory.create_batch(5, user=user)
    seen, cursor = [], ""

    while cursor is not None:
        answer = inbox.call("GET", f"{PATH}?limit=2&cursor={cursor}")
        # What comes meanwhile is on no later page.
        InAppFactory.create(user=user)
        seen += ids(answer)
        cursor = answer.json()["next"]

    assert seen == [row.pk for row in reversed(rows)]


def test_others_and_archived_ones_are_not_listed(inbox, user):
    mine = InAppFactory.create(user=user)
    InAppFactory.create(user=user, archived_at=timezone.now())
    InAppFactory.create(user=UserFactory.create())

    assert ids(inbox.call("GET", PATH)) == [mine.pk]
    assert unread_count(inbox).json() == {"unread": 1}


def test_only_unread_ones_on_request(inbox, user):
    InAppFactory.create(user=user, read=True)
    row = InAppFactory.create(user=user)

    assert ids(inbox.call("GET", f"{PATH}?unread=1")) == [row.pk]
    assert len(ids(inbox.call("GET", f"{PATH}?unread=0"))) == 2


def test_what_was_listed_has_been_seen(inbox, user):
    InAppFactory.create(user=user)

    first, second = (inbox.call("GET", PATH).json()["items"][0]["seen_at"] for _ in range(2))

    assert first is None
    assert second is not None


def test_a_cursor_is_good_for_its_owner_and_as_it_was_given(inbox, user, api):
    InAppFactory.create_batch(2, user=user)
    cursor = inbox.call("GET", f"{PATH}?limit=1").json()["next"]
    forged = ["x", "%00", "%ED%A0%80", "ü", "=", f"{cursor}A", f"{cursor}=", cursor[:-1], cursor.swapcase(), "1" * 200]

    for wrong in forged:
        answer = inbox.call("GET", f"{PATH}?cursor={wrong}")
        assert (answer.status_code, answer.json()["detail"]) == (400, "ErrorCode.BAD_CURSOR"), wrong
    api.sign_in(UserFactory.create())
    assert api.call("GET", f"{PATH}?cursor={cursor}").status_code == 400


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "unread=x", f"cursor={'x' * 201}"])
def test_a_query_that_is_none_is_told_so(inbox, query):
    assert inbox.call("GET", f"{PATH}?{query}").status_code == 422


def test_lists_and_marks_take_a_fixed_number_of_queries(inbox, user, queries):
    rows = InAppFactory.create_batch(30, user=user)
    with queries() as made:
        inbox.call("GET", f"{PATH}?limit=1")
    few = made()

    with queries() as made:
        inbox.call("GET", f"{PATH}?limit=30")
    assert made() == few
    with queries() as made:
        inbox.call("POST", f"{PATH}/{rows[0].pk}/read")
    assert made() <= 4
    with queries() as made:
        inbox.call("POST", f"{PATH}/read-all")
    assert made() <= 3


@pytest.mark.parametrize("verb", ["read", "unread", "archive"])
def test_marks_may_be_repeated(inbox, user, verb):
    row = InAppFactory.create(user=user)

    first, second = (inbox.call("POST", f"{PATH}/{row.pk}/{verb}") for _ in range(2))

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    assert first.json()["id"] == row.pk


def test_read_and_unread_take_each_other_back(inbox, user):
    row = InAppFactory.create(user=user)

    assert inbox.call("POST", f"{PATH}/{row.pk}/read").json()["read_at"]
    assert unread_count(inbox).json() == {"unread": 0}
    assert inbox.call("POST", f"{PATH}/{row.pk}/unread").json()["read_at"] is None
    assert unread_count(inbox).json() == {"unread": 1}


@pytest.mark.parametrize("verb", ["read", "unread", "archive"])
def test_what_is_not_ones_own_is_not_there(inbox, verb):
    other = InAppFactory.create(user=UserFactory.create())

    for wrong in (other.pk, 0, -1, "x", "9" * 18, "9" * 400, "٣", "%00", "unsubscribe", "webhooks"):
        answer = inbox.call("POST", f"{PATH}/{wrong}/{verb}")
        if wrong in {"unsubscribe", "webhooks"}:
            assert answer.status_code == 404
        else:
            assert (answer.status_code, answer.json()["detail"]) == (404, "ErrorCode.NOTIFICATION_NOT_FOUND"), wrong
    other.refresh_from_db()
    assert (other.read_at, other.archived_at) == (None, None)


def test_all_are_read_that_were_on_the_screen(inbox, user):
    InAppFactory.create_batch(2, user=user)
    newest = inbox.call("GET", PATH).json()["items"][0]["created_at"]
    late = InAppFactory.create(user=user)
    other = InAppFactory.create(user=UserFactory.create())

    answers = [inbox.call("POST", f"{PATH}/read-all", {"before": newest}).json() for _ in range(2)]

    assert answers == [{"changed": 2}, {"changed": 0}]
    assert ids(inbox.call("GET", f"{PATH}?unread=1")) == [late.pk]
    assert inbox.call("POST", f"{PATH}/read-all").json() == {"changed": 1}
    other.refresh_from_db()
    assert other.read_at is None


@pytest.mark.parametrize(
    "body",
    [{"before": "yesterday"}, {"before": "2026-01-01T00:00:00"}, {"before": "0001-01-01T00:00:00+14:00"}, [], "{"]
    + [{"before": number} for number in (0, 1.5, True, "0", " -1e3")],
)
def test_read_all_refuses_what_is_no_time(inbox, body):
    assert inbox.call("POST", f"{PATH}/read-all", body).status_code == 422


def test_the_count_stops_at_a_hundred(inbox, user):
    InAppFactory.create_batch(101, user=user)

    assert unread_count(inbox).json() == {"unread": 100}


def test_the_tag_of_the_count_changes_with_each_mark_and_each_new_one(inbox, user):
    rows = InAppFactory.create_batch(3, user=user)
    steps = (
        lambda: inbox.call("POST", f"{PATH}/{rows[0].pk}/read"),
        lambda: inbox.call("POST", f"{PATH}/{rows[1].pk}/archive"),
        lambda: InAppFactory.create(user=user),
        lambda: inbox.call("POST", f"{PATH}/{rows[0].pk}/unread"),
        # One read and one new: the number stays.
        lambda: (inbox.call("POST", f"{PATH}/{rows[2].pk}/read"), InAppFactory.create(user=user)),
        lambda: inbox.call("POST", f"{PATH}/read-all"),
    )
    tags = [unread_count(inbox)["ETag"]]

    for step in steps:
        step()
        answer = unread_count(inbox, tags[-1])
        assert answer.status_code == 200
        tags.append(answer["ETag"])
        same = unread_count(inbox, tags[-1])
        assert (same.status_code, same.content, same["ETag"]) == (304, b"", tags[-1])

    assert len(set(tags)) == len(tags)
    assert all(tag.startswith('"') for tag in tags)


def test_nobody_reads_without_a_bearer(api):
    for method, path in (
        ("GET", ""),
        ("GET", "/unread-count"),
        ("POST", "/read-all"),
        ("POST", "/1/read"),
        ("GET", "/preferences"),
        ("PUT", "/preferences"),
    ):
        assert api.call(method, f"{PATH}{path}").status_code == 401


def test_columns_of_the_release_before_have_their_defaults(user):
    InAppFactory.create(user=user)
    MessageFactory.create()

    with connection.cursor() as cursor:
        cursor.execute("SELECT group_key, count, expires_at FROM notifications_inappnotification")
        assert cursor.fetchall() == [("", 1, None)]
        cursor.execute("SELECT group_key, headers FROM notifications_message")
        assert cursor.fetchall() == [("", "{}")]


def test_null_is_no_body_where_one_may_be_left_out(api, user):
    api.sign_in(user)

    assert api.call("POST", "/notifications/read-all").status_code == 200
    assert api.call("POST", "/notifications/read-all", "null").status_code == 422
