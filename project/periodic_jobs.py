"""The periodic jobs of the other apps, which the workers of `notifications` run."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib import import_module

from django.conf import settings
from django.utils import timezone

from feature_flags.runtime import usage
from notifications.services import periodic_jobs
from users.services import deletion


def _flag_usage(since: datetime | None) -> Iterator[tuple[str, int]]:
    yield "hours", usage.prune(timezone.now() - timedelta(days=settings.FLAGS_USAGE_KEEP_DAYS))


def _sessions(since: datetime | None) -> Iterator[tuple[str, int]]:
    """Sessions of the admin that have ended."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
    yield from ()


def _accounts(since: datetime | None) -> Iterator[tuple[str, int]]:
    yield from deletion.purge_slices(timezone.now())


def register() -> None:
    periodic_jobs.register("users.purge", _accounts)
    periodic_jobs.register("feature_flags.usage", _flag_usage)
    periodic_jobs.register("admin.sessions", _sessions, every=timedelta(days=1))
