"""Whether an answer tells who has an account: known and unknown addresses in turns."""

import base64
import os
import re
import statistics
from collections.abc import Callable

from benchmarks.accounts.client import Answer, Client
from benchmarks.accounts.scene import Scene
from benchmarks.report import Samples

WRONG = "Wrong-Horse-7!"
FORGOT, CODE, RESET = (
    f"/api/auth/{name}" for name in ("forgot-password", "request-verification-token", "reset-password")
)
#: After so many calls the limits of an address are reached.
BEFORE = 6
#: What differs from answer to answer, whoever asks.
PASSING = ("date", "x-request-id", "retry-after")

Call = Callable[[Client, str], Answer]
Pairs = list[tuple[str, str]]


def _login(client: Client, email: str) -> Answer:
    return client.login(email, WRONG)


def _forgot(client: Client, email: str) -> Answer:
    return client.post(FORGOT, email=email)


def _code(client: Client, email: str) -> Answer:
    return client.post(CODE, email=email)


def _reset(client: Client, email: str) -> Answer:
    token = base64.urlsafe_b64encode(os.urandom(40)).decode().rstrip("=")
    return client.post(RESET, email=email, token=token, password="Another-Horse-7!")


def run(scene: Scene, *, tries: int) -> Samples:
    """Medians of `tries` calls for each side, and how many answers differ in more than the time."""
    people = scene.people(0, 2 * tries)
    waiting = scene.people(2 * tries, tries, email_verified_at=None)
    server = scene.serve("timing")
    client = Client(server.base)
    crowds: dict[str, tuple[Call, list[str]]] = {
        "login": (_login, people[:tries]),
        "forgot": (_forgot, people[:tries]),
        "code": (_code, waiting),
        "code_verified": (_code, people[tries:]),
        "reset": (_reset, people[:tries]),
    }
    samples: Samples = {}
    for figure, (call, known) in crowds.items():
        unknown = [f"{figure}-stranger{number}@example.org" for number in range(tries)]
        pairs = list(zip(known, unknown, strict=True))
        # Code, caches and connections are warm before anything counts.
        for _ in range(20):
            call(client, f"warm-{figure}@example.org")
        samples |= _compared(scene.vendor, figure, _turns(client, call, pairs))
        # One pair until its limits are reached; then it goes on as often.
        scene.ask("forget_limits")
        pair = [(known[0], f"{figure}-after@example.org")]
        _turns(client, call, pair * BEFORE)
        samples |= _compared(scene.vendor, f"{figure}_after", _turns(client, call, pair * tries))
        scene.ask("forget_limits")
    return samples


def _turns(client: Client, call: Call, pairs: Pairs) -> list[tuple[Answer, Answer]]:
    """Both answers of each pair; every other time the unknown address comes first."""
    answers = []
    for number, (known, unknown) in enumerate(pairs):
        if number % 2:
            second = call(client, unknown)
            answers.append((call(client, known), second))
        else:
            answers.append((call(client, known), call(client, unknown)))
    return answers


def _compared(vendor: str, figure: str, answers: list[tuple[Answer, Answer]]) -> Samples:
    medians = [statistics.median(side.seconds for side in sides) * 1000 for sides in zip(*answers, strict=True)]
    differing = sum(_face(known) != _face(unknown) for known, unknown in answers)
    return {
        (vendor, f"timing_{figure}"): [abs(medians[0] - medians[1])],
        (vendor, f"timing_{figure}_known"): [medians[0]],
        (vendor, f"timing_{figure}_unknown"): [medians[1]],
        (vendor, f"timing_{figure}_differ"): [differing],
    }


def _face(answer: Answer) -> tuple[int, str, tuple[tuple[str, str], ...]]:
    """Status, body and headers without what passes: ids and tokens are shown by their length."""
    body = re.sub(
        r'"(request_id|verification_token)": ?"([^"]*)"', lambda m: f"{m[1]}:{len(m[2])}", answer.body.decode()
    )
    names = tuple(sorted((name, "" if name in PASSING else value) for name, value in answer.headers.items()))
    return answer.status, body, names
