"""What a codename may look like. Knows no Django, so that declarations can be checked before models are loaded."""

import re

from feature_flags.engine.words import translate as _

MAX_LENGTH = 100
# `\Z` through fullmatch: `$` would let a trailing line break pass.
PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*", re.ASCII)


def problem(codename: str) -> str:
    """Why this cannot be a codename, as a sentence; empty when it can."""
    if not PATTERN.fullmatch(codename):
        return _("A codename starts with a letter or digit and holds letters, digits, `.`, `_`, `~` and `-` only.")
    if len(codename) > MAX_LENGTH:
        return _("A codename has at most %(count)d characters.") % {"count": MAX_LENGTH}
    return ""
