"""Every time that staff type or read names its zone."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from feature_flags.models import FlagSeen, FlagUsage
from feature_flags.services import schedules, tokens
from feature_flags.tests.factories import COMMAND
from notifications.models import ProviderState, Worker
from notifications.tests.factories import MessageFactory
from project.tests.test_pages_of_others import addresses, scene  # noqa: F401  (a fixture)

pytestmark = pytest.mark.django_db
TIME = re.compile(r"(?<![\d:+])\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?![\d:.]| UTC|[+Z])")
#: What is no text, what is shown as it is stored, and a cell that names its zone to who points at it.
ASIDE = re.compile(r'<(script|style|svg)\b.*?</\1>|<abbr title="[^"]* UTC">.*?</abbr>|<[^>]+>', re.DOTALL)


@pytest.fixture
def times(scene):  # noqa: F811
    """A time wherever a page can show one."""
    now = timezone.now()
    FlagUsage.objects.create(codename="FF_A", hour=now.replace(minute=0, second=0), app_name="a", yes=1, no=0)
    FlagSeen.objects.update_or_create(codename="FF_A", defaults={"last_seen_at": now})
    schedules.schedule(scene, at=now + timedelta(days=1), action="off", **COMMAND)
    tokens.create_token("old", kind="server", expires_at=now + timedelta(days=1), **COMMAND)
    ProviderState.objects.update(paused=True, paused_until=now + timedelta(hours=1), last_ok_at=now)
    Worker.objects.update(started_at=now, beat_at=now)
    MessageFactory.create(finished=True)
    MessageFactory.create(state="failed", due_at=None, finished_at=now, last_code="550")
    return now


def test_no_time_is_read_without_its_zone(staff_client, times):
    bare = {}
    for path in addresses():
        page = staff_client.get(path, follow=True).content.decode()
        if found := TIME.findall(ASIDE.sub(" ", page)):
            bare[path] = sorted(set(found))[:5]

    assert not bare, bare


def test_no_time_is_typed_without_its_zone(staff_client, scene):  # noqa: F811
    for path in (
        f"/admin/feature_flags/featureflag/{scene.pk}/change/",
        "/admin/feature_flags/flagtoken/add/",
        "/admin/users/auditevent/",
    ):
        page = staff_client.get(path).content.decode()
        inputs = page.count('type="datetime-local"')
        before = [part[-200:] for part in page.split('type="datetime-local"')[:-1]]
        assert inputs
        assert all("UTC" in part for part in before), path
