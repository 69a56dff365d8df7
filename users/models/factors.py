"""Second factors: authenticator apps, passkeys, recovery codes."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from users.models.people import User

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
    #: TOTP: the shared secret, encrypted (services/encryption.py).
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
        indexes = (models.Index(fields=["user", "confirmed_at"], name="mfa_device_user"),)

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
