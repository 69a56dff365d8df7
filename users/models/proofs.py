"""What is waiting to be proved: registrations, and the tokens that prove something once."""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime

from django.db import models
from django.db.models import Q
from django.utils import timezone

from lib.addresses import EMAIL_MAX_LENGTH
from lib.text import NAME_MAX_LENGTH
from users.models.people import User


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
    """A proof that works once. Only the nonce is kept: token and code are derived from it (tokens.py)."""

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
    #: Null while nobody is known yet: the ceremony of a passkey sign-in.
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="one_time_tokens")
    #: Set where whoever got the token proved that this registration is theirs; nobody else ever sees that token.
    registration = models.ForeignKey(Registration, on_delete=models.SET_NULL, null=True)
    purpose = models.CharField(max_length=16, choices=Purpose.choices)
    email = models.CharField(max_length=EMAIL_MAX_LENGTH, blank=True)
    #: What the proof is about beside the person; never a secret.
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
