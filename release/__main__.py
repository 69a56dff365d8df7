"""`make release VERSION=1.4.0`: check that this commit can be a release, and name it one."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import django

from release import contract, history, schema

CHANGES, PROJECT = history.ROOT / "CHANGELOG.md", history.ROOT / "pyproject.toml"
UNRELEASED = "## Unreleased\n"


def troubles(version: str) -> Iterator[str]:
    """Why this commit cannot be that release: a sentence each."""
    last = history.last()
    if history.number(version) <= last.number:
        yield f"{version} does not come after {last.version}."
    if history.git("status", "--porcelain"):
        yield "There are changes that are not committed."
    if not section(CHANGES.read_text(), "Unreleased"):
        yield "CHANGELOG.md says nothing under “Unreleased”."
    if not history.is_cloned_whole():
        yield "This clone lacks the release before: git fetch --unshallow."
        return
    yield from _breaks_of_schema(last)
    if not may_break(last.version, version):
        found, meant = contract.breaks(contract.kept(last.version), contract.document(history.ROOT)), contract.meant()
        yield from (each for each in found if each not in meant)


def _breaks_of_schema(last: history.Release) -> Iterator[str]:
    os.environ["DJANGO_SETTINGS_MODULE"] = contract.SETTINGS
    django.setup()

    yield from map(str, schema.faults(history.migrations(last)))


def may_break(last: str, version: str) -> bool:
    """Whether the number announces that clients may break (semver): the first does, before 1.0.0 the second."""
    before, after = history.number(last), history.number(version)
    return after[0] > before[0] or (after[0] == 0 and after[1] > before[1])


def section(changes: str, heading: str) -> str:
    """What the changelog has below a heading, which is named by how it begins."""
    found = re.search(rf"^## {re.escape(heading)}.*\n((?:(?!## ).*\n?)*)", changes, re.MULTILINE)
    return found[1].strip() if found else ""


def released(changes: str, version: str, day: str) -> str:
    """The changelog with a heading of the release over what was unreleased."""
    return changes.replace(UNRELEASED, f"{UNRELEASED}\n## {version} ({day})\n", 1)


def release(version: str) -> None:
    """Two commits: the release, with its heading and number; and its line in `RELEASES`, which names the first."""
    CHANGES.write_text(released(CHANGES.read_text(), version, f"{datetime.now(UTC):%Y-%m-%d}"))
    project = re.sub(r'^version = ".*"$', f'version = "{version}"', PROJECT.read_text(), count=1, flags=re.MULTILINE)
    PROJECT.write_text(project)
    history.git("commit", "--quiet", "--message", f"Release {version}", "--", str(CHANGES), str(PROJECT))
    commit = history.git("rev-parse", "HEAD")
    with history.NAMES.open("a") as names:
        names.write(f"{version} {commit}\n")
    contract.keep(version, contract.document(history.ROOT))
    history.git("add", "--", str(contract.KEPT))
    files = (str(history.NAMES), str(contract.KEPT))
    history.git("commit", "--quiet", "--message", f"Name the commit of {version}", "--", *files)
    print(f"{version} is {commit}: push it unchanged, for RELEASES names it. Next: git tag v{version} {commit}")


def main(version: str) -> None:
    try:
        if found := list(troubles(version)):
            sys.exit("\n".join(found))
    except ValueError as error:
        sys.exit(str(error))
    release(version)


if __name__ == "__main__":
    main(*sys.argv[1:])
