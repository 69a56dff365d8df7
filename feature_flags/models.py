"""Flags, their history, and the number that moves with every change."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from feature_flags import names
from lib.text import storable

ACTOR_LABEL_LENGTH = 64


def validate_codename(value: str) -> None:
    if problem := names.problem(value):
        raise ValidationError(problem)


def validate_storable(value: str) -> None:
    try:
        storable(value)
    except ValueError as error:
        raise ValidationError(f"This text {error}.") from None


class FeatureFlag(models.Model):
    codename = models.CharField(
        _("codename"),
        max_length=names.MAX_LENGTH,
        unique=True,
        validators=[validate_codename],
        help_text=_("What code and clients ask for; it does not change later."),
        error_messages={"unique": _("FF already exists.")},
    )
    label = models.CharField(_("label"), max_length=200, null=True, blank=True, validators=[validate_storable])
    description = models.TextField(_("description"), null=True, blank=True, validators=[validate_storable])
    is_active = models.BooleanField(_("active"), default=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now, editable=False)
    created_by = models.CharField(max_length=ACTOR_LABEL_LENGTH, blank=True, editable=False)
    updated_by = models.CharField(max_length=ACTOR_LABEL_LENGTH, blank=True, editable=False)

    class Meta:
        verbose_name = _("feature flag")
        verbose_name_plural = _("feature flags")
        constraints = (
            models.UniqueConstraint(
                Lower("codename"),
                name="feature_flag_codename_lower",
                violation_error_message=_("FF already exists."),
                violation_error_code="unique",
            ),
        )
        permissions = (("switch_featureflag", "Can switch feature flags"),)

    def __str__(self) -> str:
        return self.codename

    def snapshot(self) -> dict[str, Any]:
        """Everything a person can decide about this flag, as the history keeps it."""
        return {
            "codename": self.codename,
            "label": self.label,
            "description": self.description,
            "is_active": self.is_active,
        }


def _field_name(name: str) -> str:
    return str(getattr(FeatureFlag._meta.get_field(name), "verbose_name", name))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "–" if value is None else str(value)


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
    """One change: who, through which door, from what to what, why. `snapshot` is the flag after it."""

    class Action(models.TextChoices):
        CREATE = "create", _("created")
        SWITCH = "switch", _("switched")
        EDIT = "edit", _("edited")

    class Door(models.TextChoices):
        ADMIN = "admin", _("admin")
        COMMAND = "command", _("command")
        API = "api", _("API")
        IMPORT = "import", _("import")
        SCHEDULE = "schedule", _("schedule")
        DECLARATION = "declaration", _("declaration")

    flag = models.ForeignKey(FeatureFlag, on_delete=models.SET_NULL, null=True, related_name="revisions")
    codename = models.CharField(max_length=names.MAX_LENGTH)
    action = models.CharField(max_length=16, choices=Action.choices)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    actor_label = models.CharField(max_length=ACTOR_LABEL_LENGTH, blank=True)
    door = models.CharField(max_length=16, choices=Door.choices)
    reason = models.TextField(blank=True, validators=[validate_storable])
    diff = models.JSONField()
    snapshot = models.JSONField()
    at = models.DateTimeField(default=timezone.now)

    objects = AppendOnly.as_manager()

    class Meta:
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
        """The diff in words, field by field: `active: off → on`."""
        return [f"{_field_name(name)}: {_word(before)} → {_word(after)}" for name, (before, after) in self.diff.items()]


class FlagSetState(models.Model):
    """One row: the version of everything a reader can see. Every verb raises it as its last statement."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    revision = models.BigIntegerField(default=0)

    class Meta:
        default_permissions: ClassVar = ()
        constraints = (models.CheckConstraint(condition=models.Q(id=1), name="flag_set_state_one_row"),)

    def __str__(self) -> str:
        return f"revision {self.revision}"
