"""The mails this app sends, and how their secrets are made while they are rendered."""

import uuid
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import quote

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints

import notifications
from lib.schemas import Text
from notifications import ACCOUNT, SECURITY, Withdrawn
from notifications.registry import Derive
from users.models import OneTimeToken
from users.services import tokens


class _Context(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RegistrationCode(_Context):
    first_name: str
    token_id: str
    code_serial: int


class Welcome(_Context):
    first_name: str


class ForgotPassword(_Context):
    """`is_first`: the address was just verified, and no password that was registered for it was kept."""

    first_name: str
    token_id: str
    is_first: bool = False


class _Notice(_Context):
    """What happened to the own account. Times are stored as ISO 8601 and shown in the reader's language."""

    first_name: Text


class Seen(_Notice):
    """When, and the `program` and `ip` of the client; empty when they are unknown or not fit to print."""

    program: Text
    ip: Text
    at: AwareDatetime


class SignInAfterFailures(Seen):
    count: int


class RecoveryCodeUsed(Seen):
    left: int


class ApiKeyCreated(Seen):
    """`name` as its owner typed it, `scopes` in words of the API."""

    name: Annotated[Text, StringConstraints(max_length=100)]
    scopes: str


class PasswordChanged(_Notice):
    at: AwareDatetime
    by_staff: bool


class SessionReplay(_Notice):
    program: Text
    at: AwareDatetime


class EmailChangeConfirm(_Notice):
    token_id: str
    until: AwareDatetime


class EmailChangeNotice(_Notice):
    new_email: Text
    token_id: str
    until: AwareDatetime


class FactorChanged(_Notice):
    change: Literal["added", "removed", "recovery_codes"]
    kind: Literal["totp", "webauthn", ""]
    name: Annotated[Text, StringConstraints(max_length=64)]
    at: AwareDatetime


class DeletionScheduled(_Notice):
    token_id: str
    delete_after_at: AwareDatetime


def _derive_code(context: dict[str, Any]) -> dict[str, str]:
    now = timezone.now()
    row = OneTimeToken.open(now).filter(pk=uuid.UUID(context["token_id"]), code_expires_at__gt=now).first()
    if row is None or row.code_serial != context["code_serial"]:
        raise Withdrawn("superseded")
    if not (code := tokens.registration_code(row)):
        raise Withdrawn("key_gone")
    return {"registration_code": code}


def _link(name: str, path: str) -> Derive:
    """A `derive` that gives `name`: APP_URL, `path`, and the token of the row the context names, while it is open."""

    def derive(context: dict[str, Any]) -> dict[str, str]:
        row = OneTimeToken.open(timezone.now()).filter(pk=uuid.UUID(context["token_id"])).first()
        if row is None:
            raise Withdrawn("superseded")
        if not (token := tokens.one_time_token(row)):
            raise Withdrawn("key_gone")
        return {name: f"{settings.APP_URL}{path}{quote(token, safe='')}"}

    return derive


notifications.declare(
    "users.registration_code",
    label=_("Registration code"),
    category="security",
    priority=SECURITY,
    context=RegistrationCode,
    secrets=("registration_code",),
    derive=_derive_code,
    expires_in=timedelta(seconds=settings.USERS_CODE_LIFETIME_SECONDS),
    backoff="prompt",
)
notifications.declare(
    "users.welcome", label=_("Welcome"), category="account", priority=ACCOUNT, context=Welcome, backoff="standard"
)
notifications.declare(
    "users.forgot_password",
    label=_("Password reset"),
    category="security",
    priority=SECURITY,
    context=ForgotPassword,
    secrets=("reset_url",),
    derive=_link("reset_url", "/forgot-password/reset?reset_token="),
    expires_in=timedelta(seconds=settings.USERS_RESET_LIFETIME_SECONDS),
    backoff="prompt",
)

# Anyone who types a registered address makes us write to it: not more often than this.
notifications.declare(
    "users.already_registered",
    label=_("Already registered"),
    context=Seen,
    throttle=("3/1m", "5/10m", "20/1d"),
)
notifications.declare("users.password_changed", label=_("Password changed"), context=PasswordChanged)
# A program that keeps no cookies may sign in by the hour.
notifications.declare("users.new_sign_in", label=_("New sign-in"), context=Seen, throttle=("20/1d",))
notifications.declare(
    "users.sign_in_after_failures", label=_("Sign-in after failed tries"), context=SignInAfterFailures
)
notifications.declare("users.session_resumed", label=_("Session resumed"), context=Seen)
notifications.declare("users.session_replay", label=_("Session ended for safety"), context=SessionReplay)
notifications.declare(
    "users.email_change_confirm",
    label=_("Confirmation of a new address"),
    context=EmailChangeConfirm,
    secrets=("confirm_url",),
    derive=_link("confirm_url", "/change-email?token="),
    backoff="prompt",
)
notifications.declare(
    "users.email_change_notice",
    label=_("Address changed, to the old one"),
    context=EmailChangeNotice,
    secrets=("undo_url",),
    derive=_link("undo_url", "/change-email/undo?token="),
)
notifications.declare("users.email_changed", label=_("Address changed, to the new one"), context=_Notice)
notifications.declare("users.factor_changed", label=_("Second factor changed"), context=FactorChanged)
notifications.declare("users.recovery_code_used", label=_("Recovery code used"), context=RecoveryCodeUsed)
notifications.declare("users.api_key_created", label=_("New API key"), context=ApiKeyCreated)
notifications.declare(
    "users.deletion_scheduled",
    label=_("Deletion of the account"),
    context=DeletionScheduled,
    secrets=("undelete_url",),
    derive=_link("undelete_url", "/undelete?token="),
)
