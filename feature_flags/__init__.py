"""Feature flags: `declare(...)` where a flag is used, `is_enabled(flag, request)` to ask."""

from feature_flags.context import override_flags
from feature_flags.declarations import Flag, declare, declared
from feature_flags.decorators import FlagRequiredMixin, flag_required
from feature_flags.evaluation import (
    UnknownFlagError,
    exposed,
    is_enabled,
    value_float,
    value_int,
    value_json,
    value_string,
    variant,
)

__all__ = [
    "Flag",
    "FlagRequiredMixin",
    "UnknownFlagError",
    "declare",
    "declared",
    "exposed",
    "flag_required",
    "is_enabled",
    "override_flags",
    "value_float",
    "value_int",
    "value_json",
    "value_string",
    "variant",
]
