"""Writes docs/licences.md, the licences of all that the lock files name: `make licences`. `--check` changes nothing and
ends with 1 when that file is out of date, or a licence is unknown or not among those allowed."""

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
#: SPDX names (https://spdx.org/licenses/); what may be passed on under the product's own terms.
PERMISSIVE = {
    *("0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU"),
    *("PSF-2.0", "Unlicense", "Zlib"),
}
#: Copyleft of a file or a library, used unmodified and replaceable; each by name.
ALLOWED = {
    "certifi": "MPL-2.0",
    "crontab": "LGPL",
    "hypothesis": "MPL-2.0",
    "pathspec": "MPL-2.0",
    "psycopg": "LGPL-3.0-only",
    "psycopg-binary": "LGPL-3.0-only",
}
#: What older packages say instead of an SPDX name, in a classifier or in words.
SPELLINGS = {
    "Apache Software License": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD License": "BSD",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL",
    "GNU Lesser General Public License v2 (LGPLv2)": "LGPL",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def locked(path: Path) -> dict[str, str]:
    """The versions that a lock file names, less those for other platforms and the oldest Python alone."""
    lines = re.findall(r"^([a-z0-9-]+)(?:\[.*?\])?==([^ ]+)(.*)", path.read_text(), re.MULTILINE)
    return {name: version for name, version, rest in lines if not re.search("win32|== 'emscripten|< '3.11", rest)}


def licence(name: str) -> str:
    """The SPDX expression of an installed package; "" when it names none. Of several classifiers all count."""
    about = metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return expression
    classifiers = [line.split(" :: ")[-1] for line in about.get_all("Classifier", []) if line.startswith("License :: ")]
    named = [found for found in classifiers if found != "OSI Approved"] or [about.get("License") or ""]
    return " AND ".join(sorted({SPELLINGS.get(found, found) for found in named}))


def is_allowed(name: str, expression: str) -> bool:
    """Whether each licence of one alternative is permissive; no brackets are read: those are unknown."""
    alternatives = [each.split(" AND ") for each in expression.split(" OR ")]
    return ALLOWED.get(name) == expression or any(PERMISSIVE.issuperset(each) for each in alternatives)


def page() -> tuple[str, list[str]]:
    """The page, and a sentence for each licence that nobody has allowed."""
    of_extras = {path.stem: locked(path) for path in sorted((ROOT / "requirements").glob("*.txt"))}
    shipped, refusals = locked(ROOT / "requirements.txt"), []
    rows = []
    for name, version in locked(ROOT / "requirements-dev.txt").items():
        extras = [extra for extra, versions in of_extras.items() if name in versions]
        expression = licence(name)
        if not is_allowed(name, expression):
            refusals.append(f"{name} {version}: {expression.splitlines()[0][:80] or 'names no licence'}")
        part = "product" if name in shipped else ", ".join(extras) or "development"
        rows.append(f"| {name} | {expression} | {part} |")
    return TEXT + "\n".join(rows) + "\n", refusals


TEXT = """# Licences of what Switchboard stands on

Made by `make licences` of the lock files and of what the packages say of themselves. *product* is in every deployment,
an extra where it is chosen, *development* in none. `make lint` fails on a licence that is not allowed in
`docs/list_licences.py`: permissive ones, and by name the copyleft of a file or library that is used unmodified.

| package | licence | part of |
|---|---|---|
"""

if __name__ == "__main__":
    text, refused = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text)
    elif PAGE.read_text() != text:
        refused.append("docs/licences.md is out of date: make licences")
    sys.exit("\n".join(refused) or None)
