"""Feature flags: `feature_flags.declare(...)` where a flag is used, `feature_flags.is_enabled(flag)` to ask."""

from feature_flags.flags import Flag, declare, declared, is_enabled

__all__ = ["Flag", "declare", "declared", "is_enabled"]
