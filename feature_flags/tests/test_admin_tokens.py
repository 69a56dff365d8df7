"""Tokens: shown once, kept nowhere, revoked for good."""

import json
import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.utils import timezone

from feature_flags.models import FlagRevision, FlagToken
from feature_flags.services import tokens
from feature_flags.services.tokens import secret_hash
from feature_flags.tests.factories import COMMAND, make_staff
from feature_flags.tests.pages import TOKENS, told

ADD = f"{TOKENS}add/"
SHOP = {"name": "shop", "kind": "frontend", "allowed_origins": "", "expires_at": "", "reason": ""}


def change(token, end="change"):
    return f"{TOKENS}{token.pk}/{end}/"


def test_the_secret_is_shown_once_and_kept_nowhere(chief_client):
    origins = "https://app.example.org\r\nhttps://b.example.org/"

    response = chief_client.post(ADD, {**SHOP, "allowed_origins": origins, "reason": "launch"})

    token = FlagToken.objects.get()
    secret = re.search(r'value="(sbf_[^"]+)"', response.content.decode())[1]
    assert bytes(token.secret_hash) == secret_hash(secret)
    assert "no-store" in response.headers["Cache-Control"]
    assert token.allowed_origins == ["https://app.example.org", "https://b.example.org"]
    for address in (TOKENS, change(token), f"{TOKENS}{token.pk}/history/", ADD):
        assert secret not in chief_client.get(address).content.decode()
    kept = [str(entry.__dict__) for entry in LogEntry.objects.all()]
    kept += [json.dumps([entry.diff, entry.snapshot, entry.reason]) for entry in FlagRevision.objects.all()]
    kept += [str(session.get_decoded()) for session in Session.objects.all()]
    assert not any(secret in text for text in kept)
    assert LogEntry.objects.get().change_message == "Created, frontend. Reason: launch"


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", ""),
        ("name", "a\x00b"),
        ("name", "a" * 101),
        ("kind", "root"),
        ("allowed_origins", "app.example.org"),
        ("allowed_origins", "a\x00b"),
        ("expires_at", "yesterday"),
        ("expires_at", "2001-01-01T00:00"),
        ("reason", "a" * 201),
    ],
)
def test_what_is_wrong_stands_beside_the_field(chief_client, field, given):
    response = chief_client.post(ADD, {**SHOP, field: given})

    assert response.status_code == 200
    assert response.context["form"].errors.keys() == {field}
    assert not FlagToken.objects.exists()


def test_a_token_expires_when_it_was_told_to(chief_client):
    chief_client.post(ADD, {**SHOP, "expires_at": "2090-01-31T12:00"})

    assert f"{FlagToken.objects.get().expires_at:%Y-%m-%d %H:%M%z}" == "2090-01-31 12:00+0000"


def test_revoking_asks_and_is_for_good(chief_client):
    token, _secret = tokens.create_token("shop", kind="server", **COMMAND)

    asked = chief_client.post(change(token, "revoke"), {"_from": "list"})
    done = chief_client.post(change(token, "revoke"), {"_from": "list", "reason": "leaked"}, follow=True)
    again = chief_client.post(change(token, "revoke"), {"reason": ""}, follow=True)

    assert "this is for good" in asked.content.decode()
    assert told(done)[0].endswith("revoked.")
    assert told(again)[0].endswith("revoked already.")
    token.refresh_from_db()
    assert token.revoked_at
    assert FlagRevision.objects.get(action="revoke").reason == "leaked"
    assert "verb-revoke" not in chief_client.get(change(token)).content.decode()
    assert 'chip-off">revoked<' in chief_client.get(TOKENS).content.decode()


def test_the_list_says_when_a_token_was_last_used_and_what_state_it_is_in(chief_client):
    used, _ = tokens.create_token("used", kind="server", **COMMAND)
    over, _ = tokens.create_token("over", kind="server", **COMMAND)
    FlagToken.objects.filter(pk=used.pk).update(last_used_on="2026-01-31")
    FlagToken.objects.filter(pk=over.pk).update(expires_at=timezone.now() - timedelta(days=1))

    html = chief_client.get(TOKENS).content.decode()

    assert "31 January 2026" in html
    assert 'chip-waiting">expired<' in html
    assert 'chip-active">in use<' in html


def test_nothing_about_a_token_can_be_edited(chief_client):
    token, _secret = tokens.create_token("shop", kind="server", **COMMAND)

    assert chief_client.post(change(token), {"name": "other"}).status_code == 403
    assert chief_client.post(change(token, "delete"), {"post": "yes"}).status_code == 403


def test_making_and_revoking_need_their_permission(client, db):
    token, _secret = tokens.create_token("shop", kind="server", **COMMAND)
    client.force_login(make_staff("viewer@example.org", "view_flagtoken"))

    assert client.get(TOKENS).status_code == 200
    assert "verb-revoke" not in client.get(TOKENS).content.decode()
    assert client.get(ADD).status_code == client.post(ADD, SHOP).status_code == 403
    assert client.post(change(token, "revoke"), {"reason": ""}).status_code == 403
    client.force_login(make_staff("manager@example.org", "manage_flagtoken"))
    assert client.get(TOKENS).status_code == client.get(ADD).status_code == 200
    client.force_login(make_staff("stranger@example.org", "view_featureflag"))
    assert client.get(TOKENS).status_code == 403
    assert FlagToken.objects.count() == 1


def test_what_is_typed_as_utc_is_utc_wherever_its_reader_is(chief_client):
    chief_client.cookies["zone"] = "America/New_York"

    chief_client.post(f"{TOKENS}add/", {"name": "far", "kind": "server", "expires_at": "2031-05-01T12:00"})

    assert f"{FlagToken.objects.get(name='far').expires_at:%Y-%m-%dT%H:%M}" == "2031-05-01T12:00"
