"""Another address for an account: asked for by its owner, confirmed by the new mailbox, undone by the old one."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from lib.actors import Actor
from lib.errors import ProductError
from notifications.services import personal_data
from users.models import OneTimeToken, User, is_reserved
from users.services import audit, deletion, rate_limits, security_mails, sessions, tokens

_CHANGE, _UNDO = OneTimeToken.Purpose.EMAIL_CHANGE, OneTimeToken.Purpose.EMAIL_UNDO
CONFIRM_WITHIN = timedelta(hours=24)
UNDO_WITHIN = timedelta(days=7)
#: Sent to the old address or waiting for it: void once the address is another.
_DYING = tuple(set(OneTimeToken.Purpose) - {_UNDO, OneTimeToken.Purpose.UNDELETE})


def request(user: User, *, email: str, actor: Actor) -> None:
    """Mail a link to the new address; an earlier link dies.

    An address that another account has is answered alike, and its owner is mailed. REAUTHENTICATION_REQUIRED (403),
    EMAIL_CHANGE_SAME_ADDRESS, TOO_MANY_REQUESTS (429) beyond the mails of one account or IP address.
    """
    sessions.require_fresh(actor.request.session_id)
    if email == user.email:
        raise ProductError("EMAIL_CHANGE_SAME_ADDRESS", "This is the address of the account already.")
    rate_limits.require_mail("email_change", user.email, actor=actor)
    if is_reserved(email) or not rate_limits.may_mail("email_change_confirm", email):
        return
    with transaction.atomic():
        row = User.objects.select_for_update().get(pk=user.pk)
        tokens.void(row, _CHANGE)
        # Made for a taken address, too: what is kept of this account must not tell the one from the other.
        session = actor.request.session_id
        payload = {"session": session.hex if session else ""}
        link = tokens.issue(row, _CHANGE, email=email, lasts=CONFIRM_WITHIN, payload=payload)
        audit.record("email.change_requested", actor=actor, user=row)
        owner = User.objects.filter(email=email).first()
        if owner is None or _is_unverified_registration(owner):
            security_mails.email_change_confirm(row, row=link)
        else:
            security_mails.already_registered(owner, info=actor.request)


def confirm(*, token: str, actor: Actor) -> None:
    """Make the address the account's; sessions end but the one that asked, and the old address hears of it.
    EMAIL_CHANGE_BAD_TOKEN; with slug `email_change_address_taken` when another account has the address by now."""
    with _free_address(), transaction.atomic():
        link, user = _spend(token, _CHANGE)
        old = user.email
        if not user.is_active or old == link.email:
            raise _bad_token()
        _move(user, link.email, actor)
        back = tokens.issue(user, _UNDO, email=old, lasts=UNDO_WITHIN)
        asked_in = link.payload.get("session")
        ended = sessions.end_all_sessions(user.pk, reason="email", keep=uuid.UUID(asked_in) if asked_in else None)
        audit.record("email.changed", actor=actor.as_user(user), user=user, ended=ended)
        security_mails.email_change_notice(user, row=back, new_email=user.email, old_email=old)
        security_mails.email_changed(user, to=user.email)


def undo(*, token: str, actor: Actor) -> None:
    """Give the account its old address back; every session ends, and so does a deletion asked for meanwhile.
    EMAIL_CHANGE_BAD_TOKEN; with slug `email_change_address_taken` when another account has the address by now."""
    with _free_address(), transaction.atomic():
        link, user = _spend(token, _UNDO)
        # One who changed it to yet another address must not bring back the one in between.
        tokens.void(user, _UNDO, since=link.created_at)
        if user.email != link.email:
            _move(user, link.email, actor)
        actor = actor.as_user(user)
        ended = sessions.end_all_sessions(user.pk, reason="email")
        audit.record("email.undone", actor=actor, user=user, ended=ended)
        deletion.take_back(user, actor=actor)
        security_mails.email_changed(user, to=user.email)


def _spend(token: str, purpose: OneTimeToken.Purpose) -> tuple[OneTimeToken, User]:
    """The row and its person, locked; of several at once the first one has it."""
    found = tokens.spend(token, purpose)
    if found is None:
        raise _bad_token()
    return found


def _move(user: User, email: str, actor: Actor) -> None:
    """Write the verified address; IntegrityError when another account has it."""
    holder = User.objects.select_for_update().filter(email=email).first()
    if holder is not None and _is_unverified_registration(holder):
        personal_data.forget_user(holder)
        audit.record("user.deleted", actor=actor, user=holder, why="address_proved_by_another")
        holder.delete()
    rate_limits.end_pause(user.email)
    user.email, user.email_verified_at, user.updated_by = email, timezone.now(), user.pk.hex
    user.save(update_fields=["email", "email_verified_at", "updated_by", "updated_at"])
    tokens.void(user, *_DYING)


def _is_unverified_registration(holder: User) -> bool:
    """Whether the address was only typed at a registration and never verified."""
    return (
        holder.created_by == "register"
        and not holder.is_verified
        and holder.password_changed_at is None
        and holder.is_active
        and not holder.is_staff
    )


def _bad_token() -> ProductError:
    return ProductError("EMAIL_CHANGE_BAD_TOKEN", "The link is wrong, has been used or has expired.")


@contextmanager
def _free_address() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        message = "Another account has this address by now."
        raise ProductError("EMAIL_CHANGE_BAD_TOKEN", message, slug="email_change_address_taken") from None
