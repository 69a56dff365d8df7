"""Users of the seed: each row becomes an account that goes on signing in with the password it has."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from django.db import IntegrityError, connection, reset_queries, transaction
from django.db.models import Q
from django.utils import timezone

from lib.actors import Actor
from lib.addresses import valid_email
from lib.text import NAME_MAX_LENGTH, clean_text
from users.importers.report import Options, Report
from users.importers.source import Source
from users.models import AuditEvent, User
from users.services import audit, sessions, tokens

BY = Actor("import", label="import:compose-stack")
# Up to 2^16 rounds, seconds of a core: one row must not keep a hashing thread for hours.
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")
_UUID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_IDS = uuid.NAMESPACE_URL
_INACTIVE = "inactive before the move"
_LOCKED_OUT = 5  # wrong passwords, after which the seed deactivates
#: What an update writes. Not the address, which people change here by proof; not rights, which staff give here.
_UPDATED = (
    *("password", "must_reset", "first_name", "last_name", "is_active", "deactivated_at", "deactivated_reason"),
    *("email_verified_at", "last_login"),
)
#: What the report names when it stays as it is here.
_REPORTED = {"first_name", "last_name", "is_active"}


class _Invalid(Exception):
    """Why a row cannot become an account."""


def import_users(source: Source, options: Options) -> Report:
    """Bring the seed's users in, a transaction for each batch; a second run creates nobody."""
    report, taken = Report(), _Taken()
    for rows in _batches(source.users(options.batch), options.batch):
        report.counts["read"] += len(rows)
        with transaction.atomic():
            _Batch(report, options, taken).run(rows)
            if options.dry_run:
                transaction.set_rollback(True)
        # With DEBUG Django keeps the words of every statement, all values included.
        reset_queries()
    return report


def _batches(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    left = iter(rows)
    while batch := list(islice(left, size)):
        yield batch


class _Taken:
    """The addresses and ids of the rows so far: the first row of several has it."""

    def __init__(self) -> None:
        self.emails: set[str] = set()
        self.ids: set[uuid.UUID] = set()

    def take(self, user: User) -> None:
        if user.email in self.emails:
            raise _Invalid("another account with this address is in use")
        if user.pk in self.ids:
            raise _Invalid("another account has this id, in other letter case or with other dashes")
        self.emails.add(user.email)
        self.ids.add(user.pk)


class _Batch:
    """Some rows, looked up and written together."""

    def __init__(self, report: Report, options: Options, taken: _Taken) -> None:
        self.report = report
        self.options = options
        self.taken = taken

    def run(self, rows: list[dict[str, Any]]) -> None:
        wanted = list(filter(None, map(self._read, rows)))
        same = Q(pk__in=[user.pk for user in wanted]) | Q(email__in=[user.email for user in wanted])
        found = list(User.objects.select_for_update().filter(same).order_by("pk"))
        by_id, by_email = {user.pk: user for user in found}, {user.email: user for user in found}
        self.last, self.theirs = _last_imports(found), {user.pk: user for user in wanted}
        new, changed = [], []
        for user in wanted:
            ours = by_id.get(user.pk) or by_email.get(user.email)
            if ours is None:
                new.append(user)
            elif self._is_to_change(ours, user):
                changed.append(ours)
            else:
                self.report.counts["kept"] += 1
        self._create(new)
        self._update(changed)

    def _read(self, row: dict[str, Any]) -> User | None:
        try:
            user = _account(row)
            self.taken.take(user)
        except _Invalid as error:
            self.report.reject(id=row["id"], email=row["email"], why=str(error))
            return None
        if not _UUID.fullmatch(row["id"]):
            self.report.note("new_ids", email=user.email, was=row["id"], id=user.pk.hex)
        if not user.is_active and (row["login_failed_count"] or 0) >= _LOCKED_OUT:
            self._locked_out(user)
        return user

    def _locked_out(self, user: User) -> None:
        self.report.note("locked_out", email=user.email, released=self.options.release)
        if self.options.release:
            user.is_active, user.deactivated_at, user.deactivated_reason = True, None, ""

    def _is_to_change(self, ours: User, theirs: User) -> bool:
        """Whether the account that is here is given other values; what differs and stays is told."""
        self.theirs[ours.pk] = theirs
        if ours.pk != theirs.pk:
            self.report.note("other_ids", email=theirs.email, was=theirs.pk.hex, id=ours.pk.hex)
        if not self.options.update:
            return False
        if not ours.is_active and ours.deactivated_reason != _INACTIVE:
            self.report.note("shut_here", email=ours.email)
            return False
        if ours.email != theirs.email:
            self.report.note("other_addresses", email=ours.email, was=theirs.email)
        if ours.is_superuser != theirs.is_superuser:
            self.report.note("other_rights", email=ours.email, is_superuser=ours.is_superuser)
        kept = self._kept(ours, theirs)
        if differing := sorted(name for name in kept & _REPORTED if getattr(ours, name) != getattr(theirs, name)):
            self.report.note("changed_here", email=ours.email, kept=differing)
        return _change(ours, theirs, kept)

    def _kept(self, ours: User, theirs: User) -> set[str]:
        """What has been decided here since: no update brings back what was before."""
        kept = set()
        at, mark = self.last.get(ours.pk, (None, ""))
        # Registered here, or of another row and moved to this address here. Unverified it may be a stranger's.
        is_other = at is None or ours.pk != theirs.pk
        if ours.is_verified if at is None or is_other else ours.updated_at > at:
            kept |= {"first_name", "last_name", "is_active", "deactivated_at", "deactivated_reason"}
        # Argon2id: set here, or the seed's from the first sign-in here on, unless the seed has another by now.
        is_own = not ours.password.startswith("bcrypt$") and ours.has_usable_password()
        is_last = not mark or mark in _marks(theirs)
        if ours.password_changed_at or (ours.is_verified and (is_other or (is_own and is_last))):
            kept |= {"password", "must_reset"}
        if theirs.must_reset and ours.must_reset:
            kept.add("password")  # none either way, and no two of those are alike
        if ours.is_verified or ours.email != theirs.email:
            kept.add("email_verified_at")
        if not ours.is_active and not theirs.is_active:
            kept.add("deactivated_at")
        if ours.last_login and (theirs.last_login is None or theirs.last_login < ours.last_login):
            kept.add("last_login")
        return kept

    def _create(self, users: list[User]) -> None:
        if not users:
            return
        updated_at = {user.pk: user.updated_at for user in users}
        try:
            with transaction.atomic():
                User.objects.bulk_create(users)
        except IntegrityError:
            # Somebody registered one of the addresses between our look and our insert.
            for user in users:
                self._create_alone(user)
            return
        _stamp(updated_at)
        self._written(users, "created")

    def _create_alone(self, user: User) -> None:
        try:
            with transaction.atomic():
                user.save(force_insert=True)
        except IntegrityError:
            self.report.reject(id=user.pk.hex, email=user.email, why="the address was registered during the import")
        else:
            self._written([user], "created")

    def _update(self, users: list[User]) -> None:
        if users:
            User.objects.bulk_update(users, (*_UPDATED, "updated_at", "updated_by"))
            for user in users:
                if not user.is_active or user.must_reset:
                    sessions.end_all_sessions(user.pk, reason="import")
            self._written(users, "updated")

    def _written(self, users: list[User], what: str) -> None:
        audit.record_all(
            [
                audit.event("user.imported", actor=BY, user=user, kind=what, mark=_marks(self.theirs[user.pk])[0])
                for user in users
            ]
        )
        self.report.counts[what] += len(users)
        for user in users:
            if user.must_reset:
                self.report.note("must_reset", email=user.email)
            if user.is_superuser:
                self.report.note("superusers", email=user.email)


def _stamp(updated_at: dict[uuid.UUID, datetime]) -> None:
    """Put the source's times where inserting has put its own moment. By hand: bulk_update takes longer to word it than
    all the rest."""
    key, stamp = User._meta.pk, User._meta.get_field("updated_at")
    values = [
        (stamp.get_db_prep_save(at, connection), key.get_db_prep_save(pk, connection)) for pk, at in updated_at.items()
    ]
    with connection.cursor() as cursor:
        cursor.executemany("UPDATE users_user SET updated_at = %s WHERE id = %s", values)


def _account(row: dict[str, Any]) -> User:
    email = _email(row["email"])
    created_at = row["created_on"] or timezone.now()
    updated_at = row["updated_on"] or created_at
    is_active = bool(row["is_active"])
    password = row["hashed_password"] or ""
    is_readable = bool(_BCRYPT.fullmatch(password))
    user = User(
        id=_id(row["id"]),
        email=email,
        password=f"bcrypt${password}" if is_readable else "",
        must_reset=not is_readable,
        first_name=_name(row["first_name"]),
        last_name=_name(row["last_name"]),
        is_active=is_active,
        deactivated_at=None if is_active else _utc(row["deactivated_on"]) or updated_at,
        deactivated_reason="" if is_active else _INACTIVE,
        is_staff=bool(row["is_superuser"]),
        is_superuser=bool(row["is_superuser"]),
        email_verified_at=(_utc(row["verified_on"]) or updated_at) if row["is_verified"] else None,
        last_login=_utc(row["last_login"]),
        created_at=created_at,
        updated_at=updated_at,
        created_by=_label(row["created_by"]) or BY.label,
        updated_by=_label(row["updated_by"]) or BY.label,
    )
    if not is_readable:
        user.set_unusable_password()
    return user


def _last_imports(users: list[User]) -> dict[uuid.UUID, tuple[datetime, str]]:
    """When each of them last came by an import, and the mark of the hash that the source had then."""
    events = AuditEvent.objects.filter(event="user.imported", user_id__in=[user.pk for user in users])
    found = events.order_by("id").values_list("user_id", "at", "data")
    return {user_id: (at, data.get("mark", "")) for user_id, at, data in found if user_id}


def _marks(theirs: User) -> list[str]:
    """What a hash of the source is known again by, one for each key: the hash itself is not kept."""
    hashed = "" if theirs.must_reset else theirs.password
    return [mac.hex()[:32] for mac in tokens.subject_macs("imported hash", hashed)]


def _change(ours: User, theirs: User, kept: set[str]) -> bool:
    """Give ours what theirs has, but for `kept`; return whether anything differs."""
    wanted = {name: getattr(theirs, name) for name in _UPDATED if name not in kept}
    changes = {name: value for name, value in wanted.items() if getattr(ours, name) != value}
    for name, value in changes.items():
        setattr(ours, name, value)
    if changes:
        ours.updated_at, ours.updated_by = timezone.now(), BY.label
    return bool(changes)


def _id(text: str) -> uuid.UUID:
    return uuid.UUID(text) if _UUID.fullmatch(text) else uuid.uuid5(_IDS, f"compose-stack:users:{text}")


def _email(text: str | None) -> str:
    if not text or not text.strip():
        raise _Invalid("there is no address")
    try:
        return valid_email(text)
    except ValueError as error:
        raise _Invalid(f"the address {error}") from None


def _name(text: str | None) -> str:
    name = clean_text(text or "")
    if len(name) > NAME_MAX_LENGTH:
        raise _Invalid(f"a name has over {NAME_MAX_LENGTH} characters")
    return name


def _label(text: str | None) -> str:
    """Who wrote the row, in the seed's words; never those that mark an account as registered here."""
    label = (text or "")[:64]
    return "" if label == "register" else label


def _utc(moment: datetime | None) -> datetime | None:
    """The seed's naive times are UTC."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
