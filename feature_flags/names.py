"""What a codename may look like. Knows no Django, so that declarations can be checked before models are loaded."""

import re

MAX_LENGTH = 100
# `\Z` through fullmatch: `$` would let a trailing line break pass.
PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*", re.ASCII)


def problem(codename: str) -> str:
    """Why this cannot be a codename, as a sentence; empty when it can."""
    if not PATTERN.fullmatch(codename):
        return "A codename starts with a letter or digit and holds letters, digits, `.`, `_`, `~` and `-` only."
    if len(codename) > MAX_LENGTH:
        return f"A codename has at most {MAX_LENGTH} characters."
    return ""
