"""Feature flags this app asks about."""

import feature_flags

ENABLE_REGISTRATION = feature_flags.declare(
    "FF_ENABLE_REGISTRATION",
    default=True,
    label="Enable Registration",
    description="Off: sign-up answers 404. Rules: only those they match may sign up.",
    protected=True,
    kind="permission",
)
