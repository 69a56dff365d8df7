"""Segments at the API of staff: read, made and changed; who may not see them sees nothing that is in them."""

import pytest
from django.contrib.admin.models import LogEntry

from feature_flags.models import FlagRevision, Segment
from feature_flags.services import editing, segments
from feature_flags.tests.factories import COMMAND
from feature_flags.tests.wire import places

MAIL = {"field": "email", "operator": "IN", "values": ["ada@example.org"]}


@pytest.fixture
def beta(db):
    return segments.create_segment("beta", constraints=[MAIL], description="Friends", **COMMAND)


def test_segments_are_listed_in_pieces(staff_api, beta, django_assert_num_queries):
    long, longer = "Ä" * 100, "😀" * 100
    segments.create_segment(long, **COMMAND)
    segments.create_segment(longer, **COMMAND)

    names, cursor = [], ""
    while cursor is not None:
        page = staff_api("GET", f"/segments?limit=1&cursor={cursor}").json()
        names, cursor = names + [row["name"] for row in page["items"]], page["next"]
    (found,) = staff_api("GET", "/segments?search=FRIEND").json()["items"]

    assert sorted(names) == ["beta", long, longer]
    assert (found["name"], found["constraints"]) == ("beta", 1)
    with django_assert_num_queries(4):  # three for the call (whose key it is, its limit); the segments
        assert len(staff_api("GET", "/segments").json()["items"]) == 3


def test_a_segment_is_its_document_with_the_flags_that_use_it(staff_api, person, beta):
    editing.create("FF_A", rules=[{"segments": ["beta"]}], **COMMAND)

    answer = staff_api("GET", "/segments/beta")
    hidden = person("view_segment")("GET", "/segments/beta").json()

    assert answer["ETag"] == f'"{beta.revisions.get().pk}"'
    assert answer.json()["document"] == beta.document
    assert (answer.json()["used_by"], hidden["used_by"]) == (["FF_A"], None)


def test_a_segment_is_made_and_that_is_on_record(staff_api):
    body = {"document": {"name": "beta", "constraints": [MAIL]}, "reason": "launch"}

    made = staff_api("POST", "/segments", body)
    again = staff_api("POST", "/segments", body)

    assert made.status_code == 201, made.content
    assert again.json()["detail"] == "ErrorCode.SEGMENT_EXISTS"
    revision = FlagRevision.objects.get(subject="segment")
    assert (revision.door, revision.reason, made.json()["revision"]) == ("staff", "launch", revision.pk)
    assert LogEntry.objects.get().change_message == "Created. Reason: launch"


def test_what_was_read_is_changed_and_sent_back(staff_api, beta):
    read = staff_api("GET", "/segments/beta")
    body = read.json()
    body["document"]["constraints"] = []

    done = staff_api("PUT", "/segments/beta", body, if_match=read["ETag"])
    stale = staff_api("PUT", "/segments/beta", body, if_match=read["ETag"])
    without = staff_api("PUT", "/segments/beta", body)
    again = staff_api("PUT", "/segments/beta", body, if_match=done["ETag"])

    assert [answer.status_code for answer in (done, stale, without, again)] == [200, 412, 428, 200]
    assert Segment.objects.get().constraints == []
    assert done["ETag"] == again["ETag"] != read["ETag"]
    assert LogEntry.objects.get().change_message == "Saved: constraints."


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"name": "other"}, ["name"]),
        ({"constraints": [{"field": "age", "operator": "NUM_GT", "value": "many"}]}, ["constraints", 0, "value"]),
        ({"rules": []}, ["rules"]),
    ],
)
def test_what_is_wrong_is_told_by_its_place_and_nothing_is_written(staff_api, beta, document, place):
    answer = staff_api("PUT", "/segments/beta", {"document": document}, if_match="*")

    assert places(answer) == [["body", "document", *place]]
    assert Segment.objects.get().document == beta.document
    assert not LogEntry.objects.exists()


def test_who_may_not_is_told_what_is_missing(staff_api, person, beta):
    call = person("view_featureflag", "view_segment")

    for method, path, needed in [
        ("GET", "/segments", "view"),
        ("GET", "/segments/beta", "view"),
        ("POST", "/segments", "add"),
        ("PUT", "/segments/beta", "change"),
    ]:
        body = None if method == "GET" else {"document": {"name": "x"}}
        refused = staff_api(method, path, body, scopes=("account:read",))
        assert (refused.status_code, refused.json()["permission"]) == (403, f"feature_flags.{needed}_segment")
        assert call(method, path, body).status_code == (200 if method == "GET" else 403)
    assert Segment.objects.count() == 1
    assert staff_api("GET", "/segments/none").json()["code"] == "segment_unknown"
