"""People, their sign-ins and the one-time proofs that go with them. Nothing here holds a secret in clear."""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lib.text import EMAIL_MAX_LENGTH, NAME_MAX_LENGTH, normal_email, valid_email


class UserManager(BaseUserManager["User"]):
    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=normal_email(username or ""))

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A user with a hashed password, or an unusable one when None; ValueError for an invalid address."""
        user = self.model(email=valid_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        fields.setdefault("email_verified_at", timezone.now())
        return self.create_user(email, password, **{**fields, "is_staff": True, "is_superuser": True})


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
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)
    created_by = models.CharField(max_length=64, blank=True, editable=False)
    updated_by = models.CharField(max_length=64, blank=True, editable=False)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[UserManager] = UserManager()

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
        indexes = (models.Index(fields=["-created_at"], name="user_created_at"),)
        permissions = (
            ("activate_user", "Can activate and unlock users"),
            ("deactivate_user", "Can deactivate users"),
            ("verify_user", "Can mark addresses as verified"),
            ("send_reset_user", "Can send password resets"),
            ("sign_out_user", "Can sign users out everywhere"),
        )

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        self.email = normal_email(self.email)

    @property
    def is_verified(self) -> bool:
        return self.email_verified_at is not None

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


class Registration(models.Model):
    """What one `/register` call asked for. The one whose code comes back becomes the account (see registration.py)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="registrations")
    password = models.CharField(max_length=128)
    first_name = models.CharField(max_length=NAME_MAX_LENGTH, blank=True)
    last_name = models.CharField(max_length=NAME_MAX_LENGTH, blank=True)
    network_mac = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = (models.Index(fields=["user", "-created_at"], name="registration_user_newest"),)


class LiveSessions(models.QuerySet["UserSession"]):
    def live(self, now: datetime) -> LiveSessions:
        return self.filter(revoked_at=None, expires_at__gt=now)


class UserSession(models.Model):
    """One sign-in: what refresh tokens and access tokens (claim `sid`) hang on. Revoked is final."""

    class Kind(models.TextChoices):
        API = "api", _("API")
        ADMIN = "admin", _("Admin")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sessions")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    created_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)
    auth_at = models.DateTimeField(default=timezone.now)
    amr = models.JSONField(default=list)
    expires_at = models.DateTimeField()
    ip = models.CharField(max_length=45, blank=True)
    network_mac = models.CharField(max_length=64, blank=True)
    user_agent = models.CharField(max_length=256, blank=True)
    label = models.CharField(max_length=64, blank=True)
    revoked_at = models.DateTimeField(null=True)
    revoked_reason = models.CharField(max_length=32, blank=True)

    objects = LiveSessions.as_manager()

    class Meta:
        indexes = (models.Index(fields=["user", "revoked_at"], name="session_user_revoked"),)
        constraints = (
            models.CheckConstraint(
                condition=~Q(revoked_reason="") | Q(revoked_at=None), name="session_revoked_has_reason"
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()}, {self.created_at:%Y-%m-%d %H:%M}"


class RefreshToken(models.Model):
    """A link in a session's chain: each token has at most one successor."""

    hash = models.BinaryField(max_length=32, unique=True)
    session = models.ForeignKey(UserSession, on_delete=models.CASCADE, related_name="refresh_tokens")
    parent = models.OneToOneField("self", on_delete=models.CASCADE, null=True, related_name="successor")
    created_at = models.DateTimeField(default=timezone.now)
    used_at = models.DateTimeField(null=True)


def _nonce() -> bytes:
    return secrets.token_bytes(16)


class OneTimeToken(models.Model):
    """A proof that works once. Only the nonce is kept: token and code are derived from it (tokens.py)."""

    class Purpose(models.TextChoices):
        VERIFY = "verify"
        RESET = "reset"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    nonce = models.BinaryField(max_length=16, default=_nonce)
    key_id = models.CharField(max_length=8)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="one_time_tokens")
    registration = models.ForeignKey(Registration, on_delete=models.CASCADE, null=True)
    purpose = models.CharField(max_length=16, choices=Purpose.choices)
    email = models.CharField(max_length=EMAIL_MAX_LENGTH)
    code_serial = models.PositiveIntegerField(default=0)
    code_expires_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        indexes = (models.Index(fields=["user", "purpose"], name="one_time_token_user"),)
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


class RateBucket(models.Model):
    """One counter of the limiter. Times are milliseconds since 1970, so that one SQL text serves both databases."""

    key = models.BinaryField(primary_key=True, max_length=32)
    scope = models.CharField(max_length=32)
    count = models.IntegerField()
    failed = models.IntegerField()
    blocked_until = models.BigIntegerField()
    reset_at = models.BigIntegerField()
    max_count = models.IntegerField()
    pause = models.BigIntegerField()
    doublings = models.IntegerField()
    slides = models.BooleanField()
    at = models.BigIntegerField()

    class Meta:
        indexes = (models.Index(fields=["reset_at"], name="rate_bucket_reset_at"),)
