"""The messages of this app itself: announcements of staff, and the test mail."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from django.utils.translation import gettext_lazy as _
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

import notifications
from lib.text import require_storable
from notifications import ACCOUNT, BULK, EMAIL, IN_APP, registry
from notifications.rendering.engines import TEST


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line without control characters")
    return value


def _web_address(value: str) -> str:
    """Empty, or an http(s) address: nothing else may stand behind a button."""
    try:
        parts = urlsplit(value)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_usable = False
    if value and not (is_usable and value.isprintable() and " " not in value):
        raise ValueError("must be an http or https address")
    return value


def _declared(code: str) -> str:
    if code and code not in {kind.code for kind in registry.declared_types()}:
        raise ValueError("must be a declared type")
    return code


def _trimmed(longest: int, *, least: int = 0) -> StringConstraints:
    return StringConstraints(strip_whitespace=True, min_length=least, max_length=longest)


class Announcement(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: Annotated[str, _trimmed(150, least=1), AfterValidator(_one_line)]
    body: Annotated[str, _trimmed(4000, least=1), AfterValidator(require_storable)]
    url: Annotated[str, _trimmed(2000), AfterValidator(_web_address)] = ""
    severity: Literal["info", "success", "warning", "error"] = "info"


class Test(BaseModel):
    """`about`: the type whose sample is shown; without it the mail is only proof that mail arrives."""

    model_config = ConfigDict(extra="forbid")

    about: Annotated[str, StringConstraints(max_length=100), AfterValidator(_declared)] = ""


notifications.declare(
    "notifications.announcement",
    label=_("Announcement"),
    category="announcement",
    priority=BULK,
    channels=(IN_APP, EMAIL),
    context=Announcement,
    throttle=registry.BY_STAFF,
)
notifications.declare(
    TEST,
    label=_("Test message"),
    category="account",
    priority=ACCOUNT,
    context=Test,
    throttle=registry.BY_STAFF,
    expires_in=timedelta(hours=1),
)
