"""Sign-ins that last: sessions and the refresh tokens that hang on them."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from users.models.people import User

#: How long a session of the admin may go unused.
ADMIN_IDLE = timedelta(minutes=30)
#: What counts as a second factor in `amr`.
_SECOND = frozenset({"otp", "webauthn", "recovery"})


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
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sessions")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    created_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)
    auth_at = models.DateTimeField(default=timezone.now)
    amr = models.JSONField(default=list)
    expires_at = models.DateTimeField()
    ip = models.CharField(max_length=45, blank=True)
    network = models.CharField(max_length=49, blank=True)
    network_mac = models.CharField(max_length=64, blank=True)
    user_agent = models.CharField(max_length=256, blank=True)
    label = models.CharField(max_length=64, blank=True)
    revoked_at = models.DateTimeField(null=True)
    revoked_reason = models.CharField(max_length=32, blank=True)

    objects = LiveSessions.as_manager()

    class Meta:
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

    @property
    def has_second_factor(self) -> bool:
        """Whether more than the password was proved in it."""
        return not _SECOND.isdisjoint(self.amr)


class RefreshToken(models.Model):
    """A link in a session's chain: each token has at most one successor."""

    hash = models.BinaryField(max_length=32, unique=True)
    session = models.ForeignKey(UserSession, on_delete=models.CASCADE, related_name="refresh_tokens")
    parent = models.OneToOneField("self", on_delete=models.CASCADE, null=True, related_name="successor")
    created_at = models.DateTimeField(default=timezone.now)
    used_at = models.DateTimeField(null=True)
    #: When it was first answered again after the leeway: its answer had been lost, or somebody else has a copy.
    repeated_at = models.DateTimeField(null=True)
