"""Changes that a key asks for wait for a person's yes, and are then that person's."""

import json
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from feature_flags.models import FeatureFlag, FlagRevision
from feature_flags.tests.factories import FeatureFlagFactory
from lib.actors import Actor
from notifications.services import endpoints
from project.agents import operations, words
from users.models import ApiKey, AuditEvent, Proposal, User, UserSession
from users.services import api_keys, deletion, proposals
from users.tests.factories import UserFactory

OPERATOR = Actor.command("test")
SWITCH = {"operation": "switch_on_flag", "parameters": {"key": "FF_X"}, "reason": "The launch is today."}
PERSON = {"email": "ada@example.org", "first_name": "Ada", "last_name": "Lovelace"}
DEEP = json.loads("[" * 900 + "]" * 900)


@pytest.fixture
def flag(db):
    return FeatureFlagFactory(codename="FF_X", is_active=False)


@pytest.fixture
def agent(db):
    """A service account that may change flags and people, and a key that may only read and propose."""
    groups = Group.objects.filter(name="Admin")
    account = api_keys.create_service_account(name="agent", groups=groups, actor=OPERATOR)
    scopes = ("flags:read", "people:read", "agents:propose")
    return api_keys.create(account.user, actor=OPERATOR, name="assistant", scopes=scopes)[1]


@pytest.fixture
def ask(api, agent):
    """Propose by the key of the agent."""

    def ask(*, bearer=agent, **more):
        return api.call("POST", "/staff/proposals", {**SWITCH, **more}, bearer=bearer)

    return ask


@pytest.fixture
def page(superuser):
    client = Client()
    client.force_login(superuser)
    return client


def press(page, key, verb="approve", **body):
    return page.post(f"/admin/users/proposal/{key}/{verb}/", {"reason": "", **body}, follow=True)


def messages(response):
    return [str(message) for message in response.context["messages"]]


def test_a_change_waits_for_a_yes_and_names_both(ask, page, flag, superuser, agent):
    asked = ask()

    assert (asked.status_code, asked.json()["state"]) == (201, "pending")
    assert not FeatureFlag.objects.get(pk=flag.pk).is_active

    answer = press(page, asked.json()["id"], reason="go")

    assert messages(answer) == ["“Switch on: FF_X”: approved: switched on."]
    assert FeatureFlag.objects.get(pk=flag.pk).is_active
    revision = FlagRevision.objects.latest("pk")
    assert (revision.actor, revision.reason) == (superuser, f"(proposed by {agent[:12]})")
    assert any(f"proposed by {agent[:12]}" in row.change_message for row in LogEntry.objects.all())
    event = AuditEvent.objects.get(event="proposal.approved")
    assert (event.actor, event.data["proposed_by"], event.data["reason"]) == (superuser.pk.hex, agent[:12], "go")


def test_an_agent_reads_what_became_of_its_own_proposals_alone(api, ask, page, agent, flag):
    mine = ask().json()["id"]
    other = api_keys.create(UserFactory(superuser=True), actor=OPERATOR, name="other", scopes=["agents:propose"])[1]
    press(page, mine, "decline", reason="not today")

    read = api.call("GET", f"/staff/proposals/{mine}", bearer=agent).json()

    assert (read["state"], read["decision_reason"]) == ("declined", "not today")
    assert api.call("GET", f"/staff/proposals/{mine}", bearer=other).status_code == 404
    assert api.call("GET", "/staff/proposals", bearer=other).json()["items"] == []
    assert [row["id"] for row in api.call("GET", "/staff/proposals?state=declined", bearer=agent).json()["items"]] == [
        mine
    ]


def test_the_same_asked_for_again_is_one_proposal(ask, flag):
    first, again = ask(), ask()

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert Proposal.objects.count() == 1


def test_a_key_has_fifty_that_wait(ask, flag, monkeypatch):
    monkeypatch.setattr(proposals, "LIMIT", 1)
    ask()

    assert ask(operation="archive_flag").json()["code"] == "proposal_limit"
    Proposal.objects.update(lapses_at=timezone.now())
    assert ask(operation="archive_flag").status_code == 201


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"operation": "no_such"}, 404, "operation_unknown"),
        ({"operation": "list_flags", "parameters": {}}, 422, "not_proposable"),
        ({"operation": "why_flag_in_context", "parameters": {"codename": "FF_X"}, "body": {}}, 422, "not_proposable"),
        ({"operation": "create_flag_token", "parameters": {}, "body": {}}, 422, "not_proposable"),
        ({"operation": "approve_proposal", "parameters": {"key": "0" * 32}}, 422, "not_proposable"),
        ({"operation": "create_proposal", "parameters": {}, "body": SWITCH}, 422, "not_proposable"),
        ({"operation": "change_rights", "parameters": {"key": "0" * 32}, "body": {}}, 403, "forbidden"),
        ({"parameters": {}}, 422, "parameters_invalid"),
        ({"parameters": {"key": "FF_X", "other": 1}}, 422, "parameters_invalid"),
        ({"parameters": {"key": "FF_X/archive"}}, 422, "parameters_invalid"),
        ({"parameters": {"key": ".."}}, 422, "parameters_invalid"),
        ({"parameters": {"key": "FF_X?a=b"}}, 422, "parameters_invalid"),
        ({"parameters": {"key": "FF_X%2Farchive"}}, 422, "parameters_invalid"),
        ({"parameters": {"key": ["FF_X"]}}, 422, "parameters_invalid"),
        ({"parameters": {"key": "FF_NO"}}, 404, "thing_unknown"),
        ({"parameters": {"key": {"a": 1}}}, 422, "parameters_invalid"),
        ({"body": {"reason": 5}}, 422, "invalid"),
        ({"body": {"reason": "a\x00b"}}, 422, "proposal_invalid"),
        ({"operation": "import_flags", "parameters": {"format": {"a": 1}}, "body": {}}, 422, "parameters_invalid"),
        ({"operation": "restore_flag", "parameters": {"codename": "FF_X", "revision": "x"}}, 422, "invalid"),
        (
            {"operation": "send_code_person", "parameters": {"key": "0" * 32}, "body": {"a": 1}},
            422,
            "parameters_invalid",
        ),
        ({"operation": "pause_provider", "parameters": {"key": "none"}, "body": {"reason": "x"}}, 404, "thing_unknown"),
        ({"body": {"reason": "x", "is_active": False}}, 422, "parameters_invalid"),
        (
            {"operation": "create_person", "parameters": {}, "body": {**PERSON, "codename": "FF"}},
            422,
            "parameters_invalid",
        ),
        ({"operation": "import_flags", "parameters": {}, "body": DEEP}, 422, "proposal_invalid"),
        ({"operation": "import_flags", "parameters": {"reason": DEEP}, "body": {}}, 422, "proposal_invalid"),
        ({"if_match": '"7"'}, 412, "changed_meanwhile"),
        ({"reason": "x" * 501}, 422, "invalid"),
    ],
)
def test_what_cannot_be_done_is_refused_when_it_is_asked(ask, flag, change, status, code):
    answer = ask(**change)

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
    assert not Proposal.objects.exists()


def test_a_number_beyond_floats_is_refused(api, agent):
    asked = b'{"operation": "import_flags", "body": {"flags": [1e400]}}'

    assert api.call("POST", "/staff/proposals", asked, bearer=agent).json()["code"] == "proposal_invalid"


def test_a_huge_body_is_refused(ask, flag):
    body = {"document": {"label": "x" * 100_000}}
    asked = {"operation": "edit_flag", "parameters": {"codename": "FF_X"}, "body": body}

    assert ask(**asked).json()["code"] == "proposal_too_large"
    assert ask(**{**asked, "body": {"document": {"label": "x" * 1_100_000}}}).status_code == 413


@pytest.mark.parametrize("levels", [60, 900])
def test_a_deep_body_is_refused(api, flag, agent, levels):
    body = f'{{"operation": "import_flags", "body": {"[" * levels}{"]" * levels}}}'

    assert api.call("POST", "/staff/proposals", body, bearer=agent).json()["code"] == "proposal_invalid"


def test_who_approves_an_export_gets_the_file(ask, page, flag):
    someone = UserFactory()
    asked = ask(operation="export_person", parameters={"key": someone.pk.hex}, body={"reason": "asked for"}).json()

    answer = page.post(f"/admin/users/proposal/{asked['id']}/approve/", {"reason": ""})

    assert "attachment" in answer["Content-Disposition"]
    assert someone.email.encode() in b"".join(answer.streaming_content)
    assert Proposal.objects.get().state == "approved"
    assert AuditEvent.objects.get(event="export.made").data["proposed_by"].startswith("sbk_")


def test_a_key_without_the_scope_and_people_do_not_propose(ask, api, flag, agent, settings):
    settings.USERS_STAFF_MFA = "optional"
    plain = api_keys.create(UserFactory(superuser=True), actor=OPERATOR, name="b", scopes=["flags:switch"])[1]
    assert ask(bearer=plain).json()["permission"] == "users.add_proposal"
    api.sign_in(UserFactory(superuser=True))
    assert ask(bearer=api.bearer).json()["code"] == "key_needed"
    ApiKey.objects.filter(prefix=agent[:12]).update(revoked_at=timezone.now())
    assert ask().status_code == 401


def test_no_key_says_yes_or_no(api, ask, flag, agent):
    from users.services import key_scopes

    key = ask().json()["id"]
    everything = api_keys.create(UserFactory(superuser=True), actor=OPERATOR, name="b", scopes=key_scopes.SCOPES)[1]

    for verb in ("approve", "decline"):
        answer = api.call("POST", f"/staff/proposals/{key}/{verb}", {"reason": "x"}, bearer=everything)
        assert (answer.status_code, answer.json()["permission"]) == (403, "users.decide_proposal")
    assert Proposal.objects.get().state == "pending"


def test_people_say_yes_by_the_api_too(api, ask, flag, settings):
    settings.USERS_STAFF_MFA = "optional"
    key = ask().json()["id"]
    api.sign_in(UserFactory(superuser=True))

    done, again = (api.call("POST", f"/staff/proposals/{key}/approve") for _ in range(2))

    assert done.json() == {"changed": True, "message": "approved: switched on."}
    assert again.json()["changed"] is False
    assert FlagRevision.objects.filter(action="switch").count() == 1


def test_what_was_changed_meanwhile_is_not_done(ask, page, flag, superuser):
    key = ask().json()["id"]
    from feature_flags.services import editing

    editing.edit(flag, {"label": "Other"}, actor=OPERATOR)

    answer = press(page, key)

    assert messages(answer) == [
        "“Switch on: FF_X”: nothing was changed: It was changed in the meantime: read it again."
    ]
    assert not FeatureFlag.objects.get(pk=flag.pk).is_active
    row = Proposal.objects.get()
    assert (row.state, row.outcome_code) == ("failed", "CHANGED_MEANWHILE")
    assert AuditEvent.objects.get(event="proposal.approved").outcome == "refused"


def test_what_has_no_tag_is_not_changed_from_another_state_than_was_proposed(api, ask, page, db):
    someone = UserFactory(first_name="Ada")
    names = {"operation": "rename_person", "parameters": {"key": someone.pk.hex}}
    first, other = (ask(**names, body={"first_name": name}).json()["id"] for name in ("Grace", "Mary"))
    User.objects.filter(pk=someone.pk).update(last_name="Byron")

    press(page, first)
    press(page, other)

    assert User.objects.get(pk=someone.pk).first_name == "Grace"
    assert [Proposal.objects.get(pk=key).outcome_code for key in (first, other)] == ["", "CHANGED_MEANWHILE"]


def test_an_id_is_a_number_or_its_digits(ask, page, superuser):
    actor = Actor("admin", superuser)
    endpoint, _secret = endpoints.create(name="CRM", url="https://example.org", events=["flag.switched"], actor=actor)

    for key in (endpoint.pk, str(endpoint.pk)):
        asked = ask(operation="pause_webhook_endpoint", parameters={"key": key}, body={"reason": "moving"})
        assert asked.status_code == 201, asked.content
        said = messages(press(page, asked.json()["id"]))[0]
        assert said.startswith(f"“Pause: webhook endpoint {endpoint.pk}”: approved"), said
        endpoints.resume(endpoint, actor=actor)
    assert Proposal.objects.filter(state="approved").count() == 2


def test_who_decides_sees_what_cannot_be_seen(ask, page, flag):
    asked = ask(body={"reason": "a\u202eb"}, reason="c\u2066d<e>").json()

    shown = page.get(f"/admin/users/proposal/{asked['id']}/change/").content.decode()

    assert "a\\u202eb" in shown
    assert "c\\u2066d&lt;e&gt;" in shown
    assert not {"\u202e", "\u2066"} & set(shown)


def test_a_file_does_not_name_what_it_is_about(ask, page, flag):
    key = ask(operation="import_flags", parameters={}, body={"codename": "FF_HARMLESS"}).json()["id"]

    assert "FF_HARMLESS" not in page.get("/admin/users/proposal/").content.decode()
    assert "FF_HARMLESS" in page.get(f"/admin/users/proposal/{key}/change/").content.decode()


def test_an_edit_is_made_against_what_the_agent_read(ask, page, flag, api, agent):
    tag = api.call("GET", "/staff/flags/FF_X", bearer=agent)["ETag"]
    body = {"document": {"rollout_percent": 25}}
    asked = ask(operation="edit_flag", parameters={"codename": "FF_X"}, body=body, if_match=tag).json()

    shown = page.get(f"/admin/users/proposal/{asked['id']}/change/").content.decode()
    press(page, asked["id"])

    assert "100 % → 25 %" in shown, shown
    assert "PUT /api/staff/flags/FF_X" in shown
    assert FeatureFlag.objects.get(pk=flag.pk).document["rollout_percent"] == 25


def test_staff_see_and_decide_what_they_may_do_themselves(ask, flag, client, api, settings):
    settings.USERS_STAFF_MFA = "optional"
    key = ask().json()["id"]
    release, support = UserFactory(staff=True), UserFactory(staff=True)
    release.groups.set(Group.objects.filter(name="Release"))
    support.groups.set(Group.objects.filter(name="Support"))

    for person, seen in ((support, []), (release, [key])):
        api.sign_in(person)
        assert [row["id"] for row in api.call("GET", "/staff/proposals").json()["items"]] == seen
        assert api.call("GET", f"/staff/proposals/{key}").status_code == (200 if seen else 404)
    client.force_login(support)
    assert "FF_X" not in client.get("/admin/users/proposal/").content.decode()
    assert client.post(f"/admin/users/proposal/{key}/approve/", {"reason": ""}).status_code == 302
    assert Proposal.objects.get().state == "pending"

    client.force_login(release)
    assert "Switch on: FF_X" in client.get("/admin/users/proposal/").content.decode()
    assert press(client, key).status_code == 200
    assert Proposal.objects.get().state == "approved"


def test_a_sensitive_change_asks_who_says_yes_for_a_proof(ask, page, db):
    someone = UserFactory()
    asked = ask(operation="deactivate_person", parameters={"key": someone.pk.hex}, body={"reason": "left"})
    assert asked.status_code == 201, asked.content
    UserSession.objects.update(auth_at=timezone.now() - timedelta(hours=1))

    waits = page.post(f"/admin/users/proposal/{asked.json()['id']}/approve/", {"reason": ""})

    assert "/admin/reauthenticate/" in waits.headers.get("Location", "") + waits.content.decode()
    UserSession.objects.update(auth_at=timezone.now())
    press(page, asked.json()["id"])
    assert not User.objects.get(pk=someone.pk).is_active
    event = AuditEvent.objects.get(event="user.deactivated")
    assert event.data["proposed_by"].startswith("sbk_")
    assert event.data["reason"] == "left"


def test_a_yes_that_needs_another_permission_leaves_it_waiting(ask, flag, client):
    """A flag that goes on by an edit takes the permission to switch as well."""
    key = ask(operation="edit_flag", parameters={"codename": "FF_X"}, body={"document": {"is_active": True}}).json()
    editor = UserFactory(staff=True)
    from django.contrib.auth.models import Permission

    names = ("view_featureflag", "change_featureflag", "view_proposal", "decide_proposal")
    editor.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(editor)

    answer = press(client, key["id"])

    assert "switch_featureflag" in messages(answer)[0]
    assert Proposal.objects.get().state == "pending"
    assert not FeatureFlag.objects.get(pk=flag.pk).is_active


@pytest.mark.parametrize("end", ["revoked", "expired", "deactivated"])
def test_a_proposal_is_as_good_as_its_key(ask, page, flag, end):
    key = ask().json()["id"]
    now = timezone.now()
    if end == "deactivated":
        User.objects.filter(email__startswith="agent@").update(is_active=False, deactivated_at=now)
    else:
        ApiKey.objects.update(**{"revoked_at" if end == "revoked" else "expires_at": now})

    answer = press(page, key)

    assert "has ended" in messages(answer)[0]
    assert Proposal.objects.get().state == "lapsed"
    assert not FeatureFlag.objects.get(pk=flag.pk).is_active


def test_a_proposal_lapses_after_a_week(ask, page, flag, api, agent):
    key = ask().json()["id"]
    Proposal.objects.update(lapses_at=timezone.now())

    assert api.call("GET", f"/staff/proposals/{key}", bearer=agent).json()["state"] == "lapsed"
    assert press(page, key).status_code == 200
    assert not FeatureFlag.objects.get(pk=flag.pk).is_active
    deletion.purge(timezone.now())
    assert Proposal.objects.get().state == "lapsed"


def test_what_it_held_is_forgotten_after_a_month(ask, page, flag):
    key = ask(operation="rename_flag", body={"codename": "FF_Y"}).json()
    deletion.purge(timezone.now() + timedelta(days=29))
    assert Proposal.objects.get().parameters == {"key": "FF_X"}

    deletion.purge(timezone.now() + timedelta(days=31))
    deletion.purge(timezone.now() + timedelta(days=31))

    row = Proposal.objects.get()
    assert (row.parameters, row.body, row.reason, row.state) == ({}, None, "", "lapsed")
    assert page.get(f"/admin/users/proposal/{key['id']}/change/").status_code == 200


def test_the_overview_counts_what_waits(ask, page, flag):
    assert "Proposals of agents" not in page.get("/admin/").content.decode()
    ask()
    assert "Proposals of agents that wait for a yes or no" in page.get("/admin/").content.decode()


def test_every_change_has_words_for_people():
    changes = {each.id for each in operations.known().values() if each.is_for_agents and not each.is_read}

    assert {name for name in changes if operations.find(name).verb is None} == words.LABELS.keys()


def test_every_operation_for_staff_is_known_by_its_id():
    from project.api import api as product_api

    document = product_api.get_openapi_schema()["paths"]
    named = {
        (about["operationId"], method.upper(), path)
        for path, methods in document.items()
        for method, about in methods.items()
        if path.startswith("/api/staff/")
    }

    assert {(each.id, each.method, each.path) for each in operations.known().values()} == named
