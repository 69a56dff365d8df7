"""Eight calls at the same moment, on two workers: what may happen once happens once, and every guess is counted."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from benchmarks import seed
from benchmarks.accounts.client import Answer, Client, at_once, login_form
from benchmarks.accounts.scene import Scene
from benchmarks.report import Samples
from benchmarks.servers import Server

AT_ONCE, GUESSES, PASSWORDS = 8, 20, 50
#: Calls to one session stay under its limit of 120 in five minutes.
ROUNDS_OF_A_SESSION = 10
AUTH = "/api/auth"
RETURNING = {"USERS_RETURN_VERIFICATION_TOKENS": "1", "USERS_RETURN_FORGOT_PASSWORD_TOKEN": "1"}


class NotThere(Exception):
    """The endpoint answers 404."""


def run(scene: Scene, *, rounds: int) -> tuple[Samples, list[str]]:
    """Figures, and a line for each race whose endpoints are missing."""
    server = scene.serve("races", workers=2, **RETURNING)
    samples: Samples = {}
    missing = []
    races: dict[str, Callable[[Scene, Server, int], dict[str, float]]] = {
        "refresh": refresh,
        "reset": reset,
        "verify": verify,
        "guesses": guesses,
        "passwords": passwords,
        "recovery": lambda *given: factor("recovery", *given),
        "totp": lambda *given: factor("totp", *given),
    }
    for name, race in races.items():
        try:
            for figure, value in race(scene, server, rounds).items():
                samples[scene.vendor, f"races_{name}_{figure}"] = [value]
        except NotThere as error:
            missing.append(f"{name}: not there yet ({error})")
    return samples, missing


def _tally(answers: list[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


def _wrong(rounds: list[Counter[int]]) -> dict[str, float]:
    """Rounds that did not end with one 200 and the rest 400; how many answers were neither."""
    expected = {200: 1, 400: AT_ONCE - 1}
    odd = sum(count for tally in rounds for status, count in tally.items() if status not in expected)
    return {"wrong": sum(dict(tally) != expected for tally in rounds), "errors": odd}


def refresh(scene: Scene, server: Server, rounds: int) -> dict[str, float]:
    """All who present one token get the same successor, round after round on one chain."""
    count = -(-rounds // ROUNDS_OF_A_SESSION)
    people = scene.people(0, count)
    ok = forks = 0
    for person in range(count):
        token = Client(server.base).login(people[person]).expect(200, "login").json["refresh_token"]
        for _ in range(min(ROUNDS_OF_A_SESSION, rounds - person * ROUNDS_OF_A_SESSION)):
            answers = at_once(server.base, [(f"{AUTH}/refresh-tokens", {"token": token})] * AT_ONCE)
            ok += _tally(answers)[200]
            successors = {answer.json.get("refresh_token") for answer in answers if answer.status == 200}
            forks += len(successors) - 1
            token = successors.pop()
    return {"refused": rounds * AT_ONCE - ok, "forks": forks + scene.ask("chains")["forks"]}


def reset(scene: Scene, server: Server, rounds: int) -> dict[str, float]:
    people = scene.people(1000, rounds)
    tallies = []
    for email in people:
        token = Client(server.base).post(f"{AUTH}/forgot-password", email=email).expect(200, "forgot").json
        body = {"email": email, "token": token["forgot_password_token"]}
        bodies = [{**body, "password": f"Fresh-Stable-{number}!"} for number in range(AT_ONCE)]
        tallies.append(_tally(at_once(server.base, [(f"{AUTH}/reset-password", body) for body in bodies])))
    return _wrong(tallies)


def _code(server: Server, email: str) -> dict[str, str]:
    """What proves a fresh registration: token and code."""
    client = Client(server.base)
    names = {"first_name": "Ada", "last_name": "Lovelace"}
    client.post("/api/register", email=email, password=seed.PASSWORD, **names).expect(201, "register")
    return dict(client.post(f"{AUTH}/request-verification-token", email=email).expect(200, "code").json)


def verify(scene: Scene, server: Server, rounds: int) -> dict[str, float]:
    tallies = []
    for number in range(rounds):
        made = _code(server, f"verify{number}@example.org")
        body = {"token": made["verification_token"], "registration_code": made["registration_code"]}
        tallies.append(_tally(at_once(server.base, [(f"{AUTH}/verify", body)] * AT_ONCE)))
    return _wrong(tallies)


def guesses(scene: Scene, server: Server, rounds: int) -> dict[str, float]:
    """Wrong codes at once: five are counted, and then the right one is of no use."""
    errors = opened = 0
    for number in range(rounds):
        made = _code(server, f"guess{number}@example.org")
        token, right = made["verification_token"], int(made["registration_code"])
        wrong = [str(100_000 + (right - 100_000 + step) % 900_000) for step in range(1, GUESSES + 1)]
        calls = [(f"{AUTH}/verify", {"token": token, "registration_code": code}) for code in wrong]
        errors += sum(answer.status != 400 for answer in at_once(server.base, calls))
        late = Client(server.base).post(f"{AUTH}/verify", token=token, registration_code=str(right))
        opened += late.status == 200
    counted = scene.ask("attempts")
    return {"counted": max(counted), "fewest": min(counted), "errors": errors, "opened": opened}


def passwords(scene: Scene, server: Server, rounds: int) -> dict[str, float]:
    """Wrong passwords at once: five are compared, the others are told that signing in is paused."""
    people = scene.people(2000, rounds)
    compared, errors = [], 0
    for email in people:
        answers = at_once(server.base, [login_form(email, f"Wrong-Stable-{number}!") for number in range(PASSWORDS)])
        errors += sum(answer.status != 400 for answer in answers)
        compared.append(sum(answer.json.get("code") != "login_paused" for answer in answers))
    return {"compared": max(compared), "fewest": min(compared), "errors": errors}


def factor(kind: str, scene: Scene, server: Server, rounds: int) -> dict[str, float]:
    """One code of a second factor, presented with eight tokens of eight sign-ins."""
    people = scene.people(3000 if kind == "recovery" else 4000, rounds)
    tallies = []
    for email in people:
        codes = _enrol(server, email)
        first = [Client(server.base).login(email).expect(403, "login with a factor").json for _ in range(AT_ONCE)]
        method = next(name for name in first[0]["methods"] if kind in name)
        proof = {"method": method, "code": codes[kind]}
        calls = [(f"{AUTH}/mfa/verify", {"mfa_token": answer["mfa_token"], **proof}) for answer in first]
        tallies.append(_tally(at_once(server.base, calls)))
    # Beyond the limit of wrong codes a refusal may be told as one.
    merged = [Counter({200: tally[200], 400: tally[400] + tally[429]}) + _others(tally) for tally in tallies]
    return _wrong(merged)


def _others(tally: Counter[int]) -> Counter[int]:
    return Counter({status: count for status, count in tally.items() if status not in (200, 400, 429)})


def _enrol(server: Server, email: str) -> dict[str, str]:
    """An authenticator for this person; a code that has not been used yet, and a recovery code."""
    client = Client(server.base)
    bearer = client.login(email).expect(200, "login").json["access_token"]
    made = client.ask("POST", f"{AUTH}/mfa/totp", {"name": "phone"}, bearer=bearer)
    if made.status == 404:
        raise NotThere(f"{AUTH}/mfa/totp")
    # Comes with the endpoints.
    import pyotp

    app = pyotp.TOTP(made.expect(201, "enrolment").json["secret"])
    now = time.time()
    confirmed = client.ask("POST", f"{AUTH}/mfa/totp/confirm", _confirmation(made.json, app.at(now)), bearer=bearer)
    recovery = confirmed.expect(200, "confirmation").json["recovery_codes"]
    # The step of the confirmation is spent; one step ahead is accepted.
    return {"totp": app.at(now + 30), "recovery": recovery[0]}


def _confirmation(made: dict[str, Any], code: str) -> dict[str, Any]:
    """The code, with the device it belongs to where the answer named one."""
    named = {key: made[key] for key in ("id", "device_id") if key in made}
    return {**named, "code": code}
