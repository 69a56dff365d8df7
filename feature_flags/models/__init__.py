"""Tables of the flags; `flags` holds what is decided, `history` what happened, `usage` what readers report."""

from feature_flags.models.flags import (
    ACTOR_LABEL_LENGTH,
    FeatureFlag,
    Segment,
    Tag,
    validate_codename,
    validate_storable,
)
from feature_flags.models.history import AppendOnlyError, FlagRevision, FlagSchedule, FlagSetState
from feature_flags.models.tokens import FlagToken
from feature_flags.models.usage import APP_NAME_LENGTH, FlagSeen, FlagUsage, UnknownFlag

__all__ = [
    "ACTOR_LABEL_LENGTH",
    "APP_NAME_LENGTH",
    "AppendOnlyError",
    "FeatureFlag",
    "FlagRevision",
    "FlagSchedule",
    "FlagSeen",
    "FlagSetState",
    "FlagToken",
    "FlagUsage",
    "Segment",
    "Tag",
    "UnknownFlag",
    "validate_codename",
    "validate_storable",
]
