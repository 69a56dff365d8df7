"""One result as each protocol writes it."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings

from feature_flags.engine.model import CompiledFlag, Result


def evaluation(flag: CompiledFlag, result: Result) -> bytes:
    """OFREP's `{"key", "value"?, "reason", "variant"}`. No value means: the default in the caller's code."""
    variant = result.variant
    # Clients insist on a variant, also where a flag has none.
    name = variant.name if variant.enabled else "on" if result.enabled else "off"
    document: dict[str, Any] = {"key": flag.name}
    if result.value is not None:
        document["value"] = _typed(result.value, flag.definition.value_type)
    document.update(reason=_reason(result.reason), variant=name)
    if result.error:
        document["metadata"] = {"error": result.error}
    return _json(document)


def toggle(flag: CompiledFlag, result: Result) -> bytes:
    """Unleash's frontend toggle; nothing for a flag that is off."""
    if not result.enabled:
        return b""
    variant: dict[str, Any] = {"name": result.variant.name, "enabled": result.variant.enabled}
    if result.variant.payload is not None:
        variant["payload"] = result.variant.payload
    variant.update(feature_enabled=True, featureEnabled=True)
    impression_data = bool(flag.definition.feature.get("impressionData"))
    return _json({"name": flag.name, "enabled": True, "impressionData": impression_data, "variant": variant})


def _typed(value: Any, value_type: str) -> Any:
    # 5 and 5.0 are two types to some clients, and one to some databases.
    return float(value) if value_type == "float" else value


def _reason(reason: str) -> str:
    # Every SDK knows DEFAULT; the protocol's schema does not list it.
    return "UNKNOWN" if reason == "DEFAULT" and settings.FLAGS_OFREP_STRICT_REASON else reason


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
