"""The lock files agree with each other, and every licence among them is allowed."""

import re
from pathlib import Path

import pytest

from docs import list_licences

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = sorted((ROOT / "requirements").glob("*.in"))
LOCKS = [ROOT / "requirements.txt", *(path.with_suffix(".txt") for path in EXTRAS)]


@pytest.mark.parametrize("extra", EXTRAS, ids=lambda path: path.stem)
def test_the_tests_run_with_every_extra(extra):
    assert f"-r requirements/{extra.name}\n" in (ROOT / "requirements-dev.in").read_text()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_deployment_gets_the_versions_that_the_tests_ran_with(lock):
    tested = list_licences.locked(ROOT / "requirements-dev.txt")

    assert list_licences.locked(lock).items() <= tested.items()


@pytest.mark.parametrize("lock", [*LOCKS, ROOT / "requirements-dev.txt"], ids=lambda path: path.stem)
def test_every_locked_package_has_hashes(lock):
    # pip turns hash checking on for the whole file at the first hash, and refuses what has none.
    entries = re.findall(r"^[a-z][^\n]*(?:\n +--hash=sha256:[0-9a-f]{64}[^\n]*)*", lock.read_text(), re.MULTILINE)

    assert entries
    assert [entry for entry in entries if "--hash" not in entry] == []


@pytest.mark.parametrize(
    ("name", "expression", "allowed"),
    [
        ("any", "MIT", True),
        ("any", "Apache-2.0 OR GPL-3.0-only", True),
        ("any", "MIT AND PSF-2.0", True),
        ("any", "MIT AND GPL-3.0-only", False),
        ("any", "LGPL-3.0-only", False),
        ("psycopg", "LGPL-3.0-only", True),
        ("psycopg", "AGPL-3.0-only", False),
        ("any", "", False),
        ("any", "UNKNOWN", False),
    ],
)
def test_a_licence_nobody_has_allowed_is_refused(name, expression, allowed):
    assert list_licences.is_allowed(name, expression) is allowed
