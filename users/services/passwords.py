"""A new password: by a mailed link when the old one is forgotten, with the current one, or by an invitation."""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from lib.actors import Actor
from lib.addresses import normal_email
from lib.errors import ProductError
from users.models import MfaDevice, OneTimeToken, User
from users.services import (
    audit,
    password_strength,
    rate_limits,
    second_factors,
    security_mails,
    sessions,
    sign_in,
    tokens,
)

_RESET = OneTimeToken.Purpose.RESET
#: What a new password makes void.
_DYING = (_RESET, OneTimeToken.Purpose.MFA_LOGIN, OneTimeToken.Purpose.EMAIL_CHANGE, OneTimeToken.Purpose.ENROL)


def forgot(*, email: str, actor: Actor) -> str:
    """Mail a link to an active account and return its token; a decoy for every other address, no mail.
    TOO_MANY_REQUESTS (429) beyond the mails of one IP address."""
    now, account = timezone.now(), User.objects.of_address(email)
    email = normal_email(email)
    rate_limits.count_mail(actor)
    may_mail = rate_limits.may_mail("forgot_password", email)
    row: OneTimeToken | None
    with transaction.atomic():
        user = account.select_for_update().filter(is_active=True).first()
        if user is None or user.is_service_account:
            return tokens.decoy_token(_RESET, email, now)
        if may_mail:
            audit.record("password.reset_requested", actor=actor, user=user)
            row = send_link(user)
        else:
            links = OneTimeToken.open(now).filter(user=user, purpose=_RESET)
            row = links.order_by("-created_at").first()
    return (row and tokens.one_time_token(row)) or tokens.decoy_token(_RESET, email, now)


def send_link(user: User, *, is_first: bool = False) -> OneTimeToken:
    """A new reset link; the ones before it die. Call it inside a transaction that holds the user's row.

    `is_first`: the mail says why a verified address has no password yet.
    """
    tokens.void(user, _RESET)
    lasts = timedelta(seconds=settings.USERS_RESET_LIFETIME_SECONDS)
    row = tokens.issue(user, _RESET, email=user.email, lasts=lasts)
    context: dict[str, Any] = {"first_name": security_mails.printed_name(user), "token_id": row.pk.hex}
    if is_first:
        context["is_first"] = True
    security_mails.queue("forgot_password", user, context, key=row.pk.hex)
    return row


def check_reset(*, email: str, token: str, password: str) -> OneTimeToken:
    """The row a link proves, still unspent: a password the policy refuses leaves the link good. Raises
    RESET_PASSWORD_BAD_TOKEN or RESET_PASSWORD_INVALID_PASSWORD."""
    row = tokens.find(token, _RESET)
    if row is None or normal_email(row.email) != normal_email(email):
        raise _bad_token()
    has_factor = MfaDevice.objects.filter(user=row.user_id, confirmed_at__isnull=False).exists()
    password_strength.check(password, email=row.email, code="RESET_PASSWORD_INVALID_PASSWORD", has_factor=has_factor)
    return row


@transaction.atomic
def reset(row: OneTimeToken, *, password_hash: str, actor: Actor) -> None:
    """Spend the link and set the password; every session ends and the pause is lifted."""
    user = User.objects.select_for_update(of=("self",)).get(one_time_tokens=row)
    if not tokens.use_up(row) or user.email != row.email or not user.is_active:
        raise _bad_token()
    set_password(user, password_hash, event="password.reset", actor=replace(actor, user=user, label="reset"))


@transaction.atomic
def change(
    user: User, *, password_hash: str, compared: str | None = None, actor: Actor, keep: uuid.UUID | None = None
) -> User | None:
    """A person's own new password; every other session ends. None when the account is not as it was `compared`."""
    row = User.objects.select_for_update().get(pk=user.pk)
    if not row.is_active or (compared is not None and row.password != compared):
        return None
    set_password(row, password_hash, event="password.changed", actor=actor, keep=keep)
    return row


def set_password(user: User, password_hash: str, *, event: str, actor: Actor, keep: uuid.UUID | None = None) -> int:
    """The new password of a locked row: open links and waiting sign-ins die, sessions but the one to `keep` end, the
    pause is lifted, the owner is mailed. Return how many sessions ended."""
    now = timezone.now()
    user.password = password_hash
    user.password_changed_at = now
    user.must_reset = False
    user.updated_by = actor.label
    user.save()
    tokens.void(user, *_DYING)
    rate_limits.end_pause(user.email)
    ended = sessions.end_all_sessions(user.pk, reason="password", keep=keep)
    audit.record(event, actor=actor, user=user, ended=ended)
    security_mails.password_changed(user, by_staff=actor.user != user)
    return ended


def _bad_token() -> ProductError:
    return ProductError(
        "RESET_PASSWORD_BAD_TOKEN", _("The link is wrong, has been used or has expired."), detail="Bad Request"
    )


# --- With the current one ---------------------------------------------------------------------------------------------


def begin_change(user: User, *, new_password: str, actor: Actor) -> sign_in.Attempt:
    """Look at the new password, then count a try at the current one like a sign-in.

    Compare with `encoded`, then call `sign_in.check_own`. Raises CHANGE_PASSWORD_INVALID_PASSWORD with the broken
    rule; PASSWORD_WRONG (slug `login_paused`, Retry-After) during a pause; TOO_MANY_REQUESTS (429).
    """
    code, has_factor = "CHANGE_PASSWORD_INVALID_PASSWORD", second_factors.has_factor(user)
    password_strength.check(new_password, email=user.email, code=code, has_factor=has_factor)
    return sign_in.begin_own(user, actor=actor)


def finish_change(
    user: User, *, password_hash: str, attempt: sign_in.Attempt, actor: Actor, keep: uuid.UUID | None
) -> None:
    """Set the new password; the other sessions end. PASSWORD_WRONG when it has changed since the comparison."""
    actor = actor.as_user(user)
    if change(user, password_hash=password_hash, compared=attempt.encoded, actor=actor, keep=keep) is None:
        raise sign_in.wrong_password()


# --- Invitations of staff: the link sets a password and a second factor up, in the admin ------------------------------

_ENROL = OneTimeToken.Purpose.ENROL


@transaction.atomic
def invitation_link(user: User) -> str:
    """An address of the admin, good once and for 24 hours; the ones before it die."""
    tokens.void(user, _ENROL)
    row = tokens.issue(user, _ENROL, email=user.email, lasts=timedelta(hours=24))
    return settings.BASE_URL + reverse("admin:enrol", args=[tokens.one_time_token(row)])


def check_invitation(token: str) -> OneTimeToken:
    """The row a link proves, still unspent: opening the link spends nothing. ENROL_BAD_TOKEN."""
    found = tokens.find(token, _ENROL)
    row = find_invitation(found.pk) if found else None
    if row is None:
        raise _bad_invitation()
    return row


def find_invitation(row_id: uuid.UUID | None) -> OneTimeToken | None:
    """The row of a link that is still good, with its `user`: active staff, at the address the link was made for."""
    found = OneTimeToken.open(timezone.now()).filter(pk__in=[row_id], purpose=_ENROL)
    row = found.filter(user__is_active=True, user__is_staff=True).select_related("user").first()
    return row if row and row.user and row.user.email == row.email else None


@transaction.atomic
def redeem_invitation(row: OneTimeToken, *, password_hash: str, actor: Actor) -> User:
    """Spend the link and set the password, which ends every session; ENROL_BAD_TOKEN."""
    user = User.objects.select_for_update(of=("self",)).get(one_time_tokens=row)
    if not tokens.use_up(row) or not (user.is_active and user.is_staff) or user.email != row.email:
        raise _bad_invitation()
    set_password(user, password_hash, event="password.reset", actor=actor.as_user(user))
    return user


def _bad_invitation() -> ProductError:
    return ProductError("ENROL_BAD_TOKEN", _("The link is wrong, has been used or has expired."))
