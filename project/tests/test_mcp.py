"""The MCP server by its own package's client: over streamable HTTP against a server, over stdio against the command."""

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import AsyncRequestFactory
from django.test import Client as DjangoClient
from django.utils import timezone
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from feature_flags.models import FeatureFlag, FlagRevision
from feature_flags.services import editing
from lib import async_db
from lib.actors import Actor
from project.agents import door, http, operations, tools
from project.tests import processes
from users.models import ApiKey, AuditEvent, Proposal, RateBucket
from users.services import api_keys, staff_calls
from users.tests.factories import UserFactory

OPERATOR = Actor.command("test")
SWITCH = {"operation": "switch_on_flag", "parameters": {"key": "FF_X"}, "reason": "The launch is today."}
READING = ("flags:read", "people:read", "agents:propose")


@pytest.fixture
def agent(server):
    """`agent(*scopes)`: a key of a service account; the flag FF_X is off."""
    with server.connected():
        FeatureFlag.objects.filter(codename="FF_X").exists() or editing.create("FF_X", actor=OPERATOR)
        editing.switch(editing.get("FF_X"), on=False, actor=OPERATOR)
        owner = UserFactory.create(staff=True)
        owner.groups.set(Group.objects.filter(name="Admin"))

        def key(*scopes):
            with server.connected():
                return api_keys.create(owner, actor=OPERATOR, name="assistant", scopes=scopes)[1]

        yield key


@asynccontextmanager
async def over_http(server, key):
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=processes.DEADLINE) as sending:
        yield streamable_http_client(f"{server.url}/mcp", http_client=sending)


@asynccontextmanager
async def over_stdio(server, key):
    env = {**server.env, "SWITCHBOARD_KEY": key}
    manage = str(Path(settings.BASE_DIR) / "manage.py")
    yield StdioServerParameters(command=sys.executable, args=[manage, "mcp"], env=env)


def talk(transport, conversation, **options):
    """What the conversation with a connected client returns."""

    async def run():
        async with transport as way, Client(way, **options) as client:
            return await conversation(client)

    return asyncio.run(run())


def call(transport, name, given=None, **options):
    return talk(transport, lambda client: client.call_tool(name, given or {}), **options)


async def propose(client):
    """What an agent does: look, find, ask."""
    offered = {tool.name: tool for tool in (await client.list_tools()).tools}
    flag = await client.call_tool("get_flag", {"codename": "FF_X"})
    found = await client.call_tool("search_operations", {"query": "switch a flag on"})
    told = await client.call_tool("describe_operation", {"operation": "switch_on_flag"})
    asked = await client.call_tool("propose_change", {**SWITCH, "if_match": flag.structured_content["etag"]})
    return offered, flag, found, told, asked


@pytest.mark.parametrize("way", [over_http, over_stdio])
def test_an_agent_looks_asks_and_a_person_decides(server, agent, way):
    key, page = agent(*READING), DjangoClient()
    with server.connected():
        person = UserFactory.create(superuser=True)

    async def converse(client):
        seen = await propose(client)
        result = seen[-1].structured_content["result"]
        await asyncio.to_thread(decide, result["id"])
        return *seen, await client.call_tool("get_proposal", {"key": result["id"]})

    def decide(proposal):
        with server.connected():
            assert not FeatureFlag.objects.get(codename="FF_X").is_active
            page.force_login(person)
            page.post(f"/admin/users/proposal/{proposal}/approve/", {"reason": ""})

    offered, flag, found, told, asked, read = talk(way(server, key), converse)

    assert flag.structured_content["result"]["document"]["is_active"] is False
    assert offered["get_flag"].annotations.read_only_hint is True
    assert offered["propose_change"].annotations.destructive_hint is False
    assert not {"apply_change", "list_messages", "list_audit"} & offered.keys()
    assert found.structured_content["operations"][0]["id"] == "switch_on_flag"
    assert told.structured_content["parameters"]["required"] == ["key"]
    assert (asked.is_error, asked.structured_content["status"]) == (False, 201)
    assert read.structured_content["result"]["state"] == "approved"
    with server.connected():
        assert FeatureFlag.objects.get(codename="FF_X").is_active
        revision = FlagRevision.objects.latest("pk")
        assert (revision.actor, revision.reason) == (person, f"(proposed by {key[:12]})")
        assert AuditEvent.objects.filter(event="proposal.created").latest("pk").data["key"] == key[:12]


def test_older_clients_shake_hands_first(server, agent):
    found = call(over_http(server, agent("flags:read")), "list_flags", {"search": "FF_X"}, mode="legacy")

    assert [row["codename"] for row in found.structured_content["result"]["items"]] == ["FF_X"]


def test_a_key_that_may_act_changes_at_once(server, agent):
    key = agent("flags:read", "flags:switch", "agents:act")
    asked = {name: SWITCH[name] for name in ("operation", "parameters")}

    done = call(over_http(server, key), "apply_change", asked)
    other = call(over_http(server, key), "apply_change", {**asked, "operation": "archive_flag"})

    assert done.structured_content["result"]["changed"] is True
    assert (other.is_error, other.structured_content["status"]) == (True, 403)
    with server.connected():
        assert FlagRevision.objects.latest("pk").action == "switch"
        assert not Proposal.objects.filter(key_prefix=key[:12]).exists()


@pytest.mark.parametrize(
    ("scopes", "name", "given", "code"),
    [
        (["flags:read"], "propose_change", SWITCH, "forbidden"),
        (["flags:read", "flags:switch"], "apply_change", {**SWITCH, "reason": ...}, "scope_missing"),
        (["flags:read"], "list_people", {}, "forbidden"),
        (["flags:read"], "get_flag", {"codename": "FF_NO"}, "flag_unknown"),
        (["flags:read"], "get_flag", {"codename": "FF_X/history"}, "parameters_invalid"),
        (["flags:read"], "get_flag", {"codename": "..", "limit": 1}, "parameters_invalid"),
        (["flags:read"], "list_flags", {"limit": 1000}, "invalid"),
        (["flags:read"], "list_flags", {"no_such": 1}, "parameters_invalid"),
        (["flags:read"], "list_flags", {"search": {"a": 1}}, "parameters_invalid"),
        (["flags:read"], "read", {"operation": "list_flags", "body": {}}, "parameters_invalid"),
        (["flags:read"], "read", {"operation": "switch_on_flag", "parameters": {"key": "FF_X"}}, "changes_something"),
        (["flags:read"], "read", {"operation": "no_such"}, "operation_unknown"),
        (["flags:read"], "read", {"operation": 5}, "arguments_invalid"),
        (["agents:propose"], "propose_change", {**SWITCH, "if_match": "\u20ac"}, "arguments_invalid"),
        (["flag-tokens:write"], "describe_operation", {"operation": "create_flag_token"}, "not_for_agents"),
        (["agents:read"], "describe_operation", {"operation": "approve_proposal"}, "not_for_agents"),
    ],
)
def test_what_is_refused_is_an_error_with_our_code(server, agent, scopes, name, given, code):
    given = {key: value for key, value in given.items() if value is not ...}

    refused = call(over_http(server, agent(*scopes)), name, given)

    assert (refused.is_error, refused.structured_content["code"]) == (True, code), refused


def test_a_key_that_has_ended_is_refused_amid_a_conversation(server, agent):
    key = agent("flags:read")

    async def converse(client):
        before = await client.call_tool("list_flags", {})
        await asyncio.to_thread(revoke)
        with pytest.raises(MCPError):
            await client.call_tool("list_flags", {})
        return before

    def revoke():
        with server.connected():
            ApiKey.objects.filter(prefix=key[:12]).update(revoked_at=timezone.now())

    assert talk(over_http(server, key), converse).is_error is False
    assert not asks_well(server, key)


def asks_well(server, key, **headers):
    return post(server, key, **headers).status_code == 200


def post(server, key, body=None, **headers):
    sent = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18", **headers}
    sent |= {"Authorization": f"Bearer {key}"} if key else {}
    body = body or {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    return httpx2.post(f"{server.url}/mcp", json=body, headers=sent, timeout=processes.DEADLINE)


def test_who_is_let_in(server, agent):
    key = agent("flags:read")

    assert asks_well(server, key)
    assert post(server, "").status_code == 401
    assert post(server, "").headers["WWW-Authenticate"] == "Bearer"
    assert post(server, f"{key[:-1]}{'a' if key[-1] != 'a' else 'b'}").status_code == 401
    assert post(server, key, Origin="https://evil.example").status_code == 403
    assert post(server, key, Host="evil.example").status_code == 400
    assert post(server, key, {"x": "y" * 1_100_000}).status_code == 413
    with httpx2.Client(headers={"Authorization": f"Bearer {key}"}, timeout=processes.DEADLINE) as client:
        assert client.get(f"{server.url}/mcp").status_code == 405
        assert client.delete(f"{server.url}/mcp").headers["Allow"] == "POST"


def test_each_message_counts_as_a_call(server, agent):
    key = agent("flags:read")
    first = post(server, key)
    with server.connected():
        bucket = staff_calls.LIMIT.of_thing("caller", ApiKey.objects.get(prefix=key[:12]).pk.hex)
        blocked_until = int(timezone.now().timestamp() * 1000) + 60_000
        RateBucket.objects.filter(key=bucket.key).update(blocked_until=blocked_until)
    last = post(server, key)

    assert first.headers["RateLimit"].startswith('"staff";r=599;')
    assert (last.status_code, last.json()["code"]) == (429, "too_many_requests")
    assert int(last.headers["Retry-After"]) > 0


def test_a_database_that_is_away_is_told_without_its_words(monkeypatch):
    async def away(*args):
        raise OperationalError("connection to 10.0.0.1 refused")

    monkeypatch.setattr(async_db, "fetch", away)
    caller = door.Caller(api_keys.new_secret())
    request = AsyncRequestFactory().post("/mcp", headers={"authorization": f"Bearer {caller.secret}"})

    async def ask():
        async with Client(tools.server(None, lambda context: caller)) as client:
            for asked in (client.list_tools(), client.call_tool("list_flags", {})):
                with pytest.raises(MCPError, match="Not available now") as refused:
                    await asked
                assert refused.value.error.data == {"code": "unavailable"}
        return await http.endpoint(request)

    answer = asyncio.run(ask())

    assert (answer.status_code, answer["Retry-After"]) == (503, "1")


def test_off_there_is_no_such_page_and_nothing_is_loaded(tmp_path):
    code = (
        "import sys, project.urls, project.asgi; from django.test import Client;"
        "print(Client().post('/mcp', headers={'host': 'localhost'}).status_code, 'mcp' in sys.modules)"
    )

    loaded = processes.manage("shell", "-c", code, env=processes.environment(f"sqlite:///{tmp_path}/none"))

    assert loaded.stdout.split()[-2:] == ["404", "False"], loaded.stderr


@pytest.mark.parametrize(("is_on", "says"), [(False, "set MCP=1"), (True, "Set SWITCHBOARD_KEY")])
def test_the_command_says_what_is_missing(settings, monkeypatch, capsys, is_on, says):
    settings.MCP = is_on
    monkeypatch.setenv("SWITCHBOARD_KEY", "sbk_wrong")

    with pytest.raises(CommandError) as refused:
        call_command("mcp")

    assert says in str(refused.value)
    assert "sbk_wrong" not in str(refused.value)
    assert capsys.readouterr().out == ""


def test_what_is_too_much_is_not_handed_on(server, agent, monkeypatch):
    from project.asgi import doors

    monkeypatch.setattr(door, "MOST_BYTES", 10)
    caller = door.Caller("sbk_none", "127.0.0.1", {"host": "localhost"})

    answer = asyncio.run(door.ask(doors, caller, "GET", "/api/_status"))

    assert (answer.status, answer.is_cut, len(answer.value)) == (200, True, 10)


def test_tools_are_few_and_what_they_lead_to_is_whole():
    offered = [tools._named(name) for name in tools.NAMED] + [tool for _, tool in tools.GENERIC.values()]
    superuser = UserFactory.build(superuser=True)

    assert sum(len(tool.model_dump_json(exclude_none=True)) for tool in offered) < 15_000
    for operation in operations.known().values():
        if operation.is_for_agents:
            told = tools._described(operation, superuser)
            assert "$ref" not in str(told["parameters"]) + str(told["body"]), operation.id
            assert set(told["parameters"]["properties"]) == {*operation.names, *operation.query}, operation.id
            assert bool(told["body"] is not None) == operation.takes_body, operation.id


def test_proposals_of_two_at_once_are_decided_once(server, agent):
    """Two people in two processes press at the same moment."""
    from concurrent.futures import ThreadPoolExecutor

    key = agent(*READING)
    asked = call(over_http(server, key), "propose_change", SWITCH).structured_content["result"]["id"]
    from users.services import sessions

    bearers = []
    with server.connected():
        for _ in range(2):
            actor = Actor("api", UserFactory.create(superuser=True))
            user_session = sessions.opened(actor.user, actor, timezone.now(), amr=("pwd", "otp"))
            bearers.append(user_session[1].access)

    def approve(bearer):
        address = f"{server.url}/api/staff/proposals/{asked}/approve"
        return httpx2.post(address, headers={"Authorization": f"Bearer {bearer}"}, timeout=processes.DEADLINE).json()

    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(approve, bearers))

    assert sorted(answer["changed"] for answer in answers) == [False, True], answers
    with server.connected():
        assert Proposal.objects.get(pk=asked).state == "approved"
        assert FlagRevision.objects.filter(reason=f"(proposed by {key[:12]})").count() == 1
