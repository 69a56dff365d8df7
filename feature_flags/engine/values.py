"""Payloads in the type a flag declares."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from feature_flags.engine.model import Broken, Definition, Variant
from feature_flags.engine.text import plain

_INTEGER = re.compile(r"-?[0-9]{1,4000}", re.ASCII)


def value_of(definition: Definition, variant: Variant) -> Any:
    """The value of a flag that is on with this variant; Broken when the payload is not of the declared type.

    A boolean flag is just on. For the others "on" says too little: without payload they answer their off value, so
    that a caller never gets another type than the declared one.
    """
    if definition.value_type == "boolean":
        return True
    if variant.payload is None:
        return definition.off_value
    text = plain(variant.payload.get("value"), f"the payload of variant {variant.name}")
    if definition.value_type not in _READERS:
        raise Broken(f"unknown type {definition.value_type}")
    try:
        return read_payload(text, definition.value_type)
    except ValueError:
        raise Broken(f"the payload of variant {variant.name} is not of type {definition.value_type}") from None


def read_payload(text: str, value_type: str) -> Any:
    """The value that a payload's text stands for, of any type but boolean; ValueError."""
    try:
        return _READERS[value_type](text)
    except RecursionError:
        raise ValueError(text) from None


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _object(text: str) -> Any:
    value = json.loads(text)
    if not isinstance(value, dict | list):
        raise ValueError(text)
    return value


_READERS: dict[str, Callable[[str], Any]] = {"string": str, "integer": _integer, "float": _float, "object": _object}
