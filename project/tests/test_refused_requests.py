"""What a request is refused for leaves one line at warning, however often and however long it is."""

import io
import json
import logging

import pytest
from django.test import Client

from lib.logs import JsonFormatter, Refusals

pytestmark = pytest.mark.django_db
LOGIN, PEOPLE = "/admin/login/", "/admin/users/user/"
FORM = "application/x-www-form-urlencoded"

REFUSED = {
    "look-up": lambda staff: staff.get(f"{PEOPLE}?password__startswith=a"),
    "long look-up": lambda staff: staff.get(f"{PEOPLE}?{'a' * 3000}__startswith=a"),
    "field to lead to": lambda staff: staff.get(f"{PEOPLE}?_to_field=password"),
    "field of a popup": lambda staff: staff.get(f"{PEOPLE}add/?_to_field=password&_popup=1"),
    "foreign host": lambda staff: Client().get(LOGIN, headers={"host": "evil.example"}),
    "too many fields": lambda staff: Client().post(LOGIN, {str(n): "x" for n in range(10_001)}),
    "too many files": lambda staff: Client().post(LOGIN, {str(n): io.BytesIO(b"x") for n in range(101)}),
    "too long a form": lambda staff: Client().post(LOGIN, "x=" + "y" * 1_100_000, content_type=FORM),
}
QUIET = {
    "page that is none": lambda staff: staff.get(f"{PEOPLE}?p=x"),
    "page out of reach": lambda staff: staff.get(f"{PEOPLE}?p=99999999999999999999"),
    "order that is none": lambda staff: staff.get(f"{PEOPLE}?o=99.a.-"),
    "regular expression": lambda staff: staff.get(f"{PEOPLE}?email__regex=a"),
    "NUL": lambda staff: staff.get(f"{PEOPLE}?is_active__exact=%00"),
    "large number": lambda staff: staff.get(f"{PEOPLE}?groups__id__exact=999999999999999999999"),
    "boundary that is none": lambda staff: Client().post(LOGIN, b"a", content_type="multipart/form-data"),
}


@pytest.fixture
def lines(monkeypatch):
    """Call it for what the process has written to stderr since, as it would be read."""
    handler = next(each for each in logging.getLogger("django").handlers if isinstance(each.formatter, JsonFormatter))
    for each in handler.filters:
        if isinstance(each, Refusals):
            monkeypatch.setattr(each, "_seen", {})
    written = io.StringIO()
    before = handler.setStream(written)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    handler.setStream(before)


@pytest.mark.parametrize("request_of", REFUSED.values(), ids=REFUSED)
def test_a_refused_request_is_a_line_at_warning(staff_client, lines, request_of):
    assert request_of(staff_client).status_code == 400

    (told,) = (line for line in lines() if line["logger"] != "switchboard.request")
    assert told["level"] == "warning"
    assert "exception" not in told
    assert len(json.dumps(told)) < 500


@pytest.mark.parametrize("request_of", QUIET.values(), ids=QUIET)
def test_what_is_only_odd_leaves_the_line_of_its_request(staff_client, lines, request_of):
    assert request_of(staff_client).status_code in (200, 302, 400)

    assert {line["logger"] for line in lines()} == {"switchboard.request"}


def test_nobody_fills_the_log(lines):
    for _ in range(40):
        Client().get(LOGIN, headers={"host": "evil.example"})

    told = [line for line in lines() if line["logger"] == "django.security.DisallowedHost"]
    assert 10 <= len(told) <= 20, "ten a minute, of at most two minutes"


def test_the_next_minute_says_how_many_were_left_out():
    kept, refusals = [], Refusals()
    for at in (*range(25), 60):
        record = logging.makeLogRecord({"name": "django.security.X", "msg": "m", "created": 1_200_000 + at})
        if refusals.filter(record):
            kept.append(getattr(record, "left_out", 0))

    assert kept == [*[0] * 10, 15]
