"""A flag and the parts that narrow it: rules, segments, variants, targets, prerequisites, tags."""

from __future__ import annotations

from typing import ClassVar

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from feature_flags import names
from lib.text import require_storable

ACTOR_LABEL_LENGTH = 64
DEFAULT_STICKINESS = "default"


def validate_codename(value: str) -> None:
    if problem := names.problem(value):
        raise ValidationError(problem)


def validate_storable(value: str) -> None:
    try:
        require_storable(value)
    except ValueError as error:
        raise ValidationError(f"This text {error}.") from None


def _percent(name: str) -> models.CheckConstraint:
    return models.CheckConstraint(condition=Q(rollout_percent__gte=0, rollout_percent__lte=100), name=name)


class Tag(models.Model):
    name = models.CharField(_("name"), max_length=50, unique=True, validators=[validate_storable])

    class Meta:
        verbose_name = _("tag")
        verbose_name_plural = _("tags")
        default_permissions: ClassVar = ()
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Segment(models.Model):
    """A named group of people, by constraints; rules of any number of flags refer to it."""

    name = models.CharField(
        _("name"),
        max_length=100,
        unique=True,
        validators=[validate_storable],
        help_text=_("What rules and exports call it; it does not change later."),
    )
    description = models.TextField(_("description"), blank=True, validators=[validate_storable])
    constraints = models.JSONField(_("constraints"), default=list, blank=True)
    changed_in = models.BigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now, editable=False)
    created_by = models.CharField(max_length=ACTOR_LABEL_LENGTH, blank=True, editable=False)
    updated_by = models.CharField(max_length=ACTOR_LABEL_LENGTH, blank=True, editable=False)

    class Meta:
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        ordering = ("name",)
        indexes = (models.Index(fields=["changed_in"], name="segment_changed_in"),)

    def __str__(self) -> str:
        return self.name


class FeatureFlag(models.Model):
    class Kind(models.TextChoices):
        RELEASE = "release", _("release")
        EXPERIMENT = "experiment", _("experiment")
        OPERATIONAL = "operational", _("operational")
        KILL_SWITCH = "kill_switch", _("kill switch")
        PERMISSION = "permission", _("permission")

    class ValueType(models.TextChoices):
        BOOLEAN = "boolean", _("boolean")
        STRING = "string", _("string")
        INTEGER = "integer", _("integer")
        FLOAT = "float", _("float")
        OBJECT = "object", _("object")

    #: Days a flag of each kind is expected to live; kinds that may stay for good are absent.
    EXPECTED_DAYS: ClassVar[dict[str, int]] = {"release": 40, "experiment": 40, "operational": 7}

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
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices, default=Kind.RELEASE)
    value_type = models.CharField(_("value type"), max_length=8, choices=ValueType.choices, default=ValueType.BOOLEAN)
    off_value = models.JSONField(_("value when off"), null=True, blank=True)
    rollout_percent = models.PositiveSmallIntegerField(_("rollout"), default=100)
    stickiness = models.CharField(_("stickiness"), max_length=100, default=DEFAULT_STICKINESS)
    # Frozen at creation: another group would deal everybody's place in a rollout anew.
    group_id = models.CharField(_("group"), max_length=100, blank=True)
    exposed = models.BooleanField(
        _("exposed"), default=True, help_text=_("Shown in the public list and to frontend tokens.")
    )
    is_protected = models.BooleanField(_("protected"), default=False, help_text=_("Every switch asks for a reason."))
    impression_data = models.BooleanField(
        _("impression data"), default=False, help_text=_("Tells Unleash clients to report each use of the flag.")
    )
    owner = models.CharField(_("owner"), max_length=100, blank=True, validators=[validate_storable])
    tags = models.ManyToManyField(Tag, verbose_name=_("tags"), blank=True, related_name="flags")
    review_on = models.DateField(_("review on"), null=True, blank=True)
    archived_at = models.DateTimeField(_("archived"), null=True, blank=True, editable=False)
    #: The revision of the flag set that last changed this flag: a reader takes only what is newer than it has.
    changed_in = models.BigIntegerField(default=0, editable=False)
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
            models.CheckConstraint(
                condition=Q(archived_at=None) | Q(is_active=False), name="feature_flag_archived_is_off"
            ),
            _percent("feature_flag_rollout_percent"),
        )
        indexes = (models.Index(fields=["changed_in"], name="feature_flag_changed_in"),)
        permissions = (
            ("switch_featureflag", "Can switch feature flags"),
            ("archive_featureflag", "Can archive feature flags"),
        )

    def __str__(self) -> str:
        return self.codename

    @property
    def is_archived(self) -> bool:
        return self.archived_at is not None


class FlagRule(models.Model):
    """One way in. Rules are OR-ed in order; the constraints and segments of one are AND-ed."""

    flag = models.ForeignKey(FeatureFlag, on_delete=models.CASCADE, related_name="rules")
    position = models.PositiveSmallIntegerField(_("position"))
    label = models.CharField(_("label"), max_length=200, blank=True, validators=[validate_storable])
    is_enabled = models.BooleanField(_("enabled"), default=True)
    rollout_percent = models.PositiveSmallIntegerField(_("rollout"), default=100)
    stickiness = models.CharField(_("stickiness"), max_length=100, default=DEFAULT_STICKINESS)
    group_id = models.CharField(_("group"), max_length=100, blank=True)
    constraints = models.JSONField(_("constraints"), default=list, blank=True)
    segments = models.ManyToManyField(Segment, verbose_name=_("segments"), blank=True, related_name="rules")

    class Meta:
        verbose_name = _("rule")
        verbose_name_plural = _("rules")
        default_permissions: ClassVar = ()
        ordering = ("flag", "position")
        constraints = (
            models.UniqueConstraint(fields=["flag", "position"], name="flag_rule_position"),
            _percent("flag_rule_rollout_percent"),
        )

    def __str__(self) -> str:
        return self.label or f"rule {self.position + 1}"


class FlagVariant(models.Model):
    """One of the values a flag, or one rule of it, deals out by weight."""

    flag = models.ForeignKey(FeatureFlag, on_delete=models.CASCADE, related_name="variants")
    rule = models.ForeignKey(FlagRule, on_delete=models.CASCADE, null=True, blank=True, related_name="variants")
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    name = models.CharField(_("name"), max_length=names.MAX_LENGTH, validators=[validate_codename])
    weight = models.PositiveSmallIntegerField(_("weight"), default=1)
    payload = models.JSONField(_("payload"), null=True, blank=True)
    #: As the Unleash document it came from spells it, where we would do so otherwise: `{"type", "value"}`.
    written_as = models.JSONField(_("written as"), null=True, blank=True)

    class Meta:
        verbose_name = _("variant")
        verbose_name_plural = _("variants")
        default_permissions: ClassVar = ()
        ordering = ("flag", "rule", "position")
        constraints = (
            models.UniqueConstraint(fields=["flag", "rule", "name"], name="flag_variant_rule_name"),
            # NULL differs from NULL in a unique constraint.
            models.UniqueConstraint(fields=["flag", "name"], condition=Q(rule=None), name="flag_variant_name"),
            models.CheckConstraint(condition=Q(weight__gte=1, weight__lte=1000), name="flag_variant_weight"),
        )

    def __str__(self) -> str:
        return self.name


class FlagPrerequisite(models.Model):
    """The flag is on only where its parent is in the wanted state (and, if named, one of these variants)."""

    flag = models.ForeignKey(FeatureFlag, on_delete=models.CASCADE, related_name="prerequisites")
    parent = models.ForeignKey(FeatureFlag, on_delete=models.PROTECT, related_name="dependents")
    required = models.BooleanField(_("must be on"), default=True)
    variants = models.JSONField(_("variants"), default=list, blank=True)

    class Meta:
        verbose_name = _("prerequisite")
        verbose_name_plural = _("prerequisites")
        default_permissions: ClassVar = ()
        constraints = (
            models.UniqueConstraint(fields=["flag", "parent"], name="flag_prerequisite_once"),
            models.CheckConstraint(condition=~Q(flag=F("parent")), name="flag_prerequisite_not_itself"),
        )

    def __str__(self) -> str:
        return f"{self.parent} {'on' if self.required else 'off'}"


class FlagTarget(models.Model):
    """One user id that is always in, or always out, whatever the rules say."""

    flag = models.ForeignKey(FeatureFlag, on_delete=models.CASCADE, related_name="targets")
    identifier = models.CharField(_("user id"), max_length=200, validators=[validate_storable])
    always = models.BooleanField(_("always on"), default=True)

    class Meta:
        verbose_name = _("target")
        verbose_name_plural = _("targets")
        default_permissions: ClassVar = ()
        constraints = (models.UniqueConstraint(fields=["flag", "identifier"], name="flag_target_once"),)

    def __str__(self) -> str:
        return f"{self.identifier} always {'on' if self.always else 'off'}"
