"""What the hashing pool promises."""

import asyncio
import itertools
import math
import threading
from types import SimpleNamespace

import pytest
from django.contrib.auth.hashers import identify_hasher, make_password

from users.models import User
from users.services import hashing
from users.services.hashing import Argon2idHasher
from users.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def compared(monkeypatch):
    """The stored forms that were compared, in order."""
    seen = []
    original = hashing._check

    def spy(password, encoded):
        seen.append(encoded)
        return original(password, encoded)

    monkeypatch.setattr(hashing, "_check", spy)
    return seen


@pytest.mark.parametrize("stored", [None, "!", ""])
def test_an_address_without_a_password_costs_a_comparison_like_any_other(api, compared, stored):
    if stored is not None:
        UserFactory.create(email="ada@example.org", password=stored)

    api.login_form("ada@example.org")

    assert len(compared) == 1
    assert identify_hasher(compared[0]).algorithm == "argon2"


def test_during_a_pause_nothing_is_hashed(api, user, compared):
    for _ in range(6):
        api.login_form(user.email, "Wrong-Horse-7")

    assert len(compared) == 5


def test_while_bcrypt_rows_remain_strangers_get_bcrypt_by_their_share(monkeypatch):
    monkeypatch.setattr(hashing, "_counted_at", -math.inf)
    monkeypatch.setattr(hashing, "_bcrypt_share", 0.0)
    UserFactory.create(password="bcrypt$$2b$04$x")
    UserFactory.create()
    hashing.prepare_decoys()

    decoys = [identify_hasher(hashing.decoy(f"nobody{n}@example.org")).algorithm for n in range(200)]

    assert 60 < decoys.count("bcrypt") < 140
    assert hashing.decoy("nobody1@example.org") == hashing.decoy("nobody1@example.org")


def test_the_event_loop_goes_on_while_passwords_are_hashed(monkeypatch):
    release, entered = threading.Event(), threading.Event()

    def slow(password, encoded):
        entered.set()
        release.wait(10)
        return hashing.Checked(False)

    monkeypatch.setattr(hashing, "_check", slow)

    async def scenario():
        checking = asyncio.ensure_future(hashing.acheck("x", "y"))
        while not entered.is_set():
            await asyncio.sleep(0)
        # The loop is here while the pool is busy: only it can let the pool go on.
        release.set()
        return await checking

    assert asyncio.run(scenario()) == hashing.Checked(False)


@pytest.mark.parametrize(("others", "at_once"), [(200, 1), (5, 2)])
def test_a_core_is_left_to_other_requests_and_hashes_while_there_are_few(monkeypatch, settings, others, at_once):
    settings.USERS_HASH_WORKERS = 2
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    seconds = itertools.count()
    monkeypatch.setattr(hashing, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    pool, running, release = hashing._Pool(), threading.Semaphore(0), threading.Event()

    def job():
        running.release()
        return release.wait(10)

    jobs = [pool.submit(job)]
    running.acquire()
    monkeypatch.setattr(hashing.traffic, "requests", hashing.traffic.requests + others)
    jobs.append(pool.submit(job))
    both_run = running.acquire(timeout=0.2 if at_once == 1 else 10)
    release.set()

    assert both_run is (at_once == 2)
    assert [job.result(10) for job in jobs] == [True, True]


def test_the_pool_is_bounded(settings):
    assert hashing._pool()._executor._max_workers == settings.USERS_HASH_WORKERS
    assert hashing._pool()._places._initial_value == settings.USERS_HASH_WORKERS + settings.USERS_HASH_QUEUE


def test_new_hashes_are_argon2id_and_aged_parameters_are_renewed(api, user, monkeypatch):
    monkeypatch.setattr(Argon2idHasher, "time_cost", 2)

    assert api.login_form(user.email).status_code == 200
    user.refresh_from_db()
    assert "argon2id" in user.password
    assert "t=2" in user.password


def test_a_password_changed_while_the_old_one_is_compared_wins(api, user, monkeypatch):
    original = hashing._check

    def change_meanwhile(password, encoded):
        User.objects.filter(pk=user.pk).update(password=make_password("Other-Horse-8"))
        return original(password, encoded)

    monkeypatch.setattr(hashing, "acheck", lambda p, e: _as_async(change_meanwhile, p, e))

    assert api.login_form(user.email, PASSWORD).status_code == 400


async def _as_async(function, *args):
    from asgiref.sync import sync_to_async

    return await sync_to_async(function)(*args)
