"""The buttons of the admin at the API: the same permission, rules, history and audit log."""

from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from feature_flags.models import FeatureFlag, FlagRevision
from feature_flags.tests.factories import FeatureFlagFactory
from lib.actors import Actor
from lib.admin.verbs import VerbAdmin
from project.api import api as product_api
from project.staff_api import _bare, _path
from users.models import AuditEvent, User, UserSession
from users.services import api_keys
from users.tests.factories import UserFactory

OPERATOR = Actor.command("test")
EVERYTHING = ("people:activate", "people:deactivate", "people:export", "flags:switch", "flags:write", "messages:write")


@pytest.fixture
def key(db):
    """Of a superuser, with some scopes."""
    user = UserFactory(superuser=True)
    return api_keys.create(user, actor=OPERATOR, name="job", scopes=EVERYTHING)[1]


def test_every_verb_of_the_admin_has_an_operation():
    paths = {_bare(path.removeprefix("/api/staff")) for path in product_api.get_openapi_schema()["paths"]}
    pages = [page for page in admin.site._registry.values() if isinstance(page, VerbAdmin)]
    missing = [_path(page, verb) for page in pages for verb in page.verbs if _bare(_path(page, verb)) not in paths]

    assert not missing


def test_a_flag_is_switched_by_key_and_that_is_on_record(api, key):
    flag = FeatureFlagFactory(codename="FF_X", is_active=False)

    answer = api.call("POST", "/staff/flags/FF_X/switch/on", bearer=key)
    again = api.call("POST", "/staff/flags/FF_X/switch/on", bearer=key)

    assert answer.json() == {"changed": True, "message": "switched on."}
    assert again.json() == {"changed": False, "message": "on already."}
    assert FeatureFlag.objects.get(pk=flag.pk).is_active
    revision = FlagRevision.objects.latest("pk")
    assert revision.door == "staff"
    assert "Switch on: switched on." in LogEntry.objects.get().change_message


def test_a_protected_flag_asks_why(api, key):
    FeatureFlagFactory(codename="FF_X", is_active=False, is_protected=True)

    refused = api.call("POST", "/staff/flags/FF_X/switch/on", bearer=key)
    done = api.call("POST", "/staff/flags/FF_X/switch/on", {"reason": "launch"}, bearer=key)

    assert refused.status_code == 422
    assert refused.json()["detail"] == [{"type": "form_required", "loc": ["body", "reason"], "msg": "Say why."}]
    assert done.status_code == 200
    assert FlagRevision.objects.latest("pk").reason == "launch"


def test_a_person_is_deactivated_by_key_with_a_reason(api, key):
    someone = UserFactory()
    path = f"/staff/people/{someone.pk.hex}/deactivate"

    assert api.call("POST", path, bearer=key).status_code == 422
    assert api.call("POST", path, {"reason": "left"}, bearer=key).json()["changed"] is True

    event = AuditEvent.objects.get(event="user.deactivated")
    assert (event.door, event.data["reason"]) == ("staff", "left")
    assert event.data["key"].startswith("sbk_")
    assert len(event.data["key"]) == 12
    assert not User.objects.get(pk=someone.pk).is_active


def test_a_sensitive_verb_asks_people_for_a_fresh_proof(api, db, settings):
    someone = UserFactory()
    path = f"/staff/people/{someone.pk.hex}/deactivate"
    settings.USERS_STAFF_MFA = "off"
    api.sign_in(UserFactory(superuser=True))
    UserSession.objects.update(auth_at=timezone.now() - timedelta(hours=1))

    refused = api.call("POST", path, {"reason": "left"})
    UserSession.objects.update(auth_at=timezone.now())

    assert (refused.status_code, refused.json()["code"]) == (403, "reauthentication_required")
    assert api.call("POST", path, {"reason": "left"}).status_code == 200


def test_the_rules_of_the_admin_hold_for_each_object(api, db):
    """Staff do not act on staff above themselves."""
    above = UserFactory(superuser=True)
    support = UserFactory(staff=True)
    support.groups.add(*support.groups.model.objects.filter(name="Support"))
    api.sign_in(support)

    answer = api.call("POST", f"/staff/people/{above.pk.hex}/sign-out")

    assert answer.status_code == 403


def test_an_export_is_a_file(api, key):
    someone = UserFactory()

    answer = api.call("POST", f"/staff/people/{someone.pk.hex}/export", {"reason": "asked for"}, bearer=key)

    assert answer.status_code == 200
    assert "attachment" in answer["Content-Disposition"]
    assert someone.email.encode() in b"".join(answer.streaming_content if answer.streaming else [answer.content])


@pytest.mark.parametrize("where", ["people/x", "people/00000000000000000000000000000000", "flags/NO", "sessions/1"])
def test_what_there_is_not_is_404(api, key, where):
    verb = {"people": "activate", "flags": "switch/on", "sessions": "end"}[where.partition("/")[0]]
    if where.startswith("sessions"):
        key = api_keys.create(UserFactory(superuser=True), actor=OPERATOR, name="job", scopes=["people:sign-out"])[1]

    assert api.call("POST", f"/staff/{where}/{verb}", bearer=key).status_code == 404


def test_nobody_and_people_without_the_permission_are_refused(api, db, settings):
    settings.USERS_STAFF_MFA = "off"
    path = f"/staff/people/{UserFactory().pk.hex}/activate"
    assert api.call("POST", path).status_code == 401

    api.sign_in(UserFactory())
    assert api.call("POST", path).status_code == 403
    api.sign_in(UserFactory(staff=True))
    assert api.call("POST", path).json()["permission"] == "users.activate_user"
