import asyncio

import pytest

from lib import proxies
from lib.proxies import TrustedProxies

FORWARDED = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https")]


class Door:
    """An application behind TrustedProxies, at a time that the test sets."""

    def __init__(self, networks):
        self.now, self.seen = 0.0, None
        self.app = TrustedProxies(self.serve, networks, clock=lambda: self.now)

    async def serve(self, scope, receive, send):
        self.seen = scope["client"][0], scope["scheme"]

    def ask(self, peer, headers=FORWARDED):
        scope = {"type": "http", "scheme": "http", "client": (peer, 1), "headers": headers}
        asyncio.run(self.app(scope, None, None))
        return self.seen


@pytest.fixture
def warned(caplog):
    return lambda: [record.peer for record in caplog.records if record.name == "switchboard.proxies"]


@pytest.mark.parametrize("peer", ["10.0.0.9", "::ffff:10.0.0.9"])
def test_a_trusted_proxy_is_believed_and_not_told_of(peer, warned):
    assert Door(["10.0.0.0/8"]).ask(peer) == ("203.0.113.7", "https")
    assert warned() == []


@pytest.mark.parametrize("networks", [[], ["10.0.0.0/8"]])
def test_a_stranger_is_not_believed_and_told_of_once_an_hour(networks, warned):
    door = Door(networks)

    assert door.ask("192.0.2.1") == ("192.0.2.1", "http")
    door.ask("192.0.2.1")
    door.ask("192.0.2.2", [(b"forwarded", b"for=203.0.113.7")])
    assert warned() == ["192.0.2.1", "192.0.2.2"]
    door.now = proxies.HOUR
    door.ask("192.0.2.1")

    assert warned() == ["192.0.2.1", "192.0.2.2", "192.0.2.1"]


def test_many_strangers_leave_few_lines(warned):
    door = Door([])

    for number in range(100):
        door.ask(f"192.0.2.{number}")

    assert len(warned()) == proxies.MOST


def test_who_sends_no_such_header_is_not_told_of(warned):
    door = Door([])

    door.ask("192.0.2.1", [(b"host", b"localhost")])

    assert warned() == []
