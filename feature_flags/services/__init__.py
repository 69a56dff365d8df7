"""The verbs that change flags, and the only writer of their tables."""

from feature_flags.services.declaring import ensure_declared
from feature_flags.services.flags import archive, create, delete, edit, get, rename, restore, switch, unarchive
from feature_flags.services.importing import Report, import_flags
from feature_flags.services.recording import Who
from feature_flags.services.schedules import apply_due, cancel_schedule, schedule
from feature_flags.services.segments import create_segment, delete_segment, edit_segment
from feature_flags.services.tokens import create_development_tokens, create_token, revoke_token

__all__ = [
    "Report",
    "Who",
    "apply_due",
    "archive",
    "cancel_schedule",
    "create",
    "create_development_tokens",
    "create_segment",
    "create_token",
    "delete",
    "delete_segment",
    "edit",
    "edit_segment",
    "ensure_declared",
    "get",
    "import_flags",
    "rename",
    "restore",
    "revoke_token",
    "schedule",
    "switch",
    "unarchive",
]
