"""What schemathesis loads (`SCHEMATHESIS_HOOKS`): who it is, and how it signs in again after it has signed out.

Its cases end sessions, revoke keys, change passwords and delete accounts. Before each one the token or key is tried;
where it is dead, the next login makes another token, with the next person once this one is gone.
"""

import json
import os
from typing import Any

import requests
import schemathesis

from benchmarks.servers import LOGIN, credentials

BASE, PEOPLE = os.environ["BENCH_BASE"], int(os.environ["BENCH_PEOPLE"])
#: Of the flag APIs, which answer to tokens of their own kinds.
FLAG_TOKENS = json.loads(os.environ["BENCH_TOKENS"])
#: With every scope, each of another superuser.
KEYS = json.loads(os.environ["BENCH_KEYS"])
#: What a path's parameter may stand for, by its name; of staff the first one, by what stands before it.
EXISTING = json.loads(os.environ["BENCH_EXISTING"])
THINGS = json.loads(os.environ["BENCH_THINGS"])
STAFF = "/api/staff/"
#: What a schema says of a value; the other types of a problem are of rules that it cannot say.
SHAPES = ("missing", "_type", "_parsing", "too_short", "too_long", "_equal", "literal_error", "enum", "json_invalid")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Person:
    """Whoever can sign in at the moment."""

    def __init__(self) -> None:
        self.http = requests.Session()
        self.number = 0
        self.token = ""

    def bearer(self) -> str:
        if not self.token or self._is_dead():
            self.token = self._sign_in()
        return self.token

    def key(self) -> str:
        """The next that is live: in turns, since each has a limit of calls of its own."""
        while KEYS:
            key = str(KEYS.pop(0))
            if self._is_good(key, "/api/users/user"):
                KEYS.append(key)
                return key
        raise RuntimeError("No key is left.")

    def _is_dead(self) -> bool:
        return not self._is_good(self.token, "/api/_authenticated")

    def _is_good(self, token: str, path: str) -> bool:
        headers = {"Authorization": f"Bearer {token}"}
        return self.http.get(BASE + path, headers=headers, timeout=60).status_code == 200

    def _sign_in(self) -> str:
        for number in range(self.number, PEOPLE):
            self.number = number
            answer = self.http.post(BASE + LOGIN, credentials(number), headers=FORM, timeout=60)
            if answer.status_code == 200:
                return str(answer.json()["access_token"])
        raise RuntimeError("Nobody is left who could sign in.")


PERSON = Person()


@schemathesis.auth(refresh_interval=None)
class Bearer:
    """A superuser's key where one is taken, else the bearer of one; of the flag APIs a token of theirs."""

    def get(self, case: Any, context: Any) -> str:
        schemes = {name for each in case.operation.definition.raw.get("security", ()) for name in each}
        if "ApiKey" in schemes:
            return PERSON.key()
        kind = next((kind for kind in FLAG_TOKENS if f"{kind.title()}Token" in schemes), None)
        return FLAG_TOKENS[kind] if kind else PERSON.bearer()

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Half of the well-formed cases ask for what is there: made-up ids never get past 404."""
    mode = case.meta.generation.mode if case.meta else None
    if mode is None or not mode.is_positive or not case.path_parameters:
        return
    chance = sum(map(ord, str(case.id)))
    if chance % 2:
        return
    for name in case.path_parameters.keys() & EXISTING.keys():
        case.path_parameters[name] = EXISTING[name]
    things, _, rest = case.operation.path.removeprefix(STAFF).partition("/{")
    if case.operation.path.startswith(STAFF) and rest and things in THINGS:
        case.path_parameters[rest.partition("}")[0]] = THINGS[things][chance // 2 % len(THINGS[things])]


@schemathesis.check
def form_rules(context: Any, response: Any, case: Any) -> None:
    """A 422 for data of the right shape says what rule it broke, not that the shape is wrong."""
    mode = case.meta.generation.mode if case.meta else None
    if mode is None or not mode.is_positive or response.status_code != 422:
        return
    about = response.json()
    shapes = (
        [each for each in about["detail"] if each["type"].endswith(SHAPES)] if isinstance(about["detail"], list) else []
    )
    assert not shapes, f"The document promises that this is of the right shape: {shapes}"
