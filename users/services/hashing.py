"""Password hashes: Argon2id for everything new, bcrypt for rows that came with the seed. All are made and compared in
one small pool of threads, with a bounded queue in front.

A hash costs 25 ms of a core on purpose. In the pool it never stops the event loop, never holds a lane or a database
connection, and never takes more memory than workers x 19 MiB. All cores hash while nothing but sign-ins is asked; with
other requests one is left to them.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from typing import Any, cast
from unicodedata import normalize

import bcrypt
from django.conf import settings
from django.contrib.auth.hashers import (
    Argon2PasswordHasher,
    BCryptPasswordHasher,
    check_password,
    get_hasher,
    identify_hasher,
    is_password_usable,
    make_password,
)
from django.utils.translation import gettext as _

from lib import metrics, traffic
from lib.errors import ProductError
from users.models import User

#: Beyond it nothing is respelt: putting the marks of a long text in order takes quadratic time.
_LONGEST = 4096
_RECOUNT_SECONDS = 600
#: Other requests are looked at so often; with more of them a second than this, one core is theirs.
_LOOK_SECONDS, _FEW_REQUESTS = 0.5, 20


def one_spelling(password: str) -> str:
    """NFC (NIST SP 800-63B-4, 3.1.1.2): a Mac may type `é` as two characters where other keyboards type one."""
    return password if len(password) > _LONGEST else normalize("NFC", password)


class Argon2idHasher(Argon2PasswordHasher):
    """For all that is new: 19 MiB and two passes (OWASP); Django's 100 MiB would let a few sign-ins fill a server."""

    memory_cost = settings.USERS_ARGON2_MEMORY
    time_cost = settings.USERS_ARGON2_TIME
    parallelism = settings.USERS_ARGON2_PARALLELISM

    def encode(self, password: str, salt: str) -> str:
        return str(super().encode(one_spelling(password), salt))


class SeedBcryptHasher(BCryptPasswordHasher):
    """Reads `bcrypt$$2b$…`. bcrypt has always ignored what lies beyond 72 bytes; since version 5 the library raises."""

    def verify(self, password: str, encoded: str) -> bool:
        algorithm, stored = encoded.split("$", 1)
        try:
            return algorithm == self.algorithm and bcrypt.checkpw(password.encode()[:72], stored.encode("ascii"))
        except ValueError:
            return False  # a malformed row is a wrong password, not an error page


@dataclass(frozen=True)
class Checked:
    """What came of a comparison; `rehash` is the new form of a right password whose hash has aged, else None."""

    is_right: bool
    rehash: str | None = None


REFUSED = metrics.Counter("hashing_refused_total", "Refused with 503 since too many waited for a hash.")


class _Pool:
    def __init__(self) -> None:
        workers = settings.USERS_HASH_WORKERS
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="hash", initializer=_be_polite)
        self._places = threading.BoundedSemaphore(workers + settings.USERS_HASH_QUEUE)
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._turns, self._running = threading.Condition(), 0
        self._beside_others = min(workers, max(1, (os.cpu_count() or 1) - 1))
        self._submitted, self._looked, self._others, self._is_quiet = 0, time.monotonic(), traffic.requests, True

    def submit(self, call: Callable[..., Any], *args: Any) -> Future[Any]:
        if not self._places.acquire(blocking=False):
            REFUSED.add()
            raise ProductError(
                "BUSY", _("Too many sign-ins at once; try again in a moment."), status=503, retry_after=1
            )
        self._submitted += 1
        future: Future[Any] = Future()
        future.add_done_callback(lambda _: self._places.release())
        self._jobs.append((future, partial(call, *args)))
        self._executor.submit(self._work)
        return future

    def _work(self) -> None:
        """Do the oldest job, as soon as one core more may hash."""
        with self._turns:
            while self._running >= self._beside_others and not self._hashes_alone():
                self._turns.wait(_LOOK_SECONDS)
            self._running += 1
            future, call = self._jobs.popleft()
        try:
            if future.set_running_or_notify_cancel():
                future.set_result(call())
        except Exception as error:
            future.set_exception(error)
        finally:
            with self._turns:
                self._running -= 1
                self._turns.notify()

    def _hashes_alone(self) -> bool:
        """Whether there are next to no requests but those that hash, by the last look."""
        now, others = time.monotonic(), traffic.requests - self._submitted
        if (waited := now - self._looked) >= _LOOK_SECONDS:
            self._is_quiet = others - self._others <= _FEW_REQUESTS * waited
            self._looked, self._others = now, others
        return self._is_quiet


def _be_polite() -> None:
    """Let answers that hash nothing go first. On Linux a niceness belongs to the thread."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


@cache
def _pool() -> _Pool:
    return _Pool()


def _waiting() -> tuple[int, int]:
    """How many passwords wait for their hash, and how many are being hashed."""
    if not _pool.cache_info().currsize:
        return 0, 0
    pool = _pool()
    return len(pool._jobs), pool._running


metrics.Gauge("hashing_waiting", "Passwords that wait for their hash.", lambda: _waiting()[0])
metrics.Gauge("hashing_running", "Passwords being hashed.", lambda: _waiting()[1])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def make(password: str) -> str:
    """The hash to store; ProductError BUSY (503) when the queue is full."""
    return str(_pool().submit(make_password, password).result())


async def amake(password: str, salt: str | None = None) -> str:
    """`make`, awaited; with a `salt` of the caller's if need be."""
    return str(await asyncio.wrap_future(_pool().submit(make_password, password, salt)))


def check(password: str, encoded: str) -> Checked:
    """Compare with a stored hash, or with a decoy from `decoy()`, in the pool; ProductError BUSY (503)."""
    return cast(Checked, _pool().submit(_check, password, encoded).result())


async def acheck(password: str, encoded: str) -> Checked:
    return cast(Checked, await asyncio.wrap_future(_pool().submit(_check, password, encoded)))


def _check(password: str, encoded: str) -> Checked:
    # As typed first: what is imported, or older than the one spelling, was hashed so. The second comparison depends on
    # what was typed alone, so its time shows nothing of the account.
    spellings = dict.fromkeys((password, one_spelling(password)))
    try:
        matched = next((text for text in spellings if check_password(text, encoded)), None)
    except ValueError:
        return Checked(False)  # an unreadable hash
    if matched is None:
        return Checked(False)
    used, preferred = identify_hasher(encoded), get_hasher("default")
    is_current = used.algorithm == preferred.algorithm and not preferred.must_update(encoded)
    is_current = is_current and matched == one_spelling(matched)
    return Checked(True, None if is_current else make_password(password))


def is_comparable(encoded: str) -> bool:
    """Whether a comparison with this stored value takes the time of one."""
    return bool(encoded) and is_password_usable(encoded)


def decoy(email: str) -> str:
    """A hash no password matches, for addresses without account: the refusal then takes as long as a real one.

    While imported bcrypt rows remain, an address gets bcrypt or Argon2id, always the same, by their share. Call
    `prepare_decoys` before.
    """
    mac = hmac.new(settings.SECRET_KEY.encode(), b"decoy|" + email.encode(), sha256).digest()
    share = int.from_bytes(mac[:8], "big") / 2**64
    return _decoys["bcrypt" if share < _bcrypt_share else "argon2"]


_decoys: dict[str, str] = {}
_bcrypt_share, _counted_at = 0.0, 0.0


def has_decoys() -> bool:
    return bool(_decoys) and time.monotonic() - _counted_at <= _RECOUNT_SECONDS


def prepare_decoys() -> None:
    """Make what `decoy` gives and count, every ten minutes, the share of accounts with a bcrypt hash. BUSY (503)."""
    global _bcrypt_share, _counted_at
    if has_decoys():
        return
    imported = User.objects.filter(password__startswith="bcrypt$").count()
    for algorithm in ("bcrypt", "argon2") if imported else ("argon2",):
        if algorithm not in _decoys:
            _decoys[algorithm] = _pool().submit(make_password, os.urandom(16).hex(), None, algorithm).result()
    _bcrypt_share, _counted_at = imported / User.objects.count() if imported else 0.0, time.monotonic()
