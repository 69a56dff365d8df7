"""The periodic jobs of the other apps, which the workers of `notifications` run. All processes register them, and few
run them: what they need loads then."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from lib.db import slices
from notifications.services import periodic_jobs


def _flag_usage(since: datetime | None) -> Iterator[tuple[str, int]]:
    from feature_flags.runtime import usage

    for count in usage.prune(timezone.now() - timedelta(days=settings.FLAGS_USAGE_KEEP_DAYS)):
        yield "hours", count


def _sessions(since: datetime | None) -> Iterator[tuple[str, int]]:
    """Sessions of the admin that have ended."""
    from django.contrib.sessions.models import Session

    # Django's own `clearsessions` deletes them all in one statement.
    for keys in slices(Session.objects.filter(expire_date__lt=timezone.now()), by="expire_date"):
        Session.objects.filter(pk__in=keys).delete()
        yield "sessions", len(keys)


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
