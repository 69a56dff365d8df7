"""What schemathesis loads (`SCHEMATHESIS_HOOKS`): who it is, and how it signs in again after it has signed out.

Its cases end sessions, change passwords and delete accounts. Before each one the token is tried; where it is dead, the
next login makes another, with the next person once this one is gone.
"""

import os
from itertools import count
from typing import Any

import requests
import schemathesis

from benchmarks import seed
from benchmarks.servers import LOGIN, credentials

BASE, SERVER_TOKEN, FRONTEND_TOKEN = (
    os.environ[f"BENCH_{name}"] for name in ("BASE", "SERVER_TOKEN", "FRONTEND_TOKEN")
)
#: Of the flag APIs, which answer to tokens of their own kind.
FLAG_TOKENS = {"/client/": SERVER_TOKEN, "/frontend": FRONTEND_TOKEN}


class Person:
    """Whoever can sign in at the moment."""

    def __init__(self) -> None:
        self.http = requests.Session()
        self.numbers = count()
        self.number = next(self.numbers)
        self.token = ""

    def bearer(self) -> str:
        headers = {"Authorization": f"Bearer {self.token}"}
        if not self.token or self.http.get(f"{BASE}/api/_authenticated", headers=headers, timeout=60).status_code != 200:
            self.token = self.sign_in()
        return self.token

    def sign_in(self) -> str:
        while self.number < seed_people():
            answer = self.http.post(
                BASE + LOGIN,
                credentials(self.number),
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                timeout=60,
            )
            if answer.status_code == 200:
                return str(answer.json()["access_token"])
            self.number = next(self.numbers)
        raise RuntimeError("Nobody is left who could sign in.")


def seed_people() -> int:
    return int(os.environ["BENCH_PEOPLE"])


PERSON = Person()


@schemathesis.auth(refresh_interval=None)
class Bearer:
    """The bearer of a superuser, so that the staff's doors open as well; of the flag APIs a token of theirs."""

    def get(self, case: Any, context: Any) -> str:
        for part, token in FLAG_TOKENS.items():
            if part in case.path:
                return token
        return PERSON.bearer()

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}
