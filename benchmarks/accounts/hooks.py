"""What schemathesis loads (`SCHEMATHESIS_HOOKS`): who it is, and how it signs in again after it has signed out.

Its cases end sessions, change passwords and delete accounts. Before each one the token is tried; where it is dead, the
next login makes another, with the next person once this one is gone.
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
#: What a path's parameter may stand for, by its name.
EXISTING = json.loads(os.environ["BENCH_EXISTING"])
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

    def _is_dead(self) -> bool:
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.http.get(f"{BASE}/api/_authenticated", headers=headers, timeout=60).status_code != 200

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
    """The bearer of a superuser, so that the staff's doors open as well; of the flag APIs a token of theirs."""

    def get(self, case: Any, context: Any) -> str:
        if case.path.startswith("/api/frontend"):
            return FLAG_TOKENS["frontend"]
        return FLAG_TOKENS["server"] if case.path.startswith("/api/client/") else PERSON.bearer()

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Half of the well-formed cases ask for what is there: made-up ids never get past 404."""
    mode = case.meta.generation.mode if case.meta else None
    if mode is None or not mode.is_positive or not case.path_parameters:
        return
    for name in case.path_parameters.keys() & EXISTING.keys():
        if sum(map(ord, str(case.id))) % 2:
            case.path_parameters[name] = EXISTING[name]
