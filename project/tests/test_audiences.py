"""Announcements to a segment, and to whoever gets a flag: people are asked as the API asks for them."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from feature_flags import evaluation
from feature_flags.services import editing, segments
from feature_flags.tests.factories import COMMAND
from lib.actors import Actor
from notifications.models import Announcement, Message
from notifications.services import announcements
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
ADD = "/admin/notifications/announcement/add/"
WORDS = {"en": {"title": "News", "body": "Something new."}}
EXAMPLE = [{"field": "emailDomain", "operator": "IN", "values": ["example.com"]}]


@pytest.fixture
def people():
    return UserFactory.create_batch(3), [UserFactory.create(email=f"{n}@example.com") for n in range(2)]


def announced(audience, choice):
    given = {"words": WORDS, "channels": ["email"], "audience": audience, "choice": str(choice)}
    row = announcements.save(Announcement(), **given, actor=Actor.command("tests"))
    announcements.send(row, actor=Actor.command("tests"))
    for _ in announcements.work():
        pass
    row.refresh_from_db()
    return row


def recipients(row):
    return set(Message.objects.filter(announcement=row).values_list("user", flat=True))


def keys(people):
    return {person.pk for person in people}


def test_those_in_a_segment(people):
    _others, meant = people
    segment = segments.create_segment("Partners", constraints=EXAMPLE, **COMMAND)

    row = announced("segment", segment.pk)

    assert row.audience_label == "Segment Partners"
    assert (row.counts["people"], row.counts["looked"]) == (2, 5)
    assert recipients(row) == keys(meant)


def test_those_who_get_a_flag(people):
    _others, meant = people
    rules = [{"constraints": EXAMPLE}]
    flag = editing.create("FF_NEW", is_active=True, rules=rules, **COMMAND)

    row = announced("flag", flag.pk)

    assert row.audience_label == "FF_NEW is on"
    assert recipients(row) == keys(meant)


def test_those_who_get_a_variant(people):
    everyone = [*people[0], *people[1], *UserFactory.create_batch(10)]
    variants = [{"name": "blue", "weight": 500}, {"name": "red", "weight": 500}]
    flag = editing.create("FF_COLOUR", is_active=True, variants=variants, **COMMAND)

    row = announced("flag", f"{flag.pk}/blue")

    meant = {person.pk for person in everyone if evaluation.variant("FF_COLOUR", person).name == "blue"}
    assert 0 < len(meant) < len(everyone)
    assert recipients(row) == meant
    assert row.audience_label == "FF_COLOUR gives blue"


def test_a_flag_that_is_archived_meanwhile_stops_it(people):
    flag = editing.create("FF_NEW", is_active=True, **COMMAND)
    given = {"words": WORDS, "channels": ["email"], "audience": "flag", "choice": str(flag.pk)}
    row = announcements.save(Announcement(), **given, actor=Actor.command("tests"))
    announcements.send(row, actor=Actor.command("tests"))
    editing.archive(flag, **COMMAND)

    for _ in announcements.work():
        pass

    row.refresh_from_db()
    assert (row.state, row.note) == ("paused", "The feature flag is archived, or does not exist any more.")
    assert not Message.objects.exists()


@pytest.mark.parametrize("sees", ["view_segment", "view_featureflag"])
def test_only_what_the_reader_may_see_is_offered(people, sees):
    segments.create_segment("Partners", constraints=EXAMPLE, **COMMAND)
    editing.create("FF_NEW", is_active=True, **COMMAND)
    clerk = UserFactory.create(staff=True)
    names = ("add_inappnotification", "add_message", sees)
    clerk.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(clerk)

    page = client.get(ADD).content.decode()

    assert ("Partners" in page) == (sees == "view_segment")
    assert ("FF_NEW is on" in page) == (sees == "view_featureflag")
