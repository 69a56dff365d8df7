"""The releases there were, as the file `RELEASES` names them, and their files, as Git has them."""

from __future__ import annotations

import re
import subprocess
import zipfile
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
NAMES = ROOT / "RELEASES"
#: Of a path in the repository: the label of the app, and the name of the migration.
_MIGRATION = re.compile(r"(\w+)/migrations/(\d\w+)\.py")


class Release(NamedTuple):
    version: str
    commit: str

    @property
    def number(self) -> tuple[int, ...]:
        return number(self.version)


def number(version: str) -> tuple[int, ...]:
    """`1.10.0` as (1, 10, 0). Raises: ValueError for anything but three whole numbers."""
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version, re.ASCII):
        raise ValueError(f"A version is three whole numbers, such as 1.4.0; this is none: {version}")
    return tuple(map(int, version.split(".")))


def releases() -> list[Release]:
    """In the order of the file: the newest last."""
    lines = (line.split() for line in NAMES.read_text().splitlines() if line and not line.startswith("#"))
    return [Release(version, commit) for version, commit in lines]


def last() -> Release:
    return releases()[-1]


def is_cloned_whole() -> bool:
    """Whether the files of earlier commits are here: not in an export, nor in a shallow clone."""
    return (ROOT / ".git").exists() and git("rev-parse", "--is-shallow-repository") == "false"


def migrations(release: Release) -> set[tuple[str, str]]:
    """`{(app, name)}` of the migrations that it came with."""
    paths = git("ls-tree", "-r", "--name-only", release.commit).splitlines()
    return {(found[1], found[2]) for path in paths if (found := _MIGRATION.fullmatch(path))}


def unpack(release: Release, directory: Path) -> Path:
    """Write its files to the directory, which is made, and return that."""
    packed = subprocess.run(
        ["git", "archive", "--format=zip", release.commit], cwd=ROOT, check=True, capture_output=True
    )
    zipfile.ZipFile(BytesIO(packed.stdout)).extractall(directory)
    return directory


def git(*arguments: str) -> str:
    """What it prints. Raises: subprocess.CalledProcessError, with the reason on its stderr."""
    return _git(*arguments).decode().strip()


def _git(*arguments: str) -> bytes:
    # A checkout may belong to another user than who runs its tests.
    command = ["git", "-c", f"safe.directory={ROOT}", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
