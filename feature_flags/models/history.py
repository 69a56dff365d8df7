"""What happened, what is planned, and the number that moves with every change."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from feature_flags import descriptions, names
from feature_flags.models.flags import ACTOR_LABEL_LENGTH, FeatureFlag, Segment, validate_storable


class AppendOnlyError(Exception):
    """Somebody tried to change the past: a bug, not a refusal."""

    def __init__(self) -> None:
        super().__init__("The history of flags is only ever added to.")


class AppendOnly(models.QuerySet["FlagRevision"]):
    # SET_NULL of a deleted flag or person goes through the base manager, which still may.
    def update(self, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError

    def delete(self) -> NoReturn:
        raise AppendOnlyError


class FlagRevision(models.Model):
    """One change: who, through which door, from what to what, why. `snapshot` is the whole thing after it."""

    class Subject(models.TextChoices):
        FLAG = "flag", _("flag")
        SEGMENT = "segment", _("segment")
        TOKEN = "token", _("token")

    class Action(models.TextChoices):
        CREATE = "create", _("created")
        SWITCH = "switch", _("switched")
        EDIT = "edit", _("edited")
        RENAME = "rename", _("renamed")
        ARCHIVE = "archive", _("archived")
        UNARCHIVE = "unarchive", _("taken out of the archive")
        DELETE = "delete", _("deleted")
        RESTORE = "restore", _("restored")
        SCHEDULE = "schedule", _("scheduled")
        CANCEL = "cancel", _("schedule cancelled")
        REVOKE = "revoke", _("revoked")

    class Door(models.TextChoices):
        ADMIN = "admin", _("admin")
        COMMAND = "command", _("command")
        API = "api", _("API")
        IMPORT = "import", _("import")
        SCHEDULE = "schedule", _("schedule")
        DECLARATION = "declaration", _("declaration")

    subject = models.CharField(max_length=8, choices=Subject.choices, default=Subject.FLAG)
    flag = models.ForeignKey(FeatureFlag, on_delete=models.SET_NULL, null=True, related_name="revisions")
    segment = models.ForeignKey(Segment, on_delete=models.SET_NULL, null=True, related_name="revisions")
    codename = models.CharField(_("name"), max_length=names.MAX_LENGTH)
    action = models.CharField(_("what"), max_length=16, choices=Action.choices)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    actor_label = models.CharField(max_length=ACTOR_LABEL_LENGTH, blank=True)
    door = models.CharField(_("door"), max_length=16, choices=Door.choices)
    reason = models.TextField(_("reason"), blank=True, validators=[validate_storable])
    diff = models.JSONField()
    snapshot = models.JSONField()
    at = models.DateTimeField(_("when"), default=timezone.now)

    objects = AppendOnly.as_manager()

    class Meta:
        verbose_name = _("change")
        verbose_name_plural = _("history")
        default_permissions: ClassVar = ("view",)
        indexes = (models.Index(fields=["flag", "-id"], name="flag_revision_newest"),)

    def __str__(self) -> str:
        return f"{self.codename} {self.get_action_display()}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError

    @property
    def who(self) -> str:
        return str(self.actor) if self.actor else self.actor_label

    @property
    def changes(self) -> list[str]:
        """The diff in words, member by member: `active: off → on`."""
        return descriptions.describe_changes(self.diff)


class FlagSchedule(models.Model):
    """A change planned for a time."""

    class Action(models.TextChoices):
        ON = "on", _("switch on")
        OFF = "off", _("switch off")
        PERCENT = "percent", _("set the rollout")

    class State(models.TextChoices):
        PENDING = "pending", _("pending")
        APPLIED = "applied", _("applied")
        CANCELLED = "cancelled", _("cancelled")

    flag = models.ForeignKey(FeatureFlag, on_delete=models.CASCADE, related_name="schedule")
    at = models.DateTimeField(_("at"))
    action = models.CharField(_("action"), max_length=8, choices=Action.choices)
    percent = models.PositiveSmallIntegerField(_("percent"), null=True, blank=True)
    reason = models.TextField(_("reason"), blank=True, validators=[validate_storable])
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.PENDING)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.CharField(max_length=ACTOR_LABEL_LENGTH, blank=True, editable=False)

    class Meta:
        verbose_name = _("scheduled change")
        verbose_name_plural = _("schedule")
        default_permissions: ClassVar = ()
        ordering = ("at", "id")
        indexes = (models.Index(fields=["state", "at"], name="flag_schedule_due"),)
        constraints = (
            models.CheckConstraint(
                condition=Q(action="percent", percent__gte=0, percent__lte=100)
                | (~Q(action="percent") & Q(percent=None)),
                name="flag_schedule_percent",
            ),
        )

    def __str__(self) -> str:
        words = f"set the rollout to {self.percent} %" if self.action == "percent" else self.get_action_display()
        return f"{words} at {self.at:%Y-%m-%d %H:%M} UTC"


class FlagSetState(models.Model):
    """One row: the version of everything a reader can see. Every verb raises it in its last statements."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    revision = models.BigIntegerField(default=0)
    #: The last revision that a reader cannot follow by what is newer than it has: something went away.
    full_revision = models.BigIntegerField(default=0)

    class Meta:
        default_permissions: ClassVar = ()
        constraints = (models.CheckConstraint(condition=Q(id=1), name="flag_set_state_one_row"),)

    def __str__(self) -> str:
        return f"revision {self.revision}"
