"""GET /api/users/user/export: everything held about the person."""

import json
import tracemalloc
from datetime import timedelta

import httpx
import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from lib import db, encryption
from lib.actors import Actor
from notifications.models import InAppNotification, Message, Preference, Suppression
from project.asgi import application
from users.models import AuditEvent, MfaDevice, RecoveryCode, RefreshToken
from users.services import audit, personal_data, tokens
from users.tests.factories import PASSWORD, UserFactory
from users.tests.own import age_proof, code_of, recorded, sign_in_elsewhere

pytestmark = pytest.mark.django_db

PARTS = (
    "format exported_at profile groups second_factors api_keys proposals recovery_codes_left registrations pending "
    "flags preferences suppressions sessions security_events messages notifications"
)


def ask(api, **more):
    return api.call("GET", "/users/user/export", **more)


def exported(api):
    return json.loads(ask(api).getvalue())


@pytest.fixture
def signed_in(api, user):
    return api.sign_in(user)


def test_it_is_a_file_that_no_cache_keeps(api, user, signed_in):
    response = ask(api)

    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    today = f"{timezone.now():%Y-%m-%d}"
    assert response["Content-Disposition"] == f'attachment; filename="switchboard-export-{today}.json"'


def test_everything_is_in_it(api, user, signed_in):
    MfaDevice.objects.create(user=user, kind="totp", name="Phone", secret=encryption.encrypt("JBSWY3DP"))
    Preference.objects.create(user=user, category="news", channel="email", enabled=False)
    Suppression.objects.create(address=user.email, scope="news", reason="unsubscribe", source="link")
    InAppNotification.objects.create(user=user, type="x", category="x", title="Hello", body="Ada")
    api.call("POST", "/auth/forgot-password", {"email": user.email}, bearer="")

    found = exported(api)

    assert " ".join(found) == PARTS
    assert (found["profile"]["id"], found["profile"]["email"]) == (user.pk.hex, user.email)
    assert [(factor["kind"], factor["name"]) for factor in found["second_factors"]] == [("totp", "Phone")]
    assert [row["id"] for row in found["sessions"]] == [user.sessions.get().pk.hex]
    assert [row["category"] for row in found["preferences"]] == ["news"]
    assert [row["reason"] for row in found["suppressions"]] == ["unsubscribe"]
    assert [row["title"] for row in found["notifications"]] == ["Hello"]
    assert [(row["type"], row["to_address"]) for row in found["messages"]] == [("users.forgot_password", user.email)]
    assert [row["purpose"] for row in found["pending"]] == ["reset"]
    assert found["flags"]["FF_ENABLE_REGISTRATION"] is not None
    assert "login.ok" in [row["event"] for row in found["security_events"]]


def test_nothing_that_opens_anything_is_in_it(api, user, signed_in):
    sealed = encryption.encrypt("JBSWY3DP")
    MfaDevice.objects.create(user=user, kind="totp", secret=sealed)
    RecoveryCode.objects.create(user=user, hash=b"recovery-hash")
    link = tokens.issue(user, "reset", email=user.email, lasts=timedelta(hours=1))

    text = ask(api).getvalue().decode()

    assert not any(secret in text for secret in (sealed, "JBSWY3DP", "recovery-hash", user.password, PASSWORD))
    assert not any(key in text for key in ('"nonce"', '"hash"', '"password"', '"network_mac"', '"secret"'))
    assert bytes(link.nonce).hex() not in text
    assert signed_in["refresh_token"] not in text
    assert bytes(RefreshToken.objects.get().hash).hex() not in text


def test_nothing_of_anybody_else_is_in_it(api, user, signed_in):
    other = UserFactory.create(email="somebody@example.net", first_name="Grace")
    sign_in_elsewhere(api, other)
    api.call("POST", "/auth/forgot-password", {"email": other.email}, bearer="")

    text = ask(api).getvalue().decode()

    assert not any(word in text for word in (other.email, other.pk.hex, "Grace"))


def test_it_does_not_tell_whether_somebody_has_an_address(api, user, signed_in):
    UserFactory.create(email="taken@example.net")
    told = {}
    for email in ("taken@example.net", "free@example.net"):
        api.call("POST", "/auth/change-email", {"email": email})
        found = exported(api)
        told[email] = (found["messages"], [row["email"] for row in found["pending"]])

    assert told["taken@example.net"] == ([], ["taken@example.net"])
    assert told["free@example.net"] == ([], ["free@example.net"])


def test_it_is_on_record(api, user, signed_in):
    ask(api)

    event = recorded("export.made")
    assert (event.user_id, event.door, event.outcome) == (user.pk, "api", "ok")


def test_it_needs_a_fresh_proof(api, user, signed_in):
    age_proof()

    assert code_of(ask(api)) == (403, "ErrorCode.REAUTHENTICATION_REQUIRED", "reauthentication_required")
    assert not AuditEvent.objects.filter(event="export.made").exists()


def test_it_needs_a_bearer(api, db):
    assert ask(api).status_code == 401


@pytest.fixture
def short_slices(monkeypatch):
    monkeypatch.setattr(db, "SLICE", 50)


def fill(user, count):
    now = timezone.now()
    rows = [
        Message(
            user=user,
            type="users.welcome",
            category="account",
            language="en",
            context={"first_name": "Ada", "n": n},
            to_address=user.email,
            state="sent",
            priority=1,
            expires_at=now,
            max_attempts=1,
            created_at=now - timedelta(seconds=n // 7),
        )
        for n in range(count)
    ]
    Message.objects.bulk_create(rows, batch_size=500)
    events = [audit.event("session.ended", actor=Actor("api"), user=user, count=n) for n in range(count)]
    AuditEvent.objects.bulk_create(events, batch_size=500)


def test_long_lists_are_whole_and_in_order(api, user, signed_in, short_slices):
    fill(user, 250)

    found = exported(api)

    assert len({row["id"] for row in found["messages"]}) == 250
    assert found["messages"] == sorted(found["messages"], key=lambda row: row["created_at"], reverse=True)
    ended = [row["data"]["count"] for row in found["security_events"] if row["event"] == "session.ended"]
    assert ended == list(reversed(range(250)))


def test_memory_does_not_grow_with_the_lists(user, short_slices):

    def peak():
        tracemalloc.start()
        length = sum(map(len, personal_data.export(user, actor=Actor("command", label="test"))))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return length, size

    fill(user, 200)
    peak()
    short, before = peak()
    fill(user, 1000)
    long, after = peak()

    assert long > 4 * short
    assert after < 1.2 * before


@pytest.mark.django_db(transaction=True)
def test_over_asgi_it_arrives_in_pieces(api, user, short_slices):
    fill(user, 120)
    bearer = sign_in_elsewhere(api, user)["access_token"]

    @async_to_sync
    async def asked():
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await client.get("/api/users/user/export", headers={"authorization": f"Bearer {bearer}"})

    response = asked()

    assert "content-length" not in response.headers
    assert len(response.json()["messages"]) == 120
