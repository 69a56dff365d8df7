"""The SDKs for Node, unmodified, against a server of two processes. `make sdk` installs them."""

import json
import subprocess
from pathlib import Path

import pytest

from feature_flags.tests.sdk.shop import until

pytestmark = pytest.mark.sdk
HERE = Path(__file__).parent


@pytest.fixture
def run(switched_off):
    """What a script says before and after the switch; it has 20 seconds to notice."""

    def run(name):
        command = ["node", HERE / name, switched_off.url, switched_off.server_token]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as node:
            try:
                before = node.stdout.readline()
                switched_off.switch(True)
                rest, _ = node.communicate(timeout=20)
            finally:
                node.kill()
        assert node.returncode == 0, before + rest
        return [json.loads(line) for line in (before, *rest.splitlines())]

    return run


def test_unleash_client(run, shop):
    before, after = run("unleash.js")

    assert (before["switched"], after) == (False, {"switched": True})
    assert before["answers"] == shop.answers()
    assert before["italy"] == [True, False]
    assert before["shape"] == {"type": "json", "value": '{"a":[1]}'}
    yes, no = until(lambda: shop.usage("node-shop").get("FF_SWITCH"))
    assert yes
    assert no


def test_openfeature_with_the_ofrep_provider(run):
    before, after = run("openfeature.js")

    assert after == {"switched": True}
    assert before["switched"] == [False, "DISABLED", "off", None]
    assert before["italy"] == [True, "TARGETING_MATCH", "on", None]
    assert before["colour"][0] in {"#f00", "#00f"}
    assert before["colour"][1:2] == ["SPLIT"]
    assert (before["count"][0], before["ratio"][0], before["shape"][0]) == (5, 5, {"a": [1]})
    assert before["unset"] == "mine"
    assert before["unknown"] == ["FLAG_NOT_FOUND"] * 3
    assert before["mismatch"] == "TYPE_MISMATCH"
