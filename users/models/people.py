"""The person."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from lib.addresses import EMAIL_MAX_LENGTH, normal_email, typed_email, valid_email
from lib.text import NAME_MAX_LENGTH

#: The group whose members act on other members of staff; the name is what carries it.
ADMINS = "Admin"


class UserManager(BaseUserManager["User"]):
    def get_by_natural_key(self, username: str | None) -> User:
        return self.of_address(username or "")[:1].get()

    def of_address(self, text: str) -> models.QuerySet[User]:
        """The account of an address in any spelling. What older releases kept in two is two, each by its own."""
        typed = typed_email(text)
        rows = self.filter(email__in={typed, normal_email(text)})
        return rows.order_by(models.Case(models.When(email=typed, then=0), default=1))

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
    delete_after_at = models.DateTimeField(_("deleted after"), null=True, blank=True, editable=False)
    language = models.CharField(
        _("language"),
        max_length=16,
        blank=True,
        editable=False,
        help_text=_("What mails to this person are written in."),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)
    created_by = models.CharField(max_length=64, blank=True, editable=False)
    updated_by = models.CharField(max_length=64, blank=True, editable=False)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[UserManager] = UserManager()

    #: The UserSession this person acts in; set by whoever authenticated them, never stored.
    session_id: uuid.UUID | None = None

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
            models.Index(fields=["-created_at"], condition=Q(password__startswith="bcrypt$"), name="user_bcrypt"),
        )
        permissions = (
            ("activate_user", "Can activate and unlock users"),
            ("deactivate_user", "Can deactivate users"),
            ("verify_user", "Can mark addresses as verified"),
            ("send_reset_user", "Can send password resets"),
            ("sign_out_user", "Can sign users out everywhere"),
            ("remove_factor_user", "Can remove second factors"),
            ("export_user", "Can export what is held of a user"),
        )

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        self.email = normal_email(self.email)

    @property
    def is_verified(self) -> bool:
        return self.email_verified_at is not None

    def may_act_as_staff(self) -> bool:
        """Whether this is staff whose session has proved what staff have to prove (USERS_STAFF_MFA)."""
        if not self.is_staff:
            return False
        if settings.USERS_STAFF_MFA != "required":
            return True
        found = self.sessions.filter(pk__in=[self.session_id]).first()
        return found is not None and found.has_second_factor

    def reaches(self, other: User) -> bool:
        """Whether this member of staff may act on that account: superusers on all, the group *Admin* on all but
        superusers, other staff on whoever is not staff."""
        if self.is_superuser or self.pk == other.pk or not (other.is_staff or other.is_superuser):
            return True
        return not other.is_superuser and self._is_admin

    @cached_property
    def _is_admin(self) -> bool:
        """Asked once in the life of the object, which is that of a request: a list asks for each of its rows."""
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
