"""The mails this app sends, and how their secrets are made while they are rendered."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from pydantic import BaseModel, ConfigDict

import notifications
from notifications import ACCOUNT, SECURITY, Withdrawn

# A stranger may type anybody's address and any name beside it: to an unproved address only a plain name is printed.
_PLAIN_NAME = re.compile(r"[^\W\d_]+(?:[ '\-][^\W\d_]+)*")


class _Context(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RegistrationCode(_Context):
    first_name: str
    token_id: str
    code_serial: int


class Welcome(_Context):
    first_name: str


class ForgotPassword(_Context):
    first_name: str
    token_id: str


def plain_name(name: str) -> str:
    """The name if it is only letters, spaces, `'`, `-` and at most 40 characters, else nothing."""
    return name if len(name) <= 40 and _PLAIN_NAME.fullmatch(name) else ""


def _derive_code(context: dict[str, Any]) -> dict[str, str]:
    from users.models import OneTimeToken
    from users.services import tokens

    now = timezone.now()
    row = OneTimeToken.open(now).filter(pk=uuid.UUID(context["token_id"]), code_expires_at__gt=now).first()
    if row is None or row.code_serial != context["code_serial"]:
        raise Withdrawn("superseded")
    if not (code := tokens.registration_code(row)):
        raise Withdrawn("key_gone")
    return {"registration_code": code}


def _derive_reset_url(context: dict[str, Any]) -> dict[str, str]:
    from users.models import OneTimeToken
    from users.services import tokens

    row = OneTimeToken.open(timezone.now()).filter(pk=uuid.UUID(context["token_id"])).first()
    if row is None:
        raise Withdrawn("superseded")
    if not (token := tokens.one_time_token(row)):
        raise Withdrawn("key_gone")
    return {"reset_url": f"{settings.APP_URL}/forgot-password/reset?reset_token={quote(token, safe='')}"}


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
    derive=_derive_reset_url,
    expires_in=timedelta(seconds=settings.USERS_RESET_LIFETIME_SECONDS),
    backoff="prompt",
)
