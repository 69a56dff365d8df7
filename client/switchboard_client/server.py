"""Requests to one server: with the key, over TLS, to no other address."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import URLError
from urllib.request import HTTPErrorProcessor, ProxyHandler, Request, build_opener

from switchboard_client import __version__
from switchboard_client.errors import Misused, Refused, plain

#: Seconds, the longest wait before something is asked again.
PATIENCE = 60


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def is_file(self) -> bool:
        is_json = self.headers.get("Content-Type", "").startswith("application/json")
        return not is_json or self.headers.get("Content-Disposition", "").startswith("attachment")

    def json(self) -> Any:
        """Raises: Refused where it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise Refused(f"The answer ({self.status}) is no JSON: is this the address of a Switchboard?") from None


class _AsItCame(HTTPErrorProcessor):
    """A refusal is an answer, and so is a redirect: followed, it would carry the key elsewhere."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response


class Server:
    def __init__(self, url: str, key: str, *, insecure: bool, timeout: float) -> None:
        """Raises: Misused, also where the key would travel in the clear."""
        if not re.fullmatch(r"https?://(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?(/[\w./~-]*)?", url, re.ASCII):
            raise Misused("The address of the server is written as https://api.example.org")
        is_local = re.match(r"https?://(localhost|127(\.\d{1,3}){3}|\[::1\])(:|/|$)", url)
        if url.startswith("http:") and not (is_local or insecure):
            raise Misused("Over http:// all between could read the key: use https://, or --insecure.")
        self.url = url.rstrip("/").removesuffix("/api")
        self._key, self._timeout = key, timeout
        self._opener = build_opener(_AsItCame, ProxyHandler({} if is_local else None))

    def ask(self, method: str, address: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """A success, or 304. Asks again where that is harmless: what a limit refused (429) was not done, and a refused
        connection took nothing.

        Raises: Refused.
        """
        sent = {"User-Agent": f"switchboard-client/{__version__}", **headers}
        if self._key:
            sent["Authorization"] = f"Bearer {self._key}"
        request = Request(self.url + address, body, sent, method=method)  # noqa: S310 (the scheme is checked)
        for tries_left in (3, 2, 1, 0):
            try:
                with self._opener.open(request, timeout=self._timeout) as response:
                    answer = Answer(response.status, response.headers, response.read())
            except (OSError, HTTPException) as error:
                why = error.reason if isinstance(error, URLError) else error
                is_refused = isinstance(why, ConnectionRefusedError)
                if method == "GET" and is_refused and tries_left:
                    time.sleep(0.5)
                    continue
                reason = f"no answer within {self._timeout:g} s" if isinstance(why, TimeoutError) else plain(why)
                unknown = "" if method == "GET" or is_refused else " Whether it was done is not known: look first."
                raise Refused(f"{self.url}: {reason or type(why).__name__}.{unknown}") from None
            pause = answer.headers.get("Retry-After", "")
            if answer.status == 429 and tries_left and pause.isdecimal() and int(pause) <= PATIENCE:
                time.sleep(int(pause))
            elif 200 <= answer.status < 300 or answer.status == 304:
                return answer
            else:
                raise Refused(_refusal(answer))
        raise AssertionError


def _refusal(answer: Answer) -> str:
    """What the server says of it, in one line: the words, the status, whatever is beside them."""
    if 300 <= answer.status < 400:
        return f"The server sends us on to {answer.headers.get('Location', '')}: give that address."
    said = answer.json()
    words, code, message = said.pop("detail"), said.pop("code", ""), said.pop("message", "")
    if isinstance(words, list):
        words = "; ".join(f"{'.'.join(map(str, each.get('loc', ())[1:]))}: {each.get('msg', '')}" for each in words)
    elif message:
        words = message
    elif isinstance(words, dict):
        words = ", ".join(map(str, words.values()))
    said["again in seconds"] = answer.headers.get("Retry-After")
    more = "".join(f"; {name.replace('_id', '')} {value}" for name, value in said.items() if value)
    return f"{str(words).replace('ErrorCode.', '')} ({f'{answer.status} {code}'.strip()}){more}"
