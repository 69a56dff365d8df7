"""The evaluation context, flat and textual: made once per request, so that evaluation only looks fields up."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from typing import Any

# Random decisions hash the text under this key, so that one request keeps one answer.
# No key from outside can be this one: `normal_context` drops keys with a NUL.
RANDOM = "\x00random"

# A property never stands in for one of these when the top level names it, be it with null.
KNOWN_FIELDS = frozenset({"userId", "sessionId", "remoteAddress", "environment", "appName", "currentTime"})

_SURROGATE = re.compile("[\ud800-\udfff]")


def random_value(context: Mapping[str, str]) -> str:
    """The request's random value, else a new one; it is hashed like an id, which keeps one path for both."""
    value = context.get(RANDOM)
    return new_random_value() if value is None else value


def new_random_value() -> str:
    return f"{random.getrandbits(64):x}"  # no secret: it decides who sees a button, not who gets in


def normal_context(mapping: Mapping[str, Any]) -> dict[str, str]:
    """Flatten an Unleash context: text by field name, top level over `properties`, unknown top-level keys included.

    Numbers and booleans become text (`7`, `7.5`, `true`); null, lists and objects are ignored.
    """
    flat: dict[str, str] = {}
    properties = mapping.get("properties")
    if properties and isinstance(properties, Mapping):
        _collect(flat, properties)
        for known in KNOWN_FIELDS:
            if known in mapping:
                flat.pop(known, None)
    _collect(flat, mapping)
    return flat


def _collect(flat: dict[str, str], mapping: Mapping[str, Any]) -> None:
    for key, value in mapping.items():
        # A NUL: see RANDOM. Half a surrogate pair has no UTF-8 form and could not be shown.
        if not isinstance(key, str) or "\x00" in key or not (key.isascii() or _SURROGATE.search(key) is None):
            continue
        if value.__class__ is str and value.isascii():
            flat[key] = value
        elif (text := _text(value)) is not None:
            flat[key] = text


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        # A lone surrogate (JSON can spell one) has no UTF-8 form and could not be hashed.
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return str(int(value))
    try:
        number = float(value) if isinstance(value, int | float) else math.inf
    except OverflowError:
        # Beyond every float there is no text that other engines would agree on.
        return None
    return _float_text(number) if math.isfinite(number) else None


def _float_text(value: float) -> str:
    """As the reference engine spells it: `7.0`, `0.00001`, `1e-6`, `1e+16`."""
    text = repr(value)
    if "e-05" in text:
        mantissa = text.partition("e")[0]
        return f"{value:.{5 + len(mantissa.lstrip('-').replace('.', '')) - 1}f}"
    return text.replace("e-0", "e-")
