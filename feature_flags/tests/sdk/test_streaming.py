"""The newer modes of Unleash's SDKs, unmodified: streams and deltas, through a restart of the server."""

import json
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from feature_flags.tests.sdk.shop import open_shop, until
from project.tests.processes import ROOT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from UnleashClient import UnleashClient

HERE = Path(__file__).parent
_WHO = """
from feature_flags import models
from feature_flags.services import editing, segments
from lib.actors import Actor
who = {"actor": Actor.command("test")}
"""
_MORE = """
editing.create("FF_GONE", is_active=True, **who)
"""
_SEGMENT = """
french = [{"field": "country", "operator": "IN", "values": ["FR"]}]
segments.edit_segment(models.Segment.objects.get(), {"constraints": french}, **who)
"""
_ARCHIVE = """
editing.archive(editing.get("FF_GONE"), **who)
"""


@pytest.fixture
def shop(tmp_path):
    with open_shop(tmp_path) as shop:
        shop.script(_WHO + _MORE)
        yield shop


def changed(shop, see):
    """Each change in turn, until the SDK sees it."""
    until(lambda: see() == {"switched": False, "italy": [True, False], "names": ["FF_GONE"]})
    shop.switch(True)
    until(lambda: see() == {"switched": True, "italy": [True, False], "names": ["FF_GONE"]})
    restart(shop)
    shop.script(_WHO + _SEGMENT)
    until(lambda: see() == {"switched": True, "italy": [False, True], "names": ["FF_GONE"]})
    shop.script(_WHO + _ARCHIVE)
    until(lambda: see() == {"switched": True, "italy": [False, True], "names": []})


def restart(shop):
    """The same address, another process: it knows nothing of what clients have seen."""
    server = shop.server
    server.stop()
    with server.log.open("a") as output:
        server.process = subprocess.Popen(
            [sys.executable, ROOT / "manage.py", "serve"],
            env=server.env,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    until(server.is_up)


class Node:
    def __init__(self, shop, mode):
        self.seen, self.modes = {}, []
        command = ["node", HERE / "stream.js", shop.url, shop.server_token, mode]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.thread.join()
        self.process.stdout.close()

    def _read(self):
        for line in self.process.stdout:
            said = json.loads(line)
            if "mode" in said:
                self.modes.append(said["mode"])
            else:
                self.seen = said


@pytest.mark.sdk
@pytest.mark.parametrize("mode", ["streaming", "delta"])
def test_node(mode, shop):
    node = Node(shop, mode)
    try:
        changed(shop, lambda: node.seen)
        assert node.modes == []
    finally:
        node.stop()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.sdk
def test_python(shop, tmp_path):
    client = UnleashClient(
        f"{shop.url}/api",
        "python-stream",
        custom_headers={"Authorization": shop.server_token},
        cache_directory=str(tmp_path / "cache"),
        experimental_mode={"type": "streaming"},
    )
    client.initialize_client()
    try:
        changed(shop, lambda: _seen(client))
    finally:
        client.destroy()


def _seen(client):
    return {
        "switched": client.is_enabled("FF_SWITCH"),
        "italy": [client.is_enabled("FF_ITALY", {"properties": {"country": country}}) for country in ("IT", "FR")],
        "names": [name for name in client.feature_definitions() if name == "FF_GONE"],
    }
