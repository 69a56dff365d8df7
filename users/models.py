"""People, their sign-ins, their second factors and what happened to them. Nothing here holds a secret in clear."""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import connection, models
from django.db.models import F, Q, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from lib.addresses import EMAIL_MAX_LENGTH, normal_email, typed_email, valid_email
from lib.folding import folded
from lib.text import NAME_MAX_LENGTH, is_storable
from users.audit_events import STAFF_EVENTS

_TRIGRAM = 3
#: The group whose members act on other members of staff; the name is what carries it.
ADMINS = "Admin"


#: The domain of service accounts' addresses, which no mail reaches (RFC 2606, 2).
SERVICE_DOMAIN = "service-account.invalid"


def is_reserved(email: str) -> bool:
    """Whether only service accounts have such addresses."""
    return email.endswith(f"@{SERVICE_DOMAIN}")


class UserManager(BaseUserManager["User"]):
    def get_by_natural_key(self, username: str | None) -> User:
        return self.of_address(username or "")[:1].get()

    def of_address(self, text: str) -> models.QuerySet[User]:
        """The account of an address in any spelling. What older releases kept in two is two, each by its own."""
        typed = typed_email(text)
        rows = self.filter(email__in={typed, normal_email(text)})
        return rows.order_by(models.Case(models.When(email=typed, then=0), default=1))

    def search(self, text: str, limit: int) -> list[uuid.UUID]:
        """The keys of users by any part of their names or address; see `UserSearch`."""
        return UserSearch.objects.find(text, limit)

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A user with a hashed password, or an unusable one when None; ValueError for an invalid address."""
        user = self.model(email=valid_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        fields.setdefault("email_verified_at", timezone.now())
        return self.create_user(email, password, **{**fields, "is_staff": True, "is_superuser": True})


class ActingKey(NamedTuple):
    """The API key that a call came with: its id, its first characters, its scopes parted by blanks."""

    pk: uuid.UUID
    prefix: str
    scopes: str


class User(AbstractBaseUser, PermissionsMixin):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(
        _("e-mail address"),
        max_length=EMAIL_MAX_LENGTH,
        unique=True,
        error_messages={"unique": _("A user with this address exists.")},
    )
    first_name = models.CharField(_("first name"), max_length=NAME_MAX_LENGTH, blank=True)
    last_name = models.CharField(_("last name"), max_length=NAME_MAX_LENGTH, blank=True)
    is_active = models.BooleanField(
        _("active"),
        default=True,
        help_text=_("A decision of people; a pause after wrong passwords does not change it."),
    )
    is_staff = models.BooleanField(_("staff"), default=False, help_text=_("May sign in to this admin."))
    email_verified_at = models.DateTimeField(_("address verified"), null=True, blank=True)
    deactivated_at = models.DateTimeField(_("deactivated"), null=True, blank=True)
    deactivated_reason = models.CharField(_("reason"), max_length=200, blank=True)
    password_changed_at = models.DateTimeField(_("password changed"), null=True, blank=True)
    must_reset = models.BooleanField(
        _("must reset"), default=False, help_text=_("Signing in waits for a reset by mail.")
    )
    delete_after_at = models.DateTimeField(_("deleted after"), null=True, blank=True, editable=False)
    language = models.CharField(
        _("language"),
        max_length=16,
        blank=True,
        editable=False,
        help_text=_("What mails to this person are written in."),
    )
    chosen_language = models.CharField(
        _("chosen language"),
        max_length=16,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text=_("What the pages of the admin are shown in; empty: as the browser asks."),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)
    created_by = models.CharField(max_length=64, blank=True, editable=False)
    updated_by = models.CharField(max_length=64, blank=True, editable=False)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[UserManager] = UserManager()

    #: The UserSession this person acts in; set by what authenticated them, never stored.
    session_id: uuid.UUID | None = None
    #: The API key that acts in its place, and the permissions its scopes leave; None for people who signed in.
    api_key: ActingKey | None = None
    granted: frozenset[str] | None = None

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints = (
            models.CheckConstraint(condition=Q(email=Lower("email")), name="user_email_is_lower_case"),
            models.CheckConstraint(
                condition=Q(is_active=False) | Q(deactivated_at=None, deactivated_reason=""),
                name="user_active_has_no_deactivation",
            ),
        )
        indexes = (
            models.Index(fields=["-created_at"], name="user_created_at"),
            models.Index(
                fields=["delete_after_at"], condition=Q(delete_after_at__isnull=False), name="user_delete_after_at"
            ),
            # What staff look for among millions: few rows each, in the order of the list.
            models.Index(fields=["-created_at"], condition=Q(email_verified_at=None), name="user_unverified"),
            models.Index(fields=["-created_at"], condition=Q(is_staff=True), name="user_staff"),
            models.Index(fields=["-created_at"], condition=Q(is_superuser=True), name="user_superuser"),
            models.Index(fields=["-created_at"], condition=Q(is_active=False), name="user_inactive"),
            models.Index(fields=["-created_at"], condition=Q(must_reset=True), name="user_must_reset"),
            models.Index(fields=["-created_at"], condition=Q(password__startswith="bcrypt$"), name="user_bcrypt"),
            # What the purge looks for, among all that were brought in, shut or deleted unverified.
            models.Index(
                fields=["created_at"],
                condition=Q(
                    created_by="register",
                    email_verified_at=None,
                    password_changed_at=None,
                    is_active=True,
                    is_staff=False,
                ),
                name="user_never_verified",
            ),
        )
        permissions = (
            ("activate_user", "Can activate and unlock users"),
            ("deactivate_user", "Can deactivate users"),
            ("verify_user", "Can mark addresses as verified"),
            ("send_reset_user", "Can send password resets"),
            ("sign_out_user", "Can sign users out everywhere"),
            ("remove_factor_user", "Can remove second factors"),
            ("export_user", "Can export what is held of a user"),
            ("export_list", "Can export lists as CSV"),
        )

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        self.email = normal_email(self.email)

    @property
    def is_verified(self) -> bool:
        return self.email_verified_at is not None

    @property
    def is_service_account(self) -> bool:
        return is_reserved(self.email)

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """As Django has it; with an API key only what its scopes name, a superuser's key too."""
        return (self.granted is None or perm in self.granted) and super().has_perm(perm, obj)

    def may_act_as_staff(self) -> bool:
        """Whether this is staff whose session has proved what staff have to prove (USERS_STAFF_MFA).

        An API key was made in such a session; it may what its scopes name.
        """
        if not self.is_staff:
            return False
        if settings.USERS_STAFF_MFA != "required" or self.api_key is not None:
            return True
        found = self.sessions.filter(pk__in=[self.session_id]).first()
        return found is not None and found.has_second_factor

    def reaches(self, other: User) -> bool:
        """Whether this member of staff may act on that account: superusers on all, the group *Admin* on all but
        superusers, other staff on all who are not staff."""
        if self.is_superuser or self.pk == other.pk or not (other.is_staff or other.is_superuser):
            return True
        return not other.is_superuser and self.is_admin

    @cached_property
    def is_admin(self) -> bool:
        """Whether this is a member of *Admin*; kept, because a list asks for each of its rows."""
        return self.groups.filter(name=ADMINS).exists()

    def get_full_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()

    def get_short_name(self) -> str:
        return self.first_name

    def flag_context(self) -> dict[str, Any]:
        """What rules of feature flags may ask about this person; `userId` as the API shows it."""
        return {
            "userId": self.pk.hex,
            "email": self.email,
            "emailDomain": self.email.rpartition("@")[2],
            "isStaff": self.is_staff,
            "isSuperuser": self.is_superuser,
        }


#: What the index of SQLite finds, which is no table of Django's; a limit of -1 is none.
_MATCH = "SELECT rowid FROM users_usersearch_index WHERE text MATCH %s ORDER BY rowid DESC LIMIT %s"


#: How many of those added last PostgreSQL looks through one by one before it asks the index of the search.
_NEWEST = 20_000


class UserSearchManager(models.Manager["UserSearch"]):
    def find(self, text: str, limit: int) -> list[uuid.UUID]:
        """The keys of users who have each word of the text in their names and address, those added last first.

        Letter case and accents make no difference; words of one or two letters are beginnings.
        """
        if not is_storable(text):
            return []
        spelled = " ".join(normal_email(word) if "@" in word else word for word in text.split())
        words = [word if len(word) >= _TRIGRAM else f" {word}" for word in folded(spelled).split()]
        if not words:
            return []
        found = self.order_by("-pk")
        for word in words:
            found = found.filter(text__contains=word)
        if connection.vendor == "postgresql":
            # Left to choose it may walk the primary key past all who do not match: it may so far, where many match.
            last = self.order_by("-pk").values("pk")[:1]
            newest = list(found.filter(pk__gt=Subquery(last) - _NEWEST).values_list("user_id", flat=True)[:limit])
            if len(newest) == limit:
                return newest
            found = found.order_by((F("pk") + 0).desc())
        indexed = ['"{}"'.format(word.replace('"', '""')) for word in words if len(word) >= _TRIGRAM]
        if connection.vendor == "sqlite" and indexed:
            most = limit if len(indexed) == len(words) else -1
            found = found.filter(pk__in=RawSQL(_MATCH, [" AND ".join(indexed), most]))  # noqa: S611
        return list(found.values_list("user_id", flat=True)[:limit])


class UserSearch(models.Model):
    """What a user is found by: ` first last address`, folded. Triggers of migration 0009 make, keep and delete it."""

    user = models.OneToOneField(User, on_delete=models.DO_NOTHING, related_name="+")
    text = models.TextField()

    objects: ClassVar[UserSearchManager] = UserSearchManager()


class Registration(models.Model):
    """A pending registration: what one `/register` call asked for (see registration.py)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="registrations")
    password = models.CharField(max_length=128)
    first_name = models.CharField(max_length=NAME_MAX_LENGTH, blank=True)
    last_name = models.CharField(max_length=NAME_MAX_LENGTH, blank=True)
    #: There was another one before it that its caller did not prove to be theirs; others fell out meanwhile.
    is_contested = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = (models.Index(fields=["user", "-created_at"], name="registration_user_newest"),)


def _nonce() -> bytes:
    return secrets.token_bytes(16)


class OneTimeToken(models.Model):
    """A secret link or code that works once. Only the nonce is kept: token and code are derived from it (tokens.py)."""

    class Purpose(models.TextChoices):
        VERIFY = "verify"
        RESET = "reset"
        EMAIL_CHANGE = "email_change"
        EMAIL_UNDO = "email_undo"
        UNDELETE = "undelete"
        MFA_LOGIN = "mfa_login"
        WEBAUTHN = "webauthn"
        ENROL = "enrol"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    nonce = models.BinaryField(max_length=16, default=_nonce)
    key_id = models.CharField(max_length=8)
    #: Null while the person is unknown: the ceremony of a passkey sign-in.
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="one_time_tokens")
    #: Set where the receiver of the token proved that this registration is theirs; no one else ever sees that token.
    registration = models.ForeignKey(Registration, on_delete=models.SET_NULL, null=True)
    purpose = models.CharField(max_length=16, choices=Purpose.choices)
    email = models.CharField(max_length=EMAIL_MAX_LENGTH, blank=True)
    #: What it is about beside the person; never a secret.
    payload = models.JSONField(default=dict)
    code_serial = models.PositiveIntegerField(default=0)
    code_expires_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        indexes = (
            models.Index(fields=["user", "purpose"], name="one_time_token_user"),
            models.Index(fields=["expires_at"], name="one_time_token_expires_at"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["registration"],
                condition=Q(purpose="verify", used_at=None),
                name="one_time_token_one_open_per_registration",
            ),
        )

    @classmethod
    def open(cls, now: datetime) -> models.QuerySet[OneTimeToken]:
        return cls._default_manager.filter(used_at=None, expires_at__gt=now)


#: How long a session of the admin may go unused.
ADMIN_IDLE = timedelta(minutes=30)


def idle_since(now: datetime, kind: str) -> datetime | None:
    """Sessions of this kind that were last seen before that have ended; None where there is no such limit."""
    if kind == UserSession.Kind.ADMIN:
        return now - ADMIN_IDLE
    seconds = settings.USERS_SESSION_IDLE_SECONDS
    return now - timedelta(seconds=seconds) if seconds else None


class LiveSessions(models.QuerySet["UserSession"]):
    def live(self, now: datetime) -> LiveSessions:
        """Neither revoked nor expired nor idle for too long."""
        live = Q(revoked_at=None, expires_at__gt=now)
        for kind in UserSession.Kind.values:
            if since := idle_since(now, kind):
                live &= ~Q(kind=kind) | Q(last_seen_at__gt=since)
        return self.filter(live)

    def ended(self, now: datetime) -> LiveSessions:
        """The others, asked so that one row is enough to tell."""
        ended = Q(revoked_at__isnull=False) | Q(expires_at__lte=now)
        for kind in UserSession.Kind.values:
            if since := idle_since(now, kind):
                ended |= Q(kind=kind, last_seen_at__lte=since)
        return self.filter(ended)


class UserSession(models.Model):
    """One sign-in: what refresh tokens and access tokens (claim `sid`) hang on. Revoked is final."""

    class Kind(models.TextChoices):
        API = "api", _("API")
        ADMIN = "admin", _("Admin")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sessions", verbose_name=_("person"))
    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    created_at = models.DateTimeField(_("since"), default=timezone.now)
    last_seen_at = models.DateTimeField(_("last seen"), default=timezone.now)
    auth_at = models.DateTimeField(_("last proof"), default=timezone.now)
    amr = models.JSONField(_("proved by"), default=list)
    expires_at = models.DateTimeField(_("expires"))
    ip = models.CharField(_("IP address"), max_length=45, blank=True)
    network = models.CharField(_("network"), max_length=49, blank=True)
    network_mac = models.CharField(max_length=64, blank=True)
    user_agent = models.CharField(_("program"), max_length=256, blank=True)
    label = models.CharField(_("program"), max_length=64, blank=True)
    revoked_at = models.DateTimeField(_("ended"), null=True)
    revoked_reason = models.CharField(_("reason"), max_length=32, blank=True)

    objects = LiveSessions.as_manager()

    class Meta:
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        default_permissions = ("view",)
        indexes = (
            models.Index(fields=["user", "revoked_at"], name="session_user_revoked"),
            models.Index(fields=["-created_at"], name="session_created_at"),
        )
        constraints = (
            models.CheckConstraint(
                condition=~Q(revoked_reason="") | Q(revoked_at=None), name="session_revoked_has_reason"
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()}, {self.created_at:%Y-%m-%d %H:%M} UTC"

    def is_live(self, now: datetime) -> bool:
        """The same as `LiveSessions.live`, of a row that was read already."""
        idle = idle_since(now, self.kind)
        return self.revoked_at is None and self.expires_at > now and (idle is None or self.last_seen_at > idle)

    @property
    def has_second_factor(self) -> bool:
        """Whether more than the password was proved in it."""
        return not {"otp", "webauthn", "recovery"}.isdisjoint(self.amr)


class RefreshToken(models.Model):
    """A link in a session's chain: each token has at most one successor."""

    hash = models.BinaryField(max_length=32, unique=True)
    session = models.ForeignKey(UserSession, on_delete=models.CASCADE, related_name="refresh_tokens")
    parent = models.OneToOneField("self", on_delete=models.CASCADE, null=True, related_name="successor")
    created_at = models.DateTimeField(default=timezone.now)
    used_at = models.DateTimeField(null=True)
    #: When it was first answered again after the leeway: its answer had been lost, or another client has a copy.
    repeated_at = models.DateTimeField(null=True)


class ServiceAccount(models.Model):
    """A program that acts by API keys: a user who is no person, never signs in, and has the rights of its groups."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True, related_name="service_account")
    name = models.CharField(
        _("name"),
        max_length=63,
        unique=True,
        help_text=_("Lower-case letters, digits and hyphens: “deploy”, “nightly-report”."),
    )
    description = models.CharField(_("description"), max_length=200, blank=True, help_text=_("What it is for."))
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("service account")
        verbose_name_plural = _("service accounts")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.name


class LiveKeys(models.QuerySet["ApiKey"]):
    def live(self, now: datetime) -> LiveKeys:
        """Neither revoked nor expired."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)


class ApiKey(models.Model):
    """A secret that stands for a user at the API, within its scopes; only its hash is kept (services/api_keys.py)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys", verbose_name=_("whose"))
    name = models.CharField(_("name"), max_length=100)
    prefix = models.CharField(_("begins with"), max_length=12)
    hash = models.BinaryField(max_length=32, unique=True)
    #: Scopes, and networks (CIDR) it may be used from, each parted by blanks; no network is any.
    scopes = models.TextField(_("scopes"))
    networks = models.TextField(_("networks"), blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    created_by = models.CharField(max_length=64, blank=True)
    expires_at = models.DateTimeField(_("expires"), null=True)
    #: Written at most once a minute.
    last_used_at = models.DateTimeField(_("last used"), null=True)
    last_used_ip = models.CharField(_("last used from"), max_length=45, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True)

    objects = LiveKeys.as_manager()

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        default_permissions = ("view",)
        permissions = (("revoke_apikey", "Can revoke the API keys of others"),)
        indexes = (
            models.Index(fields=["user", "-created_at"], name="api_key_user"),
            models.Index(fields=["-created_at"], name="api_key_created_at"),
            models.Index(fields=["prefix"], name="api_key_prefix"),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def is_live(self, now: datetime) -> bool:
        """The same as `LiveKeys.live`, of a row that was read already."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


FACTOR_NAME_MAX_LENGTH = 64


class MfaDevice(models.Model):
    """An authenticator app (TOTP, RFC 6238) or a passkey (WebAuthn). It counts once it is confirmed."""

    class Kind(models.TextChoices):
        TOTP = "totp", _("Authenticator app")
        WEBAUTHN = "webauthn", _("Passkey")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="mfa_devices")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    name = models.CharField(max_length=FACTOR_NAME_MAX_LENGTH, blank=True)
    #: TOTP: the shared secret, encrypted (lib/encryption.py).
    secret = models.TextField(blank=True)
    #: TOTP: the newest time step a code of which was taken; an older one is a replay.
    last_step = models.BigIntegerField(null=True)
    credential_id = models.BinaryField(max_length=1023, unique=True, null=True)
    public_key = models.BinaryField(null=True)
    sign_count = models.BigIntegerField(default=0)
    transports = models.JSONField(default=list)
    created_at = models.DateTimeField(default=timezone.now)
    confirmed_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)
        indexes = (
            models.Index(fields=["user", "confirmed_at"], name="mfa_device_user"),
            models.Index(fields=["created_at"], condition=Q(confirmed_at=None), name="mfa_device_unconfirmed"),
        )

    def __str__(self) -> str:
        return self.name or str(self.get_kind_display())


class RecoveryCode(models.Model):
    """One of ten codes that each stand in for a lost factor once; only a hash of it is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="recovery_codes")
    hash = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    used_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()


#: Doors that only staff and operators come through; the index `audit_by_staff` is of these and of STAFF_EVENTS.
STAFF_DOORS = ("admin", "command", "staff")


class AuditEvent(models.Model):
    """One event of signing in or of an account's life; written by services/audit.py alone.

    Triggers refuse UPDATE and DELETE (migration 0004). People are named by id without a foreign key, because a row
    cannot change when the account goes; addresses only as a MAC.
    """

    class Outcome(models.TextChoices):
        OK = "ok", _("done")
        REFUSED = "refused", _("refused")
        FAILED = "failed", _("failed")

    class Door(models.TextChoices):
        API = "api", _("API")
        STAFF = "staff", _("Staff API")
        ADMIN = "admin", _("Admin")
        COMMAND = "command", _("Command")
        IMPORT = "import", _("Import")
        SCHEDULE = "schedule", _("Schedule")

    at = models.DateTimeField(_("when"), default=timezone.now)
    event = models.CharField(_("event"), max_length=40)
    outcome = models.CharField(_("outcome"), max_length=8, choices=Outcome.choices, default=Outcome.OK)
    user_id = models.UUIDField(_("whose account"), null=True)
    subject_mac = models.BinaryField(max_length=32, null=True)
    actor = models.CharField(_("who"), max_length=64, blank=True)
    door = models.CharField(_("door"), max_length=8, choices=Door.choices)
    session_id = models.UUIDField(_("session"), null=True)
    ip = models.CharField(_("IP address"), max_length=45, blank=True)
    user_agent = models.CharField(_("program"), max_length=256, blank=True)
    request_id = models.CharField(_("request"), max_length=64, blank=True)
    data = models.JSONField(_("details"), default=dict)

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        default_permissions = ("view",)
        indexes = (
            models.Index(fields=["at"], name="audit_at"),
            models.Index(fields=["user_id", "id"], name="audit_user"),
            models.Index(fields=["subject_mac", "id"], name="audit_subject"),
            models.Index(fields=["event", "id"], name="audit_event"),
            # What staff did, among what millions did at the API.
            models.Index(
                fields=["id"],
                condition=Q(door__in=STAFF_DOORS) | Q(event__in=tuple(STAFF_EVENTS)),
                name="audit_by_staff",
            ),
        )

    def __str__(self) -> str:
        return f"{self.event}, {self.at:%Y-%m-%d %H:%M} UTC"


class SavedView(models.Model):
    """What staff ask a list of the admin for, under a name; written by services/saved_views.py alone."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="saved_views")
    label = models.CharField(max_length=100)  #: The list, as `app.model`.
    name = models.CharField(max_length=60)
    query = models.TextField(blank=True)  #: As in an address, without its question mark.
    is_shared = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=["user", "label", "name"], name="saved_view_name"),)
        indexes = (models.Index(fields=["label", "name"], condition=Q(is_shared=True), name="saved_view_shared"),)

    def __str__(self) -> str:
        return self.name


class SignInCount(models.Model):
    """How many events of a kind (`login.ok`, …) an hour had; a periodic job counts them."""

    hour = models.DateTimeField()
    kind = models.CharField(max_length=40)
    count = models.PositiveIntegerField()

    class Meta:
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=["hour", "kind"], name="sign_in_count_once"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.hour:%Y-%m-%d %H}:00 UTC"


class RateBucket(models.Model):
    """One counter of the limiter. Times are milliseconds since 1970, so that one SQL text serves both databases."""

    key = models.BinaryField(primary_key=True, max_length=32)
    scope = models.CharField(max_length=32)
    count = models.IntegerField()
    blocked_until = models.BigIntegerField()
    reset_at = models.BigIntegerField()
    max_count = models.IntegerField()
    pause = models.BigIntegerField()
    doublings = models.IntegerField()
    slides = models.BooleanField()
    at = models.BigIntegerField()

    class Meta:
        indexes = (models.Index(fields=["reset_at"], name="rate_bucket_reset_at"),)


class Proposals(models.QuerySet["Proposal"]):
    def pending(self, now: datetime) -> Proposals:
        return self.filter(state=Proposal.State.PENDING, lapses_at__gt=now)

    def in_state(self, state: str) -> Proposals:
        """As `state_now` has it."""
        now, pending = timezone.now(), Proposal.State.PENDING
        if state == pending:
            return self.pending(now)
        rows = Q(state=state)
        return self.filter(rows | Q(state=pending, lapses_at__lte=now) if state == Proposal.State.LAPSED else rows)


class Proposal(models.Model):
    """A change that waits for a person's yes (services/proposals.py): an operation for staff by its id, what its
    address, query and body hold, and the tag of what it was made against.

    `parameters` and `body` may hold personal data: 30 days after they came they are emptied.
    """

    class State(models.TextChoices):
        PENDING = "pending", _("waiting")
        APPROVED = "approved", _("approved")
        DECLINED = "declined", _("declined")
        FAILED = "failed", _("failed")
        LAPSED = "lapsed", _("lapsed")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    operation = models.CharField(_("operation"), max_length=100)
    parameters = models.JSONField(_("parameters"), default=dict)
    body = models.JSONField(_("body"), null=True)
    if_match = models.CharField(max_length=200, blank=True)
    #: SHA-256 of the four above, by which a key's repeat is known.
    fingerprint = models.BinaryField(max_length=32)
    reason = models.CharField(_("why"), max_length=500, blank=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="proposals", verbose_name=_("whose"))
    key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, verbose_name=_("API key"))
    key_prefix = models.CharField(_("API key"), max_length=12)
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.PENDING)
    created_at = models.DateTimeField(_("asked"), default=timezone.now)
    lapses_at = models.DateTimeField(_("lapses"))
    decided_at = models.DateTimeField(_("decided"), null=True)
    decided_by = models.CharField(max_length=64, blank=True)  #: The label of an actor.
    decision_reason = models.CharField(_("reason"), max_length=200, blank=True)
    #: What the operation answered: its words, and the code of a refusal.
    outcome = models.CharField(_("outcome"), max_length=500, blank=True)
    outcome_code = models.CharField(max_length=100, blank=True)

    objects = Proposals.as_manager()

    class Meta:
        verbose_name = _("proposal")
        verbose_name_plural = _("proposals")
        default_permissions = ("add", "view")
        permissions = (
            ("decide_proposal", "Can say yes or no to proposals"),
            ("act_proposal", "Can let agents act without a proposal"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["key_prefix", "fingerprint"], condition=Q(state="pending"), name="proposal_pending_once"
            ),
        )
        indexes = (
            models.Index(fields=["-created_at"], name="proposal_created_at"),
            models.Index(fields=["key_prefix", "-created_at"], name="proposal_key"),
            models.Index(fields=["lapses_at"], condition=Q(state="pending"), name="proposal_pending"),
        )

    #: In words; set by the pages, which know the operations.
    what: Any = ""

    def __str__(self) -> str:
        return str(self.what) or " ".join([self.operation, *map(str, self.parameters.values())])

    def is_pending(self, now: datetime) -> bool:
        """The same as `Proposals.pending`, of a row that was read already."""
        return self.state == self.State.PENDING and self.lapses_at > now

    @property
    def state_now(self) -> str:
        is_over = self.state == self.State.PENDING and not self.is_pending(timezone.now())
        return self.State.LAPSED if is_over else self.state


class GivenAnswer(models.Model):
    """What an operation for staff answered to an `Idempotency-Key`, for its repeats; a day old it goes."""

    key = models.BinaryField(primary_key=True, max_length=32)
    body_hash = models.BinaryField(max_length=32)
    answer = models.JSONField(null=True)  #: `{"status", "value" (as JSON), "etag"}`
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()
        indexes = (models.Index(fields=["created_at"], name="given_answer_created_at"),)
