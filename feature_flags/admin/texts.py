"""Lists and payloads as the text of a form field, and back: all that is stored survives a save without changes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from feature_flags.engine import validation
from feature_flags.flag_document import readable


def lines(text: str) -> list[str]:
    """One name per line or between commas, without the blanks around them."""
    return [name for part in text.replace(",", "\n").splitlines() if (name := part.strip())]


def values_text(values: Sequence[str]) -> str:
    """One value per line. A JSON list where that would not come back the same: a single comma, blanks, line breaks."""
    text = "\n".join(values)
    return text if read_values(text) == list(values) else json.dumps(list(values), ensure_ascii=False)


def read_values(text: str) -> list[str]:
    """One value per line; in a single line, between commas; or a JSON list of texts."""
    if text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list) and all(isinstance(value, str) for value in found):
            return found
    parts = text.split("\n") if "\n" in text else text.split(",")
    return [value for part in parts if (value := part.strip())]


def one_line_break_less(text: str) -> str:
    """A value as it was typed: patterns may begin and end with blanks."""
    return text.removesuffix("\n")


def payload_text(payload: Any) -> str:
    if payload is None or isinstance(payload, str):
        return payload or ""
    return json.dumps(payload, ensure_ascii=False)


def variant_text(variant: Mapping[str, Any]) -> str:
    """The payload of a variant, spelled as where it came from."""
    written = variant.get("written_as")
    return str(written["value"]) if written else payload_text(variant.get("payload"))


def stored_payload(variant: Mapping[str, Any]) -> str:
    """What the text alone does not say: how the payload is spelled, or that there is none. Empty for a new variant."""
    if "payload" not in variant or (variant["payload"] is not None and not variant.get("written_as")):
        return ""
    return json.dumps({key: variant.get(key) for key in ("payload", "written_as")})


def read_stored(stored: str, text: str) -> dict[str, Any] | None:
    """The payload as it was stored, if this is still its text; None when it is not, or there is nothing to keep."""
    if not stored:
        return None
    try:
        variant = json.loads(stored)
        is_kept = re.sub("\r\n?", "\n", variant_text(variant)) == text
        return {key: variant[key] for key in ("payload", "written_as")} if is_kept else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # The field is hidden, but not out of reach.
        return None


def read_payload(text: str, value_type: str) -> Any:
    """The value of a declared type; a text that is none comes back as it is, and is refused as such later."""
    if value_type == "string":
        return text
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def context_notes(document: Mapping[str, Any]) -> list[str]:
    """What a context has to bring so that every SDK reads it alike: a line for each field that can be read two ways."""
    rules = document.get("rules") or []
    notes: dict[str, str] = {}
    for part in [document, *rules]:
        for constraint in readable(part.get("constraints")):
            if note := validation.context_note(constraint["operator"]):
                notes[constraint["field"]] = note
    for place in rules or [document]:
        if place.get("stickiness", "random") != "random" and (place["rollout_percent"] < 100 or place["variants"]):
            fields = "userId or sessionId" if place["stickiness"] == "default" else place["stickiness"]
            notes.setdefault(fields, validation.HASHED)
    if (document.get("targets") or {}).get("on"):
        notes.setdefault("userId", validation.NAMED)
    return [f"{field}: {note}" for field, note in notes.items()]
