"""What staff and operators do to accounts. Each verb returns whether it changed anything, so a repeat is harmless."""

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from lib import db
from lib.actors import Actor
from lib.addresses import valid_email
from lib.errors import ProductError
from lib.text import is_storable, printable
from users.models import AuditEvent, User, UserSession
from users.services import (
    audit,
    hashing,
    password_strength,
    passwords,
    personal_data,
    rate_limits,
    registration,
    second_factors,
    sessions,
)

FIRST_ADMIN = "admin@example.com"
_REASON_MAX_LENGTH = 200
#: Stands in place of a reason while the owner's own request to delete the account is pending.
DELETION_REQUESTED = "deletion requested by its owner"


def find(email: str) -> User:
    """The account of an address in any spelling; USER_UNKNOWN (404)."""
    user = User.objects.of_address(email).first() if is_storable(email) else None
    if user is None:
        raise ProductError("USER_UNKNOWN", _("No user %(value)s.") % {"value": printable(email)}, status=404)
    return user


def _locked(user: User) -> User:
    return User.objects.select_for_update().get(pk=user.pk)


def create(*, email: str, first_name: str = "", last_name: str = "", actor: Actor) -> User:
    """An active, unverified account without a password: a mailed reset link sets one. USER_EXISTS, ADDRESS_RESERVED."""
    try:
        with transaction.atomic():
            user = User.objects.create_user(
                email, None, first_name=first_name, last_name=last_name, created_by=actor.label, updated_by=actor.label
            )
            registration.refuse_reserved(user.email)
            audit.record("user.created", actor=actor, user=user)
            return user
    except IntegrityError as error:
        raise ProductError("USER_EXISTS", _("A user with this address exists.")) from error


#: What an account holds of them, by the name of the field.
_GRANTS = frozenset({"groups", "user_permissions"})


@transaction.atomic
def edit(user: User, *, actor: Actor, **fields: Any) -> User:
    """Write names, staff marks, groups and permissions (of the last two, all there shall be); return the row as it is.

    CANNOT_DEMOTE_SELF, LAST_SUPERUSER, SUPERUSERS_ONLY, ADMINS_ONLY. For anything but names the proof of the session
    has to be fresh: REAUTHENTICATION_REQUIRED.
    """
    marks = {name: value for name, value in fields.items() if name in {"is_staff", "is_superuser"}}
    names = {name: value for name, value in fields.items() if name in {"first_name", "last_name"}}
    if unknown := fields.keys() - names.keys() - marks.keys() - _GRANTS:
        raise ValueError(f"not editable: {sorted(unknown)}")
    require_reach(user, actor=actor)
    if fields.keys() - names.keys():
        # Other staff could otherwise give rights to themselves.
        if actor.user is not None and not actor.user.is_superuser:
            raise ProductError("SUPERUSERS_ONLY", _("Only superusers give and take rights."), status=403)
        require_proof(actor)
    if False in marks.values():
        if actor.user is not None and actor.user.pk == user.pk:
            raise ProductError("CANNOT_DEMOTE_SELF", _("You cannot take your own rights away."))
        refuse_last_superuser(user)
    row = _locked(user)
    for name, value in (names | marks).items():
        setattr(row, name, value)
    row.updated_by = actor.label
    row.save(update_fields=[*names, *marks, "updated_by", "updated_at"])
    rights: dict[str, Any] = dict(marks)
    if "groups" in fields:
        row.groups.set(fields["groups"])
        rights["groups"] = sorted(row.groups.values_list("name", flat=True))
    if "user_permissions" in fields:
        row.user_permissions.set(fields["user_permissions"])
        rights["permissions"] = _names(row.user_permissions)
    audit.record("user.updated", actor=actor, user=row, changed=sorted(fields), **rights)
    return row


def _names(permissions: Any) -> list[str]:
    names = permissions.values_list("content_type__app_label", "codename")
    return sorted(f"{app}.{codename}" for app, codename in names)


@transaction.atomic
def save_group(
    group: Group, *, actor: Actor, name: str | None = None, permissions: Sequence[Permission] | None = None
) -> Group:
    """Make a group, or change what is given; of the permissions, all there shall be.

    Raises: SUPERUSERS_ONLY (403); GROUP_EXISTS (409): another has the name.
    """
    _require_superuser(actor)
    if name is not None:
        group.name = name
    try:
        with transaction.atomic():
            group.save()
    except IntegrityError as error:
        raise ProductError("GROUP_EXISTS", _("A group of this name exists."), status=409) from error
    if permissions is not None:
        group.permissions.set(permissions)
    note_group(group, actor=actor)
    return group


@transaction.atomic
def delete_group(group: Group, *, actor: Actor) -> None:
    """Raises: SUPERUSERS_ONLY (403)."""
    _require_superuser(actor)
    note_group(group, actor=actor, deleted=True)
    group.delete()


def _require_superuser(actor: Actor) -> None:
    if actor.user is not None and not actor.user.is_superuser:
        raise ProductError("SUPERUSERS_ONLY", _("Only superusers give and take rights."), status=403)


def note_group(group: Group, *, actor: Actor, deleted: bool = False) -> None:
    """Put on record what the members of a group may do from now on, or that it goes."""
    if deleted:
        audit.record("group.deleted", actor=actor, name=group.name)
    else:
        audit.record("group.saved", actor=actor, name=group.name, permissions=_names(group.permissions))


def note(actor: Actor, event: str, /, *, email: str = "", **details: Any) -> None:
    """Record what `lib.actors` reports from the apps below; the account is looked up by `email` unless it is given."""
    if email:
        details.setdefault("user_id", User.objects.filter(email=email).values_list("pk", flat=True).first())
    audit.record(event, actor=actor, email=email, **details)


def require_proof(actor: Actor) -> None:
    """Sensitive verbs, from the doors of staff: REAUTHENTICATION_REQUIRED (403). Commands are proof of their own; the
    scopes of API keys were given after one."""
    if actor.door in {AuditEvent.Door.ADMIN, AuditEvent.Door.STAFF} and not actor.request.api_key:
        sessions.require_fresh(actor.request.session_id)


def refuse_last_superuser(user: User) -> None:
    """All superusers are locked, in one order: two of them removing each other must leave one."""
    rows = User.objects.select_for_update().filter(is_superuser=True, is_active=True).order_by("pk")
    # Service accounts never sign in: none of them could help.
    if [row.pk for row in rows if not row.is_service_account] == [user.pk]:
        raise ProductError("LAST_SUPERUSER", _("This is the last active superuser."))


@transaction.atomic
def activate(user: User, *, actor: Actor) -> bool:
    """Let the person sign in again and lift the pause; does not verify the address. Return whether it was inactive."""
    require_reach(user, actor=actor)
    row = _locked(user)
    rate_limits.end_pause(row.email, factors=True)
    if row.is_active:
        return False
    make_active(row)
    row.updated_by = actor.label
    row.save()
    audit.record("user.activated", actor=actor, user=row)
    return True


def make_active(user: User) -> None:
    """Take back a deactivation, and a deletion that has not been carried out; the caller saves."""
    user.is_active, user.deactivated_at, user.deactivated_reason, user.delete_after_at = True, None, "", None


@transaction.atomic
def deactivate(user: User, *, actor: Actor, reason: str) -> bool:
    """Sign the user out everywhere and refuse new sign-ins; return whether the account was active, or its owner could
    still take a deletion back. That goes on, but can no more be taken back by mail.

    Raises CANNOT_DEACTIVATE_SELF, LAST_SUPERUSER, and as `_require_reason`.
    """
    reason = _require_reason(user, reason, actor=actor)
    if actor.user is not None and actor.user.pk == user.pk:
        raise ProductError("CANNOT_DEACTIVATE_SELF", _("You cannot deactivate yourself."))
    refuse_last_superuser(user)
    row = _locked(user)
    if not row.is_active and row.deactivated_reason != DELETION_REQUESTED:
        return False
    row.is_active, row.deactivated_at, row.deactivated_reason = False, timezone.now(), reason
    row.updated_by = actor.label
    row.save()
    ended = sessions.end_all_sessions(row.pk, reason="deactivated")
    audit.record("user.deactivated", actor=actor, user=row, reason=reason, ended=ended)
    return True


@transaction.atomic
def mark_verified(user: User, *, actor: Actor, reason: str) -> bool:
    """Take the address as verified without a code; return whether it was not."""
    reason = _require_reason(user, reason, actor=actor)
    row = _locked(user)
    if row.is_verified:
        return False
    row.email_verified_at = timezone.now()
    if row.created_by == "register" and row.password_changed_at is None:
        # Staff vouch for the address, not for the one who typed it: no reader of its mail has set this password.
        registration.disown(row)
    row.updated_by = actor.label
    row.save()
    registration.forget_registrations(row)
    audit.record("user.verified", actor=actor, user=row, reason=reason)
    registration.welcome(row)
    return True


@transaction.atomic
def unlock(user: User, *, actor: Actor) -> bool:
    """Lift the pause after wrong passwords or codes; return whether there was one."""
    require_reach(user, actor=actor)
    was_paused = rate_limits.is_paused(user.email)
    rate_limits.end_pause(user.email, factors=True)
    if was_paused:
        _sign(user, actor)
        audit.record("user.unlocked", actor=actor, user=user)
    return was_paused


@transaction.atomic
def send_reset(user: User, *, actor: Actor) -> None:
    """Mail a reset link; USER_INACTIVE for a deactivated account, NO_MAILBOX for a service account, TOO_MANY_REQUESTS
    (429) beyond the limits of mail."""
    require_reach(user, actor=actor)
    if user.is_service_account:
        raise ProductError("NO_MAILBOX", _("A service account has no mailbox and no password: it has API keys."))
    row = _locked(user)
    if not row.is_active:
        raise ProductError("USER_INACTIVE", _("The account is deactivated; activate it first."))
    rate_limits.require_mail("forgot_password", row.email, actor=actor)
    passwords.send_link(row)
    audit.record("password.reset_requested", actor=actor, user=row)
    _sign(row, actor)


@transaction.atomic
def send_code(user: User, *, actor: Actor) -> None:
    """Mail a registration code to an unverified, active account; USER_INACTIVE, USER_VERIFIED, TOO_MANY_REQUESTS (429)
    beyond the limits of mail."""
    require_reach(user, actor=actor)
    row = _locked(user)
    if not row.is_active:
        raise ProductError("USER_INACTIVE", _("The account is deactivated; activate it first."))
    if row.is_verified:
        raise ProductError("USER_VERIFIED", _("The address is verified already."))
    rate_limits.require_mail("registration_code", row.email, actor=actor)
    registration.send_code(row)
    audit.record("user.code_sent", actor=actor, user=row)
    _sign(row, actor)


@transaction.atomic
def sign_out(user: User, *, actor: Actor) -> int:
    """End every session, the admin's included; return how many."""
    require_reach(user, actor=actor)
    ended = sessions.end_all_sessions(user.pk, reason="staff")
    if ended:
        _sign(user, actor)
        audit.record("session.ended", actor=actor, user=user, ended=ended, why="staff")
    return ended


@transaction.atomic
def end_session(session: UserSession, *, actor: Actor) -> bool:
    """End one session; return whether it was live. SUPERUSERS_ONLY, ADMINS_ONLY."""
    require_reach(session.user, actor=actor)
    return sessions.end_session(session, reason="staff", actor=actor)


@transaction.atomic
def remove_factors(user: User, *, actor: Actor, reason: str) -> int:
    """Every factor and recovery code of a person who lost them goes, the owner is mailed; return how many factors
    went. CANNOT_RESET_OWN_MFA, and as `_require_reason`."""
    reason = _require_reason(user, reason, actor=actor)
    return second_factors.remove_all(user, actor=actor, reason=reason)


def export_of(user: User, *, actor: Actor, reason: str) -> Iterator[str]:
    """Everything held about the person, as JSON in pieces; on record. Raises as `_require_reason`."""
    return personal_data.export(user, actor=actor, reason=_require_reason(user, reason, actor=actor))


def sign_out_all(*, actor: Actor) -> int:
    """End every session of every user, some in each transaction; return how many."""
    live = UserSession.objects.live(timezone.now())
    ended = sum(
        sessions.end_sessions(UserSession.objects.filter(pk__in=keys), reason="staff")
        for keys in db.slices(live, by="created_at")
    )
    audit.record("session.ended", actor=actor, ended=ended, why="everybody")
    return ended


def create_admin(email: str, *, actor: Actor) -> tuple[User, bool]:
    """A verified, active superuser: a new account, or one that exists; return it and whether it is new. EMAIL_INVALID,
    ADDRESS_RESERVED.

    An account that was never verified keeps no password: it may be a stranger's.
    """
    try:
        email = valid_email(email)
    except ValueError as error:
        raise ProductError("EMAIL_INVALID", f"{printable(email)} {error}.") from None
    registration.refuse_reserved(email)
    try:
        with transaction.atomic():
            user, created = User.objects.get_or_create(email=email, defaults={"created_by": actor.label})
            row = _locked(user)
            if not row.is_verified:
                registration.disown(row)
                registration.forget_registrations(row)
                row.email_verified_at = timezone.now()
            make_active(row)
            row.is_staff = row.is_superuser = True
            row.updated_by = actor.label
            row.save()
            event = "user.created" if created else "user.updated"
            audit.record(event, actor=actor, user=row, is_staff=True, is_superuser=True)
            return row, created
    except IntegrityError as error:
        raise ProductError("USER_EXISTS", _("This address is being registered; try again.")) from error


def reset_password(user: User, password: str, *, actor: Actor) -> int:
    """Set a password, re-activate, end all sessions; return how many ended. Does not verify. Raises
    RESET_PASSWORD_INVALID_PASSWORD with the broken rule."""
    if not is_storable(password):
        raise ProductError("PASSWORD_UNREADABLE", _("The password holds characters that are no text."))
    has_factor = second_factors.has_factor(user)
    password_strength.check(password, email=user.email, code="RESET_PASSWORD_INVALID_PASSWORD", has_factor=has_factor)
    encoded = hashing.make(password)
    with transaction.atomic():
        row = _locked(user)
        if not row.is_active:
            make_active(row)
            audit.record("user.activated", actor=actor, user=row)
        return passwords.set_password(row, encoded, event="password.reset", actor=actor)


def create_first_admin() -> str | None:
    """On a database without staff: make a superuser and return the random password. None when there is staff."""
    if User.objects.filter(is_staff=True).exists():
        return None
    password = secrets.token_urlsafe(15)
    encoded = hashing.make(password)
    with transaction.atomic():
        actor = Actor("command", label="first start")
        user, created = create_admin(FIRST_ADMIN, actor=actor)
        if created:
            # No mail: the password is printed, and the address is an example.
            user.password, user.password_changed_at = encoded, timezone.now()
            user.save(update_fields=["password", "password_changed_at", "updated_at"])
        else:
            passwords.set_password(user, encoded, event="password.reset", actor=actor)
    return password


def require_reach(user: User, *, actor: Actor) -> None:
    """SUPERUSERS_ONLY, ADMINS_ONLY (403). Commands and the person themselves may; what they may is asked elsewhere."""
    if actor.user is None:
        return
    row = User.objects.only("is_staff", "is_superuser").get(pk=user.pk)
    if not actor.user.reaches(row):
        code, who = ("SUPERUSERS_ONLY", _("superusers")) if row.is_superuser else ("ADMINS_ONLY", _("administrators"))
        whom = _("superusers") if row.is_superuser else _("staff")
        raise ProductError(
            code, _("Only %(who)s act on accounts of %(whom)s.") % {"who": who, "whom": whom}, status=403
        )


def _require_reason(user: User, reason: str, *, actor: Actor) -> str:
    """What a sensitive verb asks for: `require_reach`, `require_proof` and a reason, which is returned.
    REASON_REQUIRED, REASON_TOO_LONG, SUPERUSERS_ONLY, ADMINS_ONLY, REAUTHENTICATION_REQUIRED."""
    require_reach(user, actor=actor)
    require_proof(actor)
    reason = reason.strip()
    if not reason:
        raise ProductError("REASON_REQUIRED", _("Say why."))
    if len(reason) > _REASON_MAX_LENGTH or not is_storable(reason):
        raise ProductError(
            "REASON_TOO_LONG",
            _("A reason has at most %(reason_max_length)s characters.") % {"reason_max_length": _REASON_MAX_LENGTH},
        )
    return reason


def _sign(user: User, actor: Actor) -> None:
    """Leave on the row who touched the account last, where nothing else of it changes."""
    User.objects.filter(pk=user.pk).update(updated_by=actor.label, updated_at=timezone.now())
