"""The verbs of accounts: the only writers. One module per journey."""

from users.services.accounts import rename
from users.services.callers import Actor, Caller
from users.services.recovery import change_password, check_reset, forgot, reset
from users.services.refreshing import refresh
from users.services.registration import check_register, register, request_code, verify
from users.services.sessions import authenticate, logout
from users.services.signin import Attempt, Paused, abandon, begin, finish, give_up, is_paused, open_session
from users.services.staff import (
    FIRST_ADMIN,
    activate,
    create,
    create_admin,
    create_first_admin,
    deactivate,
    edit,
    end_session,
    export_of,
    find,
    mark_verified,
    note_group,
    remove_factors,
    reset_password,
    send_code,
    send_reset,
    sign_out,
    sign_out_all,
    unlock,
)

__all__ = [
    "FIRST_ADMIN",
    "Actor",
    "Attempt",
    "Caller",
    "Paused",
    "abandon",
    "activate",
    "authenticate",
    "begin",
    "change_password",
    "check_register",
    "check_reset",
    "create",
    "create_admin",
    "create_first_admin",
    "deactivate",
    "edit",
    "end_session",
    "export_of",
    "find",
    "finish",
    "forgot",
    "give_up",
    "is_paused",
    "logout",
    "mark_verified",
    "note_group",
    "open_session",
    "refresh",
    "register",
    "remove_factors",
    "rename",
    "request_code",
    "reset",
    "reset_password",
    "send_code",
    "send_reset",
    "sign_out",
    "sign_out_all",
    "unlock",
    "verify",
]
