"""Flags a flag depends on. They are looked up while evaluating, so that no compiled flag holds another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from feature_flags.engine.model import DISABLED, Broken, CompiledFlag, Context, Flags, Variant
from feature_flags.engine.text import plain


class Prerequisite(NamedTuple):
    """`parent` must be on (or off, as `enabled` says); with `variants` it must also have chosen one of them."""

    parent: str
    enabled: bool
    variants: frozenset[str]


def prerequisites_of(feature: Mapping[str, Any]) -> tuple[Prerequisite, ...]:
    return tuple(_prerequisite(document) for document in feature.get("dependencies") or ())


def all_met(prerequisites: Sequence[Prerequisite], context: Context, flags: Flags) -> bool:
    for prerequisite in prerequisites:  # noqa: SIM110 - all() with a generator takes twice as long
        if not is_met(prerequisite, context, flags):
            return False
    return True


def is_met(prerequisite: Prerequisite, context: Context, flags: Flags) -> bool:
    """Whether the parent is as required for this context. One level only: a parent with parents satisfies nobody."""
    parent = flags.get(prerequisite.parent)
    if parent is None or parent.has_parents:
        return False
    result = parent.constant or parent.evaluate(context, flags)
    if result.enabled is not prerequisite.enabled:
        return False
    if not prerequisite.variants:
        return True
    chosen = _chosen(parent, result.variant if result.enabled else None, context)
    # A parent without variants has nothing to compare, which counts as met.
    return chosen is None or chosen.name in prerequisite.variants


def _chosen(parent: CompiledFlag, variant: Variant | None, context: Context) -> Variant | None:
    if variant is not None:
        return None if variant is DISABLED else variant
    return parent.variant_while_off(context) if parent.variant_while_off else None


def _prerequisite(document: Mapping[str, Any]) -> Prerequisite:
    enabled = document.get("enabled")
    if not isinstance(enabled, bool | None):
        raise Broken("a prerequisite is neither on nor off")
    return Prerequisite(
        plain(document.get("feature"), "the name of a prerequisite"),
        enabled is not False,
        frozenset(document.get("variants") or ()),
    )
