"""Clients that generators make of the description of the API, unmodified: strict checks, and a journey each."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from project.tests.processes import ROOT, serving

pytestmark = pytest.mark.sdk
HERE = Path(__file__).parent
SDK = ROOT / "feature_flags" / "tests" / "sdk"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server"), USERS_RETURN_VERIFICATION_TOKENS="1") as server:
        yield server


@pytest.fixture(scope="module")
def document(server, tmp_path_factory):
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_text(httpx.get(server.url + "/api/openapi.json", timeout=60).text)
    return path


def run(*command, cwd, env=None):
    command = list(map(str, command))
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_openapi_python_client(server, document, tmp_path):
    config = tmp_path / "config.yml"
    config.write_text("package_name_override: switchboard_generated\nproject_name_override: generated\n")
    python = Path(sys.executable)
    generate = (python.parent / "openapi-python-client", "generate", "--path", document, "--config", config)
    said = run(*generate, "--meta", "none", "--output-path", tmp_path / "switchboard_generated", cwd=tmp_path)
    (tmp_path / "journey.py").write_text((HERE / "journey.py").read_text())

    run(python, "-m", "mypy", "--strict", "journey.py", "switchboard_generated", cwd=tmp_path)
    promote = [str(python), str(ROOT / "manage.py"), "create_admin", "ada@example.org"]
    seen = json.loads(run(python, "journey.py", server.url, json.dumps(promote), cwd=tmp_path, env=server.env))

    assert "Warning" not in said
    assert seen["copy_of"] == seen["of"]
    assert (seen["why"]["codename"], seen["why"]["enabled"]) == ("FF_JOURNEY", True)


KEY = """
from lib.actors import Actor
from users.models import User
from users.services import api_keys, staff
from feature_flags.services import editing
who = Actor.command("test")
user, _ = staff.create_admin("grace@example.org", actor=who)
editing.create("FF_TYPED", actor=who)
print(api_keys.create(user, actor=who, name="ts", scopes=["account:read", "flags:switch", "people:read"])[1])
"""


def test_openapi_typescript(server, document, tmp_path):
    made = server.command("shell", "-v", "0", "-c", KEY)
    assert made.returncode == 0, made.stderr
    (tmp_path / "journey.ts").write_text((HERE / "journey.ts").read_text())
    (tmp_path / "node_modules").symlink_to(SDK / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    programs = SDK / "node_modules" / ".bin"

    run(programs / "openapi-typescript", document, "-o", tmp_path / "api.ts", cwd=tmp_path)
    strict = ("--strict", "--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext")
    run(programs / "tsc", *strict, "--lib", "es2022,dom", "api.ts", "journey.ts", cwd=tmp_path)
    seen = json.loads(run("node", "journey.js", server.url, made.stdout.strip(), "FF_TYPED", cwd=tmp_path))

    assert (seen["changed"], seen["enabled"], seen["refused"]) == (True, True, 403)
