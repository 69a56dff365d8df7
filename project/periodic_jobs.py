"""The periodic jobs of the other apps, which the workers of `notifications` run. All processes register them, and few
run them: what they need loads then."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib import import_module

from django.conf import settings
from django.utils import timezone

from notifications.services import periodic_jobs


def _flag_usage(since: datetime | None) -> Iterator[tuple[str, int]]:
    from feature_flags.runtime import usage

    yield "hours", usage.prune(timezone.now() - timedelta(days=settings.FLAGS_USAGE_KEEP_DAYS))


def _sessions(since: datetime | None) -> Iterator[tuple[str, int]]:
    """Sessions of the admin that have ended."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
    yield from ()


def _accounts(since: datetime | None) -> Iterator[tuple[str, int]]:
    from users.services import deletion

    yield from deletion.purge_slices(timezone.now())


def _statistics(since: datetime | None) -> Iterator[tuple[str, int]]:
    from users.services import audit

    now = timezone.now()
    for counted in (audit.count_sign_ins(now), periodic_jobs.count_messages(now)):
        for _rows in counted:
            # Of every run the same few hours: nothing to report.
            yield "counts", 0


def register() -> None:
    periodic_jobs.register("admin.statistics", _statistics, every=timedelta(minutes=5))
    periodic_jobs.register("users.purge", _accounts)
    periodic_jobs.register("feature_flags.usage", _flag_usage)
    periodic_jobs.register("admin.sessions", _sessions, every=timedelta(days=1))
