"""Mails to users about the security of their account: one each, queued in the caller's transaction.

They go to the account's address unless their docstring says otherwise, and cannot be switched off.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from django.utils import timezone

from lib.actors import RequestInfo
from lib.text import printable
from notifications.rendering.render import greeting_name
from notifications.services import outbox
from users.models import OneTimeToken, User


def already_registered(user: User, *, info: RequestInfo) -> None:
    """A registration with this address was refused. Beyond the rate of its type nothing is sent."""
    _queue_notice("already_registered", user, {**_place(info), "at": timezone.now()})


def password_changed(user: User, *, by_staff: bool = False) -> None:
    """The password is another since `user.password_changed_at`: one mail for each change."""
    at = user.password_changed_at or timezone.now()
    _queue_notice("password_changed", user, {"at": at, "by_staff": by_staff}, event=at.isoformat())


def new_sign_in(user: User, *, info: RequestInfo, at: datetime) -> None:
    """A sign-in from a network and program the account has not seen."""
    _queue_notice("new_sign_in", user, {**_place(info), "at": at})


def sign_in_after_failures(user: User, *, count: int, info: RequestInfo, at: datetime) -> None:
    """A sign-in that `count` wrong passwords came before."""
    _queue_notice("sign_in_after_failures", user, {**_place(info), "count": count, "at": at})


def session_replay(user: User, *, label: str, at: datetime) -> None:
    """A refresh token was used twice, and its session has ended; `label` is the session's."""
    _queue_notice("session_replay", user, {"program": greeting_name(label), "at": at}, event=at.isoformat())


def session_resumed(user: User, *, info: RequestInfo, at: datetime) -> None:
    """A spent refresh token was answered once more, because its successor had never been used."""
    _queue_notice("session_resumed", user, {**_place(info), "at": at}, event=at.isoformat())


def email_change_confirm(user: User, *, row: OneTimeToken) -> None:
    """To `row.email`, the new address: the link that makes it the account's."""
    # Its reader need not be the one who asked: the name is no way to send that person a text.
    context = {
        "first_name": greeting_name(user.first_name, is_proved=False),
        "token_id": row.pk.hex,
        "until": row.expires_at,
    }
    _queue_notice("email_change_confirm", user, context, to=row.email, event=row.pk.hex)


def email_change_notice(user: User, *, row: OneTimeToken, new_email: str, old_email: str) -> None:
    """To `old_email`: where the account has gone, and the link that brings it back until `row.expires_at`."""
    context = {"new_email": new_email, "token_id": row.pk.hex, "until": row.expires_at}
    _queue_notice("email_change_notice", user, context, to=old_email, event=row.pk.hex)


def email_changed(user: User, *, to: str) -> None:
    """To the new address, once it is confirmed: it signs in now."""
    _queue_notice("email_changed", user, {}, to=to)


def factor_changed(user: User, *, change: Literal["added", "removed", "recovery_codes"], kind: str, name: str) -> None:
    """A factor came or went, or new recovery codes were made.

    `kind` is the device's (`totp`, `webauthn`), or empty for codes and for all factors at once; ValueError for another.
    `name` is the device's, as its owner typed it; of more than 64 characters the first are shown.
    """
    context = {"change": change, "kind": kind, "name": printable(name)[:64], "at": timezone.now()}
    _queue_notice("factor_changed", user, context)


def recovery_code_used(user: User, *, left: int, info: RequestInfo) -> None:
    """A recovery code stood in for a factor; `left` are unspent."""
    _queue_notice("recovery_code_used", user, {**_place(info), "left": left, "at": timezone.now()})


def api_key_created(user: User, *, name: str, scopes: Sequence[str], info: RequestInfo) -> None:
    """An API key was made or rotated. Its name is printed as a greeting would be: it may hold no link."""
    context = {"name": greeting_name(name), "scopes": ", ".join(scopes), "at": timezone.now()}
    _queue_notice("api_key_created", user, {**_place(info), **context})


def deletion_scheduled(user: User, *, row: OneTimeToken, delete_after_at: datetime) -> None:
    """The account is shut and goes at `delete_after_at`; the link keeps it."""
    context = {"token_id": row.pk.hex, "delete_after_at": delete_after_at}
    _queue_notice("deletion_scheduled", user, context, event=row.pk.hex)


def printed_name(user: User) -> str:
    """The first name for a greeting; of users who have not proved the address only a plain one."""
    return greeting_name(user.first_name, is_proved=user.is_verified)


def queue(name: str, user: User, context: dict[str, Any], *, to: str = "", key: str = "") -> None:
    """Queue the mail `users.{name}` in the caller's transaction; of mails with one `key` only the first is sent."""
    outbox.queue(
        f"users.{name}",
        to=to or user.email,
        user=user,
        context=context,
        language=user.language or None,
        event_key=f"users.{name}:{key}" if key else None,
    )


def _queue_notice(name: str, user: User, context: dict[str, Any], *, to: str = "", event: str = "") -> None:
    """`event` names the occasion: the same one of this person is mailed once."""
    key = f"{user.pk.hex}:{event}" if event else ""
    queue(name, user, {"first_name": printed_name(user), **context}, to=to, key=key)


def _place(info: RequestInfo) -> dict[str, str]:
    # A program names itself as it likes: nothing that a mail program would make a link of.
    return {"program": greeting_name(info.client_name), "ip": info.ip}
