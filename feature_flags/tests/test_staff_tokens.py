"""Tokens of clients at the API of staff: listed, made once, revoked."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from feature_flags.models import FlagToken
from feature_flags.services import tokens
from feature_flags.tests.factories import COMMAND
from feature_flags.tests.wire import places
from users.models import AuditEvent, GivenAnswer, UserSession

SCOPES = ("flag-tokens:read", "flag-tokens:write")
SHOP = {"name": "shop", "kind": "frontend", "allowed_origins": ["https://app.example.org"], "reason": "launch"}


def test_a_token_is_made_listed_and_revoked(staff_api, django_assert_num_queries):
    made = staff_api("POST", "/flag-tokens", SHOP, scopes=SCOPES)

    assert made.status_code == 201, made.content
    assert made["Cache-Control"] == "no-store"
    secret, token = made.json()["secret"], made.json()["token"]
    assert secret.startswith("sbf_")
    assert bytes(FlagToken.objects.get().secret_hash) == tokens.secret_hash(secret)
    with django_assert_num_queries(4):  # three for the call (whose key it is, its limit); the tokens
        listed = staff_api("GET", "/flag-tokens", scopes=SCOPES)
    assert listed.json() == {"items": [token], "next": None}
    assert secret not in listed.content.decode()
    assert staff_api("POST", f"/flag-tokens/{token['id']}/revoke", scopes=SCOPES).json()["changed"] is True
    assert LogEntry.objects.earliest("pk").change_message == "Created, frontend. Reason: launch"
    events = AuditEvent.objects.filter(event__startswith="flag_token").order_by("pk")
    assert [event.event for event in events] == ["flag_token.created", "flag_token.revoked"]
    assert not any(secret in str(event.data) for event in events)


def test_a_secret_is_kept_for_no_repeat(staff_api):
    first, second = (staff_api("POST", "/flag-tokens", SHOP, scopes=SCOPES, idempotency_key="1") for _ in range(2))

    assert first.json()["secret"] != second.json()["secret"]
    assert not GivenAnswer.objects.exists()


def test_people_need_a_fresh_proof(person):
    call = person("view_flagtoken", "manage_flagtoken")
    UserSession.objects.update(auth_at=timezone.now() - timedelta(hours=1))

    refused = call("POST", "/flag-tokens", SHOP)

    assert (refused.status_code, refused.json()["code"]) == (403, "reauthentication_required")
    assert not FlagToken.objects.exists()
    UserSession.objects.update(auth_at=timezone.now())
    assert call("POST", "/flag-tokens", SHOP).status_code == 201


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", " "),
        ("kind", "root"),
        ("allowed_origins", ["app.example.org"]),
        ("expires_at", "2001-01-01T00:00:00Z"),
        ("reason", "a" * 201),
    ],
)
def test_what_is_wrong_is_told_by_its_place_and_nothing_is_made(staff_api, field, given):
    answer = staff_api("POST", "/flag-tokens", {**SHOP, field: given}, scopes=SCOPES)

    assert places(answer) == [["body", field]]
    assert not FlagToken.objects.exists()


def test_who_may_not_is_told_what_is_missing(staff_api, person):
    tokens.create_token("shop", kind="server", **COMMAND)
    call = person("view_flagtoken")

    assert call("GET", "/flag-tokens").status_code == 200
    assert call("POST", "/flag-tokens", SHOP).json()["permission"] == "feature_flags.manage_flagtoken"
    assert staff_api("GET", "/flag-tokens").json()["permission"] == "feature_flags.view_flagtoken"
