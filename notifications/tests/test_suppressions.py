from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.utils import timezone

from notifications.models import Suppression
from notifications.services.recipients import lift, suppress

pytestmark = pytest.mark.django_db


def on_list(until=None, reason="bounce"):
    changed = suppress("Ada@Example.org ", scope="all", reason=reason, source="test", expires_at=until)
    return changed, Suppression.objects.get(address="ada@example.org", scope="all")


def test_an_address_stands_on_the_list_once_whatever_its_spelling():
    assert on_list()[0] is True
    assert suppress("ada@example.org", scope="all", reason="bounce", source="test") is False

    assert Suppression.objects.get().address == "ada@example.org"


def test_a_longer_entry_is_never_made_shorter():
    now = timezone.now()

    assert on_list(now + timedelta(days=1))[1].expires_at == now + timedelta(days=1)
    assert on_list(now + timedelta(days=30), "staff")[1].reason == "staff"
    changed, row = on_list(now + timedelta(days=2))
    assert (changed, row.expires_at) == (False, now + timedelta(days=30))
    assert on_list()[1].expires_at is None
    assert on_list(now + timedelta(days=900))[1].expires_at is None


def test_lifting_says_whether_there_was_anything():
    on_list()
    suppress("ada@example.org", scope="optional", reason="staff", source="test")

    assert lift("ADA@example.org", scope="all") is True
    assert lift("ada@example.org", scope="all") is False
    assert Suppression.objects.get().scope == "optional"


def test_who_was_listed_for_the_senders_trouble_is_written_to_again():
    sources = {
        "550 5.1.90 daily limit": True,
        "550 5.1.20 several senders": True,
        "550 5.1.0 rejected": True,
        "550 5.1.10": False,
        "550 5.1.1 no such user 5.1.90": False,
        "webhook:ses": False,
    }
    for n, source in enumerate(sources):
        suppress(f"p{n}@example.org", scope="all", reason="bounce", source=source)
    suppress("p0@example.org", scope="optional", reason="complaint", source="550 5.1.90")

    import_module("notifications.migrations.0004_lift_suppressions_for_the_senders_trouble").lift(apps, None)

    left = set(Suppression.objects.filter(scope="all").values_list("source", flat=True))
    assert left == {source for source, is_lifted in sources.items() if not is_lifted}
    assert Suppression.objects.filter(scope="optional").exists()
