import io
import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from lib.actors import Actor, RequestInfo
from users.models import (
    ApiKey,
    AuditEvent,
    MfaDevice,
    OneTimeToken,
    RateBucket,
    RefreshToken,
    Registration,
    User,
    UserSession,
)
from users.services import api_keys, audit, deletion, sessions
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def days(number):
    return NOW - timedelta(days=number)


def purged(**changed):
    return {kind: changed.get(kind.replace(" ", "_").replace("-", "_"), 0) for kind in deletion.KINDS}


def token(user, **fields):
    defaults = {"purpose": "reset", "key_id": "x", "email": user.email}
    return OneTimeToken.objects.create(user=user, **{**defaults, **fields})


def session(user, created_at, **fields):
    row = sessions.new_session(user, RequestInfo(), UserSession.Kind.API, created_at)
    UserSession.objects.filter(pk=row.pk).update(**fields)
    return row


def test_one_time_tokens_go_a_day_after_they_expired(user):
    token(user, expires_at=days(2))
    kept = token(user, expires_at=days(0.5))

    assert deletion.purge(NOW) == purged(one_time_tokens=1)
    assert OneTimeToken.objects.get() == kept


def test_counters_go_once_they_count_for_nothing(api, user):
    for _ in range(6):
        api.login_form(user.email, "Wrong-Horse-7")
    assert deletion.purge() == purged()

    later = timezone.now() + timedelta(days=2)

    assert deletion.purge(later)["counters"] == 3
    assert not RateBucket.objects.exists()


def test_ended_sessions_stay_for_90_days_and_live_ones_for_good(user):
    session(user, days(100))
    session(user, days(100), expires_at=NOW + timedelta(days=300), revoked_at=days(99), revoked_reason="logout")
    recent = session(user, days(80), revoked_at=days(79), revoked_reason="logout")
    live = session(user, days(100), expires_at=NOW + timedelta(days=300))

    assert deletion.purge(NOW) == purged(sessions=2)
    assert set(UserSession.objects.all()) == {recent, live}


def test_ended_api_keys_stay_for_90_days_and_live_ones_for_good(user):
    keys = [api_keys.create(user, actor=Actor.command("test"), name=name, scopes=["inbox"])[0] for name in "abcd"]
    now, old, lately = timezone.now(), timezone.now() - timedelta(days=91), timezone.now() - timedelta(days=89)
    for key, ends in zip(keys, ({"revoked_at": old}, {"expires_at": old}, {"revoked_at": lately}, {}), strict=True):
        ApiKey.objects.filter(pk=key.pk).update(created_at=now - timedelta(days=200), **ends)

    assert deletion.purge()["API keys"] == 2

    assert set(ApiKey.objects.values_list("name", flat=True)) == {"c", "d"}


def test_refresh_tokens_too_old_to_be_taken_go_and_their_successors_stay(user, settings):
    live = session(user, days(40), expires_at=NOW + timedelta(days=300))
    parent = None
    for number, age in enumerate((40, 35, 20, 1)):
        parent = RefreshToken.objects.create(
            hash=bytes([number]) * 32, session=live, parent=parent, created_at=days(age), used_at=days(age)
        )

    assert deletion.purge(NOW) == purged(refresh_tokens=2)
    assert [bytes(row.hash)[0] for row in RefreshToken.objects.order_by("pk")] == [2, 3]
    assert RefreshToken.objects.order_by("pk").first().parent is None


def test_a_replay_is_still_recognised_after_a_purge(api, user, settings):
    settings.USERS_REFRESH_LEEWAY_SECONDS = 0
    first = api.log_in(user)["refresh_token"]
    second = api.call("POST", "/auth/refresh-tokens", {"token": first}).json()["refresh_token"]
    api.call("POST", "/auth/refresh-tokens", {"token": second})
    RefreshToken.objects.filter(used_at__isnull=False).update(used_at=days(1))
    deletion.purge()

    assert api.call("POST", "/auth/refresh-tokens", {"token": first}).status_code == 400
    assert UserSession.objects.get().revoked_reason == "replay"


def test_an_app_never_confirmed_goes_after_a_day(user):
    MfaDevice.objects.create(user=user, kind="totp", created_at=days(2))
    kept = MfaDevice.objects.create(user=user, kind="totp", created_at=days(0.5))
    used = MfaDevice.objects.create(user=user, kind="totp", created_at=days(9), confirmed_at=days(9))

    assert deletion.purge(NOW) == purged(enrolments=1)
    assert set(MfaDevice.objects.all()) == {kept, used}


def test_an_account_nobody_verified_in_30_days_goes_and_is_on_record(db):
    old = {"unverified": True, "created_by": "register", "created_at": days(31)}
    gone = UserFactory.create(**old)
    kept = [
        UserFactory.create(**old | {"created_at": days(29)}),
        UserFactory.create(**old | {"created_by": "import"}),
        UserFactory.create(**old | {"unverified": False}),
        UserFactory.create(**old, staff=True),
        UserFactory.create(**old, inactive=True),
        UserFactory.create(**old, password_changed_at=days(3)),
    ]
    tried_again = UserFactory.create(**old)
    Registration.objects.create(user=tried_again, created_at=days(1))

    assert deletion.purge(NOW) == purged(unverified_accounts=1)
    assert set(User.objects.all()) == {*kept, tried_again}
    row = AuditEvent.objects.get()
    assert (row.event, row.user_id, row.door, row.data) == (
        "user.deleted",
        gone.pk,
        "schedule",
        {"why": "never verified"},
    )


def test_audit_events_go_by_age(user, settings):
    old = audit.event("login.ok", actor=Actor("api"), user=user)
    old.at = days(401)
    old.save()
    audit.record("login.ok", actor=Actor("api"), user=user)

    assert deletion.purge(NOW) == purged(audit_events=1)
    assert AuditEvent.objects.count() == 1


def test_a_dry_run_counts_and_changes_nothing(user):
    token(user, expires_at=days(2))
    out = io.StringIO()

    call_command("purge_accounts", "--dry-run", "--json", stdout=out)

    assert json.loads(out.getvalue()) == {"dry_run": True, "deleted": purged(one_time_tokens=1)}
    assert OneTimeToken.objects.exists()


def test_many_go_in_slices(user):
    OneTimeToken.objects.bulk_create(
        [
            OneTimeToken(user=user, purpose="reset", key_id="x", email=user.email, expires_at=days(3))
            for _ in range(1203)
        ]
    )

    assert [count for _, count in deletion.purge_slices(NOW)] == [500, 500, 203]
    assert not OneTimeToken.objects.exists()


def test_the_workers_purge_every_hour(user):
    from notifications.services import periodic_jobs

    token(user, expires_at=days(2))

    assert "users.purge" in periodic_jobs.run_due()
    assert not OneTimeToken.objects.exists()
