"""What people are told about their own account: one mail each, queued in the caller's transaction."""

from typing import Any

from users.models import User


def _nothing_yet(user: User, **about: Any) -> None:
    """The words are being written."""


already_registered = password_changed = new_sign_in = sign_in_after_failures = session_replay = _nothing_yet
email_change_confirm = email_change_notice = email_changed = factor_changed = _nothing_yet
recovery_code_used = deletion_scheduled = _nothing_yet
