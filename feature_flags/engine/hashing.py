"""Who falls where: murmur3 buckets, and the draw for those who have nothing to be recognised by."""

from __future__ import annotations

import random

import mmh3

from feature_flags.engine.context import DRAW
from feature_flags.engine.model import Context

# Variants use a seed of their own, so that a variant does not follow from the rollout bucket.
VARIANT_SEED = 86028157


def bucket(group: str, value: str) -> int:
    """1 to 100: in when it is at most the percentage."""
    return mmh3.hash(f"{group}:{value}", 0, False) % 100 + 1


def variant_bucket(group: str, value: str, total: int) -> int:
    """1 to `total`: the first variant whose summed weight reaches it is chosen."""
    return mmh3.hash(f"{group}:{value}", VARIANT_SEED, False) % total + 1


def draw(context: Context) -> str:
    """The request's draw, else a fresh one; it is hashed like an id, which keeps one path for both."""
    drawn = context.get(DRAW)
    return fresh_draw() if drawn is None else drawn


def fresh_draw() -> str:
    return f"{random.getrandbits(64):x}"  # no secret: it decides who sees a button, not who gets in
