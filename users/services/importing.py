"""Users and flags of the seed, row by row: each user goes on signing in with the password they have."""

import re
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from django.db import IntegrityError, connection, reset_queries, transaction
from django.db.models import Q
from django.utils import timezone

from feature_flags.flag_document import InvalidFlag
from feature_flags.models import FeatureFlag, FlagRevision
from feature_flags.services import importing
from lib.actors import Actor
from lib.addresses import valid_email
from lib.errors import ProductError
from lib.text import NAME_MAX_LENGTH, clean_text
from users.models import AuditEvent, User, is_reserved
from users.services import audit, sessions, tokens
from users.services.import_source import Source

BY = Actor("import", label="import:compose-stack")
# Up to 2^16 rounds, seconds of a core: one row must not keep a hashing thread for hours.
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")
_UUID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_INACTIVE = "inactive before the move"
_LOCKED_OUT = 5  # wrong passwords, after which the seed deactivates
_LONGEST_NOTE = 300
#: What an update writes. Not the address, which people change here by proof; not rights, which staff give here.
_UPDATED = (
    *("password", "must_reset", "first_name", "last_name", "is_active", "deactivated_at", "deactivated_reason"),
    *("email_verified_at", "last_login"),
)
#: What the report names when it stays as it is here.
_REPORTED = {"first_name", "last_name", "is_active"}


@dataclass(frozen=True)
class Options:
    """`update`: rows that are here already become what the source says. `release`: people whom the seed locked out
    after five wrong passwords may sign in again."""

    dry_run: bool = False
    update: bool = False
    release: bool = True
    batch: int = 500


@dataclass
class Report:
    """Counts (`read`, `created`, `updated`, `kept`, `rejected`, …) and, by name, the rows to be looked at."""

    counts: Counter[str] = field(default_factory=Counter)
    notes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def note(self, kind: str, **about: Any) -> None:
        """List a row; texts of any length are cut."""
        for name, value in about.items():
            if isinstance(value, str) and len(value) > _LONGEST_NOTE:
                about[name] = f"{value[:_LONGEST_NOTE]}…"
        self.notes.setdefault(kind, []).append(about)

    def reject(self, *, why: str, **about: Any) -> None:
        self.counts["rejected"] += 1
        self.note("rejected", why=why, **about)

    def as_dict(self) -> dict[str, Any]:
        """The counts as numbers; every list of rows, `rejected` always among them."""
        names = ("read", "created", "updated", "kept")
        return {**{name: self.counts[name] for name in names}, "rejected": [], **self.notes}


def import_flags(source: Source, options: Options) -> Report:
    """Bring the seed's flags in, each by the verb that files are imported with, so that history has it.

    A flag that is here already stays as it is, unless the import updates, or it is as code declared it: then the seed
    knows better whether it is on.
    """
    report, seen = Report(), set[str]()
    for row in source.flags(options.batch):
        report.counts["read"] += 1
        codename = (row["codename"] or "").strip()
        if codename.lower() in seen:
            report.reject(codename=codename, why="another flag has this name in other letter case")
            continue
        seen.add(codename.lower())
        # Upper case of letters such as `ſ` and `ı` is ASCII: to PostgreSQL they would name a flag they do not.
        ours = FeatureFlag.objects.filter(codename__iexact=codename).first() if codename.isascii() else None
        if ours and not options.update and ours.revisions.exclude(door=FlagRevision.Door.DECLARATION).exists():
            report.counts["kept"] += 1
            continue
        document = {
            "codename": ours.codename if ours else codename,
            "label": row["label"],
            "description": row["description"],
            "is_active": bool(row["is_active"]),
        }
        given: dict[str, Any] = {"dry_run": options.dry_run, "actor": BY, "reason": "moved in from compose-stack"}
        try:
            done = importing.import_flags([document], **given)
        except InvalidFlag as error:
            report.reject(codename=codename, why="; ".join(problem.message for problem in error.problems))
        except ProductError as error:
            report.reject(codename=codename, why=error.message)
        else:
            report.counts.update(created=done.created, updated=done.changed, kept=done.unchanged)
    return report


def import_users(source: Source, options: Options) -> Report:
    """Bring the seed's users in, a transaction for each batch; a second run creates none."""
    work = _UserImport(options)
    rows = source.users(options.batch)
    while batch := list(islice(rows, options.batch)):
        with transaction.atomic():
            work.run(batch)
            if options.dry_run:
                transaction.set_rollback(True)
        # With DEBUG Django keeps the words of every statement, all values included.
        reset_queries()
    return work.report


class _Invalid(Exception):
    """Why a row cannot become an account."""


class _UserImport:
    """Rows are looked up and written a batch at a time; of several with one address or id the first has it."""

    def __init__(self, options: Options) -> None:
        self.report = Report()
        self.options = options
        self.emails: set[str] = set()
        self.ids: set[uuid.UUID] = set()

    def run(self, rows: list[dict[str, Any]]) -> None:
        self.report.counts["read"] += len(rows)
        wanted = list(filter(None, map(self._read, rows)))
        same = Q(pk__in=[user.pk for user in wanted]) | Q(email__in=[user.email for user in wanted])
        found = list(User.objects.select_for_update().filter(same).order_by("pk"))
        by_id, by_email = {user.pk: user for user in found}, {user.email: user for user in found}
        #: When each of them last came by an import, and the mark of the hash that the source had then.
        imports = AuditEvent.objects.filter(event="user.imported", user_id__in=list(by_id)).order_by("id")
        self.last = {event.user_id: (event.at, event.data.get("mark", "")) for event in imports}
        self.theirs = {user.pk: user for user in wanted}
        new, changed = [], []
        for user in wanted:
            ours = by_id.get(user.pk) or by_email.get(user.email)
            if ours is None:
                new.append(user)
            elif self._is_to_change(ours, user):
                changed.append(ours)
            else:
                self.report.counts["kept"] += 1
        if new:
            self._create(new)
        if changed:
            User.objects.bulk_update(changed, (*_UPDATED, "updated_at", "updated_by"))
            for user in changed:
                if not user.is_active or user.must_reset:
                    sessions.end_all_sessions(user.pk, reason="import")
            self._written(changed, "updated")

    def _read(self, row: dict[str, Any]) -> User | None:
        try:
            user = _account(row)
            if user.email in self.emails:
                raise _Invalid("another account with this address is in use")
            if user.pk in self.ids:
                raise _Invalid("another account has this id, in other letter case or with other dashes")
        except _Invalid as error:
            self.report.reject(id=row["id"], email=row["email"], why=str(error))
            return None
        self.emails.add(user.email)
        self.ids.add(user.pk)
        if not _UUID.fullmatch(row["id"]):
            self.report.note("new_ids", email=user.email, was=row["id"], id=user.pk.hex)
        if not user.is_active and (row["login_failed_count"] or 0) >= _LOCKED_OUT:
            self.report.note("locked_out", email=user.email, released=self.options.release)
            if self.options.release:
                user.is_active, user.deactivated_at, user.deactivated_reason = True, None, ""
        return user

    def _is_to_change(self, ours: User, theirs: User) -> bool:
        """Give the account that is here the source's values; whether any differed. What stays is in the report."""
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
        differing = {name for name in _UPDATED if getattr(ours, name) != getattr(theirs, name)}
        kept = self._kept(ours, theirs)
        if shown := sorted(differing & kept & _REPORTED):
            self.report.note("changed_here", email=ours.email, kept=shown)
        for name in differing - kept:
            setattr(ours, name, getattr(theirs, name))
        if differing - kept:
            ours.updated_at, ours.updated_by = timezone.now(), BY.label
        return bool(differing - kept)

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
        updated_at = {user.pk: user.updated_at for user in users}
        try:
            with transaction.atomic():
                User.objects.bulk_create(users)
        except IntegrityError:
            # One of the addresses was registered between our look and our insert.
            for user in users:
                try:
                    with transaction.atomic():
                        user.save(force_insert=True)
                except IntegrityError:
                    why = "the address was registered during the import"
                    self.report.reject(id=user.pk.hex, email=user.email, why=why)
                else:
                    self._written([user], "created")
            return
        # The source's times, where inserting has put its own moment. By hand: bulk_update takes longer to word it than
        # all the rest of the import (`make bench-accounts`).
        key, stamp = User._meta.pk, User._meta.get_field("updated_at")
        with connection.cursor() as cursor:
            cursor.executemany(
                "UPDATE users_user SET updated_at = %s WHERE id = %s",
                [
                    (stamp.get_db_prep_save(at, connection), key.get_db_prep_save(pk, connection))
                    for pk, at in updated_at.items()
                ],
            )
        self._written(users, "created")

    def _written(self, users: list[User], what: str) -> None:
        AuditEvent.objects.bulk_create(
            audit.event("user.imported", actor=BY, user=user, kind=what, mark=_marks(self.theirs[user.pk])[0])
            for user in users
        )
        self.report.counts[what] += len(users)
        for user in users:
            if user.must_reset:
                self.report.note("must_reset", email=user.email)
            if user.is_superuser:
                self.report.note("superusers", email=user.email)


def _account(row: dict[str, Any]) -> User:
    is_valid_id = _UUID.fullmatch(row["id"])
    if not (row["email"] or "").strip():
        raise _Invalid("there is no address")
    try:
        email = valid_email(row["email"])
    except ValueError as error:
        raise _Invalid(f"the address {error}") from None
    if is_reserved(email):
        raise _Invalid("addresses of this domain are those of service accounts")
    first_name, last_name = clean_text(row["first_name"] or ""), clean_text(row["last_name"] or "")
    if max(len(first_name), len(last_name)) > NAME_MAX_LENGTH:
        raise _Invalid(f"a name has over {NAME_MAX_LENGTH} characters")
    created_at = row["created_on"] or timezone.now()
    updated_at = row["updated_on"] or created_at
    is_active, password = bool(row["is_active"]), row["hashed_password"] or ""
    is_readable = bool(_BCRYPT.fullmatch(password))
    user = User(
        id=uuid.UUID(row["id"]) if is_valid_id else uuid.uuid5(uuid.NAMESPACE_URL, f"compose-stack:users:{row['id']}"),
        email=email,
        password=f"bcrypt${password}" if is_readable else "",
        must_reset=not is_readable,
        first_name=first_name,
        last_name=last_name,
        is_active=is_active,
        deactivated_at=None if is_active else _utc(row["deactivated_on"]) or updated_at,
        deactivated_reason="" if is_active else _INACTIVE,
        is_staff=bool(row["is_superuser"]),
        is_superuser=bool(row["is_superuser"]),
        email_verified_at=(_utc(row["verified_on"]) or updated_at) if row["is_verified"] else None,
        last_login=_utc(row["last_login"]),
        created_at=created_at,
        updated_at=updated_at,
        created_by=_label(row["created_by"]),
        updated_by=_label(row["updated_by"]),
    )
    if not is_readable:
        user.set_unusable_password()
    return user


def _marks(theirs: User) -> list[str]:
    """What a hash of the source is known again by, one for each key: the hash itself is not kept."""
    hashed = "" if theirs.must_reset else theirs.password
    return [mac.hex()[:32] for mac in tokens.subject_macs("imported hash", hashed)]


def _label(text: str | None) -> str:
    """Who wrote the row, in the seed's words; never those that mark an account as registered here."""
    label = (text or "")[:64]
    return BY.label if label in {"", "register"} else label


def _utc(moment: datetime | None) -> datetime | None:
    """The seed's naive times are UTC."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
