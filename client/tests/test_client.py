"""The command `switchboard` as others start it: a process with an address and a key, without a package of ours."""

import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from feature_flags.models import FlagRevision
from feature_flags.tests.factories import FeatureFlagFactory
from lib.actors import Actor
from project.api import api as product_api
from project.tests.processes import DEADLINE, serving
from users.models import AuditEvent, User
from users.services import api_keys
from users.tests.factories import UserFactory

CLIENT = Path(__file__).resolve().parents[1]
SCOPES = ("people:read", "people:write", "people:deactivate", "people:export", "flags:switch", "flags:write")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("served"), WEB_CONCURRENCY="1") as running:
        yield running


@pytest.fixture(scope="module")
def key(server):
    """Of a superuser, with some scopes."""
    with server.connected():
        user = UserFactory(superuser=True)
        return api_keys.create(user, actor=Actor.command("test"), name="job", scopes=SCOPES)[1]


@pytest.fixture
def start(tmp_path):
    """Run the command at an address; what it printed, which is never the key."""

    def start(url, key, *arguments, **more):
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CLIENT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        command = [sys.executable, "-S", "-m", "switchboard_client", *arguments]
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", "timeout": DEADLINE, **more}
        more["umask"] = 0o022
        env |= {"SWITCHBOARD_URL": url, "SWITCHBOARD_API_KEY": key}
        ended = subprocess.run(command, cwd=tmp_path, env=env, **more)
        assert not key or key not in f"{ended.stdout}{ended.stderr}"
        assert "Traceback" not in ended.stderr
        return ended

    return start


@pytest.fixture
def run(start, server, key):
    return lambda *arguments, **more: start(server.url, key, *arguments, **more)


def person(server, email, **fields):
    with server.connected():
        return UserFactory(email=email, **fields).pk


def refused(ended, code, *words):
    """Whether it ended with this code and one line that has these words."""
    line = ended.stderr
    return (
        ended.returncode == code
        and not ended.stdout
        and line.startswith("switchboard: ")
        and line.count("\n") == 1
        and all(word in line for word in words)
    )


# --- A server ---------------------------------------------------------------------------------------------------------


def test_a_protected_flag_is_switched_with_a_reason(run, server):
    with server.connected():
        FeatureFlagFactory(codename="FF_GUARDED", is_active=False, is_protected=True)

    without = run("flags", "switch", "FF_GUARDED", "on")
    done = run("flags", "switch", "FF_GUARDED", "on", "--reason", "launch")
    again = run("flags", "switch", "FF_GUARDED", "--reason=launch", "on")

    assert refused(without, 1, "reason: Say why.", "422")
    assert (done.returncode, done.stdout, done.stderr) == (0, "switched on.\n", "")
    assert (again.returncode, again.stdout) == (0, "on already.\n")
    with server.connected():
        assert FlagRevision.objects.latest("pk").reason == "launch"


def test_a_flag_is_found_read_and_changed_only_while_it_is_what_was_read(run, server):
    with server.connected():
        FeatureFlagFactory(codename="FF_EDITED", is_active=True)

    listed = run("flags", "list", "--search", "edited", "--active", "--columns", "codename")
    read = json.loads(run("flags", "get", "FF_EDITED", "--json").stdout)
    body = json.dumps({"document": {**read["document"], "description": "new"}})
    edit = ("flags", "edit", "FF_EDITED", "--json-body", "-", "--reason", "clearer")
    done = run(*edit, "--if-match", str(read["revision"]), input=body)
    late = run(*edit, "--if-match", str(read["revision"]), input=body)

    assert listed.stdout.split() == ["CODENAME", "FF_EDITED"]
    assert done.returncode == 0, done.stderr
    assert refused(late, 1, "412")
    with server.connected():
        assert FlagRevision.objects.latest("pk").reason == "clearer"


def test_a_list_is_a_table_and_with_all_follows_its_pages(run, server):
    emails = [f"q{number}@example.org" for number in range(5)]
    for email in emails:
        person(server, email, last_name="Quartey")

    asked = ("people", "list", "--search", "quartey", "--limit", "2", "--columns", "email,is_active")
    first, whole = run(*asked), run(*asked, "--all")
    told = json.loads(run(*asked, "--all", "--json").stdout)

    assert first.stdout.splitlines()[0].split() == ["EMAIL", "IS_ACTIVE"]
    assert len(first.stdout.splitlines()) == 3
    assert "--all" in first.stderr
    assert sorted(line.split()[0] for line in whole.stdout.splitlines()[1:]) == emails
    assert whole.stderr == ""
    assert sorted(item["email"] for item in told["items"]) == emails
    assert told["next"] is None


def test_booleans_of_a_list_are_options_by_their_short_names_too(run, server):
    person(server, "gone@example.org", last_name="Boole", is_active=False)
    person(server, "here@example.org", last_name="Boole")
    asked = ("people", "list", "--search", "boole", "--columns", "email")

    assert run(*asked, "--active").stdout.split() == ["EMAIL", "here@example.org"]
    assert run(*asked, "--no-is-active").stdout.split() == ["EMAIL", "gone@example.org"]


def test_a_person_is_named_by_an_address(run, server):
    """Also where the address is a part of another's."""
    person(server, "nan-address@example.org")
    known = person(server, "an-address@example.org")

    done = run("people", "deactivate", "An-Address@Example.ORG", "--reason", "left")
    unknown = run("people", "deactivate", "address@example.org", "--reason", "left")

    assert done.returncode == 0, done.stderr
    assert refused(unknown, 1, "There is no person address@example.org.")
    with server.connected():
        assert not User.objects.get(pk=known).is_active
        assert User.objects.get(email="nan-address@example.org").is_active
        event = AuditEvent.objects.filter(event="user.deactivated").latest("pk")
        assert (event.user_id, event.data["reason"], event.door) == (known, "left", "staff")


def test_one_thing_is_lines_and_json_is_the_answer_as_it_came(run, server):
    known = person(server, "lines@example.org", first_name="Ada")

    shown = run("people", "get", known.hex)
    told = run("people", "get", known.hex, "--json")

    assert ["email", "lines@example.org"] in [line.split() for line in shown.stdout.splitlines()]
    assert ["is_active", "yes"] in [line.split() for line in shown.stdout.splitlines()]
    assert told.stdout.count("\n") == 1
    assert json.loads(told.stdout)["first_name"] == "Ada"


def test_a_body_comes_from_a_file_and_options_stand_above_it(run, server):
    known = person(server, "body@example.org")
    given = json.dumps({"first_name": "Grace", "last_name": "Hopper"})

    done = run("people", "rename", known.hex, "--json-body", "-", "--first-name", "G.", "--json", input=given)
    broken = run("people", "rename", known.hex, "--json-body", "-", input="{")

    names = json.loads(done.stdout)
    assert (names["first_name"], names["last_name"]) == ("G.", "Hopper")
    assert refused(broken, 2, "--json-body")


def test_an_export_goes_to_a_file_for_its_owner_alone_or_to_standard_output(run, server, tmp_path):
    known = person(server, "export@example.org")
    asked = ("people", "export", known.hex, "--reason", "asked for")

    printed = run(*asked)
    written = run(*asked, "-o", "export.json")

    assert "export@example.org" in printed.stdout
    assert (written.returncode, written.stdout, written.stderr) == (0, "", "")
    assert (tmp_path / "export.json").read_text().count("export@example.org") == 1
    assert (tmp_path / "export.json").stat().st_mode & 0o777 == 0o600


def test_what_the_server_refuses_is_one_line_and_exit_code_1(run, start, server, key):
    assert refused(run("audit", "list"), 1, "This needs the permission users.view_auditevent. (403 forbidden); request")
    assert refused(run("people", "get", "nobody"), 1, "404")
    assert refused(start(server.url, key[:-1] + ("y" if key[-1] == "x" else "x"), "people", "list"), 1, "401")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["flag", "switch"], ["no flag among", "flags", "people"]),
        (["flags", "toggle", "FF_X"], ["no verb toggle", "switch"]),
        (["flags"], ["no verb", "switch"]),
        (["flags", "switch", "FF_X"], ["flags switch KEY off or flags switch KEY on"]),
        (["flags", "switch", "FF_X", "up"], ["flags switch KEY off or flags switch KEY on"]),
        (["people", "get", ".."], ["no key"]),
        (["people", "list", "--serach", "x"], ["--serach"]),
        (["people", "list", "--look", "tired"], ["--look", "tired", "paused, no-factor"]),
        (["people", "list", "--limit", "many"], ["--limit", "integer"]),
        (["audit", "list", "--since", "yesterday"], ["--since", "date-time"]),
        (["people", "deactivate", "x"], ["--reason is needed"]),
        (["people", "activate", "x", "--all"], ["--all"]),
        (["people", "list", "--json-body", "-"], ["--json-body"]),
        (["people", "list", "--url", "http://api.example.org"], ["https://"]),
        (["people", "list", "--url", "https://me:secret@api.example.org"], ["address"]),
        (["people", "list", "--key-file", "/nowhere"], ["/nowhere"]),
        (["people", "list", "--timeout", "0"], ["--timeout"]),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(run, arguments, words):
    assert refused(run(*arguments), 2, *words)


def test_what_there_is_is_told_without_a_key(start, server):
    whole = start(server.url, "", "--help")
    flags = start(server.url, "", "flags", "--help")
    switch = start(server.url, "", "flags", "switch", "--help")
    listed = start(server.url, "", "people", "list", "--help")

    assert "\npeople: activate, create, deactivate" in whole.stdout
    assert "\nflags switch KEY on " in flags.stdout
    for words in ("flags switch KEY off", "flags switch KEY on", "--reason TEXT", "scope `flags:switch`"):
        assert words in switch.stdout
    assert start(server.url, "", "proposals", "create", "--help").stdout.count("Ask for a change") == 1
    assert "one of paused, no-factor" in " ".join(listed.stdout.split())
    assert refused(start(server.url, "", "people", "list"), 2, "SWITCHBOARD_API_KEY")
    assert refused(start("", "", "people", "list"), 2, "SWITCHBOARD_URL")
    assert "usage: switchboard" in start("", "", "--help").stdout


def test_the_document_is_asked_for_once_and_again_by_its_etag(run, server):
    def asked():
        lines = [json.loads(line) for line in server.log.read_text().splitlines() if '"/api/openapi.json"' in line]
        return [line["status"] for line in lines[before:]]

    before = 0
    before = len(asked())
    run("people", "list")
    run("people", "list")
    assert asked() == [200]

    run("people", "list", "--refresh")
    run("people", "dance")  # it may be new
    assert asked() == [200, 304, 304]


def test_a_reader_that_has_seen_enough_ends_it_quietly(run):
    read, write = os.pipe()
    os.close(read)

    ended = run("people", "list", "--json", stdout=write)

    os.close(write)
    assert (ended.returncode, ended.stderr) == (0, "")


# --- Answers that a server seldom gives -------------------------------------------------------------------------------

KEY = "sbk_of_the_stub"
LISTED = [
    {"in": "query", "name": "cursor", "schema": {"type": "string"}},
    {"in": "query", "name": "limit", "schema": {"type": "integer"}},
]
HOOK = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "events": {"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
        "weight": {"type": "number"},
        "rules": {"type": "array", "items": {"type": "object"}},
    },
}
DOCUMENT = {
    "paths": {
        "/api/staff/hooks": {
            "get": {"operationId": "list_hooks", "summary": "List", "parameters": LISTED},
            "post": {
                "operationId": "create_hook",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Hook"}}}},
            },
        },
        "/api/staff/hooks/{key}/plans": {
            "get": {"operationId": "list_plans"},
            "post": {"operationId": "add_plan", "parameters": [{"in": "header", "name": "If-Match", "required": True}]},
        },
        "/api/staff/hooks/{key}/plans/{plan}": {"delete": {"operationId": "drop_plan"}},
        "/api/staff/hooks/{hook}/why": {"get": {"operationId": "why"}, "post": {"operationId": "why_so"}},
    },
    "components": {"schemas": {"Hook": HOOK, "Event": {"type": "string", "enum": ["flag.switched", "user.created"]}}},
}


class Stub(ThreadingHTTPServer):
    """Answers what a test puts into `answers`: by method and path a list of `(status, headers, body)`, the last of
    which stays; `seen` are the requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers = {"GET /api/openapi.json": [(200, {}, DOCUMENT)]}
        self.seen = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((f"{self.command} {self.path}", self.headers, body))
        answers = self.server.answers[f"{self.command} {self.path}"]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is None:
            return
        status, headers, body = answer
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    do_POST = do_DELETE = do_GET  # noqa: N815 (names of the base class)

    def log_message(self, *args):
        pass


@pytest.fixture
def stub():
    with Stub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_options_have_the_types_of_the_body_and_names_of_their_own(start, stub):
    stub.answers["POST /api/staff/hooks"] = [(201, {}, {"id": "1"})]
    asked = ("hooks", "create", "--body-url", "https://a.example", "--weight", "1.5")

    start(stub.url, KEY, *asked, "--events", "flag.switched", "--events", "user.created")
    wrong = start(stub.url, KEY, *asked, "--events", "user.sings")
    missing = start(stub.url, KEY, "hooks", "create", "--weight", "1")
    told = start(stub.url, KEY, "hooks", "create", "--help")

    body = {"url": "https://a.example", "weight": 1.5, "events": ["flag.switched", "user.created"]}
    assert [json.loads(body) for what, _, body in stub.seen if what.startswith("POST")] == [body]
    assert refused(wrong, 2, "--events", "flag.switched, user.created")
    assert refused(missing, 2, "--body-url is needed")
    assert "By --json-body alone: rules." in told.stdout


def test_operations_at_one_path_are_told_apart_by_their_ids(start, stub):
    for what in ("GET /api/staff/hooks/a%2Fb/plans", "POST /api/staff/hooks/a%2Fb/plans"):
        stub.answers[what] = [(200, {}, {})]
    stub.answers["DELETE /api/staff/hooks/a%2Fb/plans/3"] = [(204, {}, "")]

    for words in ((), ("list-plans",), ("add-plan",), ("3",), ("3", "drop-plan")):
        assert start(stub.url, KEY, "hooks", "plans", "a/b", *words).returncode == 0

    sent = [what.partition(" ")[0] for what, *_ in stub.seen if "plans" in what]
    assert sent == ["GET", "GET", "POST", "DELETE", "DELETE"]
    told = start(stub.url, KEY, "hooks", "--help").stdout
    lines = [line.strip() for line in told.splitlines()]
    for line in ("plans KEY", "plans KEY add-plan", "plans KEY PLAN", "why HOOK", "why HOOK why-so"):
        assert f"hooks {line}" in lines


def test_each_operation_of_the_product_is_written_in_a_way_of_its_own(monkeypatch):
    monkeypatch.syspath_prepend(CLIENT)
    from switchboard_client import operations

    known = operations.read(json.loads(json.dumps(product_api.get_openapi_schema(), default=str)))

    assert len(known) > 50
    for things in {each.things for each in known}:
        own = [each for each in known if each.things == things]
        for each, line in zip(own, operations.written(own), strict=True):
            assert operations.find(own, line.split()[1:])[0] is each, line


def test_conditions_are_sent_as_headers(start, stub):
    stub.answers["POST /api/staff/hooks/1/plans"] = [(200, {}, {})]

    for tag in ("7", '"7"', "*"):
        start(stub.url, KEY, "hooks", "plans", "1", "add-plan", "--if-match", tag, "--idempotency-key", "k-1")

    sent = [headers for what, headers, _ in stub.seen if what.startswith("POST")]
    assert [headers["If-Match"] for headers in sent] == ['"7"', '"7"', "*"]
    assert {headers["Idempotency-Key"] for headers in sent} == {"k-1"}
    assert {headers["Authorization"] for headers in sent} == {f"Bearer {KEY}"}


def test_a_limit_is_waited_for_where_that_is_short(start, stub):
    listed = (200, {}, {"items": [{"id": "1"}], "next": None})
    limited = {"detail": "ErrorCode.TOO_MANY_REQUESTS", "code": "too_many_requests"}
    stub.answers["GET /api/staff/hooks"] = [(429, {"Retry-After": "0"}, limited), listed]

    done = start(stub.url, KEY, "hooks", "list")
    stub.answers["GET /api/staff/hooks"] = [(429, {"Retry-After": "3600"}, limited), listed]
    long = start(stub.url, KEY, "hooks", "list")

    assert done.stdout == "ID\n1\n"
    assert refused(long, 1, "TOO_MANY_REQUESTS", "3600")


def test_a_redirect_is_not_followed_with_the_key(start, stub):
    stub.answers["GET /api/staff/hooks"] = [(307, {"Location": "/elsewhere"}, {})]
    stub.answers["GET /elsewhere"] = [(200, {}, {})]

    assert refused(start(stub.url, KEY, "hooks", "list"), 1, "/elsewhere")
    assert not [what for what, *_ in stub.seen if "elsewhere" in what]


def test_a_connection_that_breaks_says_whether_something_may_be_done(start, stub):
    stub.answers["GET /api/staff/hooks"] = stub.answers["POST /api/staff/hooks/1/plans"] = [None]

    read = start(stub.url, KEY, "hooks", "list")
    written = start(stub.url, KEY, "hooks", "plans", "1", "add-plan")

    assert refused(read, 1, stub.url)
    assert "not known" not in read.stderr
    assert refused(written, 1, stub.url, "not known")
    assert len([what for what, *_ in stub.seen if what.startswith("POST")]) == 1


def test_where_nothing_listens_it_says_so(start):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"

        assert refused(start(url, KEY, "people", "list"), 1, url, "refused")


def test_what_others_wrote_does_not_steer_the_terminal(start, stub):
    item = {"id": "1", "name": "\x1b[31mred\u202e", "note": "a\nb\x07"}
    stub.answers["GET /api/staff/hooks"] = [(200, {}, {"items": [item], "next": None})]
    stub.answers["GET /api/staff/hooks/1/plans"] = [(200, {}, item)]

    listed = start(stub.url, KEY, "hooks", "list").stdout
    shown = start(stub.url, KEY, "hooks", "plans", "1").stdout

    assert listed.splitlines()[1].split() == ["1", r"\x1b[31mred\u202e", r"a\nb\x07"]
    assert shown.split()[-3:] == ["note", "a", r"b\x07"]
    assert shown.count("\n") == 4


def test_an_answer_of_something_else_is_no_traceback(start, stub):
    stub.answers["GET /api/staff/hooks"] = [(200, {}, {"items": [1]})]
    odd = start(stub.url, KEY, "hooks", "list")
    stub.answers["GET /api/openapi.json"] = [(200, {}, {"paths": []})]

    assert refused(odd, 1, "not what the server describes")
    assert refused(start(stub.url, KEY, "hooks", "list", "--refresh"), 1, "cannot be read")
