"""Over HTTP: the product, a bare ASGI function that replays its answers, and Unleash's server, in turns.

Two measures of each load: requests a second, and the CPU time of the server process for one request, which a busy
machine disturbs less.
"""

import base64
import http.client
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from benchmarks import report, servers
from benchmarks.flags import children, flagset, unleash
from benchmarks.servers import Server

CONNECTIONS = 32
FLAGS = 100
BULK = "/ofrep/v1/evaluate/flags"


@dataclass(frozen=True)
class Request:
    """NUMBER in path and body becomes another person with each request."""

    path: str
    token: str
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def all_headers(self) -> dict[str, str]:
        kind = {"Content-Type": "application/json"} if self.body else {}
        return {"Authorization": self.token, **kind, **self.headers}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return dict(self.headers)[name]


def ask(server: Server, request: Request, person: int = 0) -> Answer:
    """One request; SystemExit for a refusal."""
    address = urlsplit(server.base)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    path, body = (text.replace("NUMBER", str(person)) for text in (request.path, request.body))
    connection.request("POST" if body else "GET", path, body or None, request.all_headers)
    response = connection.getresponse()
    headers = [(name.lower(), value) for name, value in response.getheaders()]
    answer = Answer(response.status, headers, response.read())
    connection.close()
    if answer.status not in {200, 304}:
        sys.exit(f"{server.name}: {path} answered {answer.status}: {answer.body[:500]!r}")
    return answer


def requests(server: Server, token: str, frontend_token: str) -> dict[str, Request]:
    """What is asked of the product; OF_UNLEASH are Unleash's own, and asked of it as well."""
    plain = Request("/api/client/features", token, headers={"Unleash-Client-Spec": "5.2.0"})
    # As every SDK asks.
    zipped = replace(plain, headers={**plain.headers, "Accept-Encoding": "gzip"})
    tag = ask(server, zipped).header("etag")
    person = flagset.context("NUMBER")
    own = {"userId": person.pop("userId")}
    query = urlencode({**own, **{f"properties[{name}]": value for name, value in person.items()}})
    context = json.dumps({"context": {"targetingKey": own["userId"], **person}})
    return {
        "unchanged": replace(zipped, headers={**zipped.headers, "If-None-Match": tag}),
        "features": zipped,
        "features_plain": plain,
        "frontend": Request(f"/api/frontend?{query}", frontend_token),
        "bulk": Request(BULK, token, context),
        "single": Request(f"{BULK}/{flagset.ROLLOUT}", token, context),
    }


OF_UNLEASH = ("unchanged", "features", "features_plain", "frontend")
#: Seconds of load before anything counts. V8 compiles what is used often, and goes on doing so for a while.
WARM_SECONDS = {"bare": 1, "ours": 2, "unleash": 6}


def load(server: Server, request: Request, *, seconds: int) -> tuple[float, float]:
    """Requests a second, and microseconds of the server's CPU for each, under 32 connections that never pause."""
    env = {**os.environ, "BENCH_METHOD": "POST" if request.body else "GET", "BENCH_PEOPLE": str(flagset.PEOPLE)}
    if request.body:
        env |= {"BENCH_BODY": request.body, "BENCH_CONTENT_TYPE": "application/json"}
    headers = [part for name, value in request.all_headers.items() for part in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "-s", "benchmarks/wrk.lua"]
    before = server.cpu_seconds()
    done = subprocess.run(
        [*command, *headers, server.base + request.path],
        cwd=servers.ROOT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    used = server.cpu_seconds() - before
    try:
        figures = json.loads(done.stderr)
    except ValueError:
        sys.exit(f"wrk failed on {server.name} {request.path}: {done.stderr}")
    if figures["refused"] or figures["broken"]:
        sys.exit(f"{server.name} {request.path}: {figures}")
    return figures["per_second"], used / figures["requests"] * 1e6


Asked = tuple[Server, dict[str, Request]]


def told(asked: Asked, person: int) -> set[tuple[str, str]]:
    """What a frontend is told: each flag that is on for this person, and its variant."""
    server, questions = asked
    document = json.loads(ask(server, questions["frontend"], person).body)
    return {(toggle["name"], toggle["variant"]["name"]) for toggle in document["toggles"]}


def check(ours: Asked, peer: Asked) -> None:
    """Both must hold the same flags and tell everybody the same, or there is nothing to compare."""
    held = [
        sorted(feature["name"] for feature in json.loads(ask(server, asked["features_plain"]).body)["features"])
        for server, asked in (ours, peer)
    ]
    if held[0] != held[1] or len(held[0]) != FLAGS:
        sys.exit(f"Not the same {FLAGS} flags: {len(held[0])} and {len(held[1])}.")
    # Unleash's frontend reads what was imported a while after the start, and perhaps in pieces.
    end = time.monotonic() + 60
    for person in range(flagset.PEOPLE):
        while different := told(ours, person) ^ told(peer, person):
            if time.monotonic() > end:
                sys.exit(f"Person {person} is told different things: {different}")
            time.sleep(0.2)


def record(server: Server, asked: dict[str, Request], file: Path) -> None:
    """The product's answers by path, for `replay`."""
    own = ("date", "server", "transfer-encoding", "connection")
    answers = {servers.STATUS: Answer(200, [("content-length", "0")], b"")}
    answers |= {f"/{name}": ask(server, request) for name, request in asked.items()}
    document = {
        path: {
            "status": answer.status,
            "headers": [header for header in answer.headers if header[0] not in own],
            "body": base64.b64encode(answer.body).decode(),
        }
        for path, answer in answers.items()
    }
    file.write_text(json.dumps(document))


def measure(urls: dict[str, str], logs: Path, *, seconds: int, repeats: int) -> report.Samples:
    """`samples[server, figure]`: `features` in requests/s, `features_cpu` in microseconds, and so on."""
    samples: report.Samples = defaultdict(list)
    tokens = children.filled(urls["flags"], FLAGS)
    with ExitStack() as stack:
        product = {"product": urls["flags"]}
        ours = stack.enter_context(servers.running("ours", product, logs))
        asked = requests(ours, tokens["server"], tokens["frontend"])
        answers = logs / "replay.json"
        record(ours, asked, answers)
        replay = {"application": "benchmarks.flags.replay:application", "BENCH_ANSWERS": str(answers)}
        bare = stack.enter_context(servers.running("bare", product, logs, **replay))
        replayed = {name: replace(request, path=f"/{name}") for name, request in asked.items()}
        under_test = [(bare, replayed), (ours, asked)]
        if unleash.is_installed():
            features = json.loads(ask(ours, asked["features_plain"]).body)["features"]
            peer = stack.enter_context(unleash.running(features, urls["unleash"], logs))
            peers = requests(peer, unleash.SERVER_TOKEN, unleash.FRONTEND_TOKEN)
            check((ours, asked), (peer, peers))
            under_test.append((peer, {name: peers[name] for name in OF_UNLEASH}))
        for server, questions in under_test:
            for request in questions.values():
                load(server, request, seconds=WARM_SECONDS[server.name])
        for number in range(1, repeats + 1):
            print(f"wire: round {number} of {repeats}", file=sys.stderr, flush=True)
            for name in asked:
                for server, questions in under_test:
                    if name in questions:
                        per_second, cpu = load(server, questions[name], seconds=seconds)
                        samples[server.name, name].append(per_second)
                        samples[server.name, f"{name}_cpu"].append(cpu)
        for server, _ in under_test:
            samples[server.name, "memory"].append(server.memory())
    return samples
