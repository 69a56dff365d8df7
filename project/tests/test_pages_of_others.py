"""A page of one model prints no other model: of what its reader may not see, names at most."""

import itertools
import json

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse

from feature_flags.models import FeatureFlag, FlagRevision
from feature_flags.services import editing, segments, tokens
from feature_flags.tests.factories import COMMAND
from lib.actors import Actor, RequestInfo
from notifications.models import DeliveryEvent, ProviderState, Worker
from notifications.services import claims, endpoints
from notifications.tests.factories import MessageFactory
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
#: By model: what only its own readers may find, on whatever page.
MARKS = {
    "segment": "customer@segment.example",
    "flagtoken": "https://token.example",
    "providerstate": "their invoice is unpaid",
    "deliveryevent": "user complained by telephone",
    "worker": "web-17.internal",
    "message": "only-in-the-message@example.org",
    "auditevent": "reason-in-the-trail",
    "usersession": "203.0.113.77",
    "webhookendpoint": "https://hooks.example/only",
}
#: What each of five readers may not see.
HIDDEN = [
    {"segment", "flagtoken", "providerstate", "deliveryevent"},
    {"segment", "worker", "message", "auditevent"},
    {"flagtoken", "worker", "usersession", "webhookendpoint"},
    {"providerstate", "message", "usersession"},
    {"deliveryevent", "auditevent", "webhookendpoint"},
]


@pytest.fixture
def scene():
    """One of everything, each with its mark; the pages of none of them are empty."""
    from users.services import audit, sessions

    values = [{"field": "email", "operator": "IN", "values": [MARKS["segment"]]}]
    segment = segments.create_segment("Invited", constraints=values, **COMMAND)
    flag = editing.create("FF_A", is_active=True, rules=[{"segments": ["Invited"]}], **COMMAND)
    segments.edit_segment(segment, {"description": "Ours"}, **COMMAND)
    tokens.create_token("shop", kind="frontend", allowed_origins=[MARKS["flagtoken"]], **COMMAND)
    person = UserFactory.create()
    message = MessageFactory.create(user=person, to_address=MARKS["message"])
    endpoints.create(name="CRM", url=MARKS["webhookendpoint"], events=["message.failed"], actor=Actor.command("x"))
    claims.publish_failure(message, "refused", "550")
    event = {"provider": "mailersend", "event_id": "1", "kind": "bounced", "recipient": "x@example.org"}
    DeliveryEvent.objects.create(message=message, at=person.created_at, detail=MARKS["deliveryevent"], **event)
    ProviderState.objects.create(alias="email", paused=True, reason=MARKS["providerstate"], paused_by="command:x")
    Worker.objects.create(host=MARKS["worker"], pid=1, engine="worker")
    audit.record("user.deactivated", actor=Actor.command("x"), user=person, reason=MARKS["auditevent"])
    sessions.new_session(person, RequestInfo(ip=MARKS["usersession"]), "api", person.created_at)
    return flag


def clerk(*, without):
    """Staff who may look at everything but these models."""
    user = UserFactory.create(staff=True)
    shown = Permission.objects.filter(codename__startswith="view_")
    user.user_permissions.set(shown.exclude(codename__in=[f"view_{model}" for model in without]))
    client = Client()
    client.user = user
    client.force_login(user)
    return client


@pytest.fixture
def pages(scene):
    """The addresses of the scene's pages, not of what readers leave; one declared group is like another."""
    return list(addresses())


def addresses():
    yield reverse("admin:index")
    yield reverse("admin:activity") + "?by=all"
    yield reverse("admin:find") + "?q=only-in"
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{name}_changelist")
        for row in model._default_manager.all()[: 1 if model is Group else 20]:
            yield reverse(f"{name}_change", args=[row.pk])
            yield reverse(f"{name}_history", args=[row.pk])
    for flag in FeatureFlag.objects.all():
        yield reverse("admin:feature_flags_featureflag_who", args=[flag.pk]) + "?context=email%3Dx%40example.org"
    for revision in FlagRevision.objects.all():
        yield reverse("admin:feature_flags_flagrevision_restore", args=[revision.pk])


def read(client, pages):
    """Everything that the admin shows or hands out to this reader."""
    for path in pages:
        yield path, client.get(path, follow=True).content.decode()
    yield "export", export(client)


def export(client):
    flags = [flag.pk for flag in FeatureFlag.objects.all()]
    chosen = {"action": "export_json", "_selected_action": flags, "index": "0"}
    return client.post("/admin/feature_flags/featureflag/", chosen).content.decode()


def test_who_may_not_see_a_model_finds_it_on_no_page(pages, subtests):
    for first, second in itertools.permutations(MARKS, 2):
        assert any(first in hidden and second not in hidden for hidden in HIDDEN), (
            "the second's pages might show the first"
        )
    pages_of_all = list(read(clerk(without=()), pages))

    for hidden in HIDDEN:
        seen = list(read(clerk(without=hidden), pages))
        for model in hidden:
            with subtests.test(model=model, hidden=hidden):
                assert any(MARKS[model] in page for _, page in pages_of_all), "nobody would find it"
                assert [path for path, page in seen if MARKS[model] in page] == []


def test_a_segment_is_named_to_who_sees_flags_alone(scene):
    client = clerk(without={"segment"})

    exported = json.loads(export(client))
    shown = client.get(reverse("admin:feature_flags_featureflag_who", args=[scene.pk]), {"context": "email=x"})

    assert [rule["segments"] for rule in exported["flags"][0]["rules"]] == [["Invited"]]
    assert exported["segments"] == []
    assert "segment Invited" in shown.content.decode()
