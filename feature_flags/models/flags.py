"""A flag as one row with its document; segments and tags, which staff look flags up by."""

from __future__ import annotations

import json
from datetime import date
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from feature_flags import flag_document, names
from feature_flags.flag_document import Document
from lib.text import require_storable

ACTOR_LABEL_LENGTH = 64


def validate_codename(value: str) -> None:
    if problem := names.problem(value):
        raise ValidationError(problem)


def validate_storable(value: str) -> None:
    try:
        require_storable(value)
    except ValueError as error:
        raise ValidationError(f"This text {error}.") from None


class DocumentField(models.TextField):  # type: ignore[type-arg]
    """JSON kept as text: PostgreSQL's jsonb would reorder the keys of payloads and rewrite numbers such as 1e22."""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:
        try:
            # None where an outer join found no flag.
            return value and json.loads(value)
        except (ValueError, RecursionError):
            # Written past the services: it breaks its own flag (flag_document.join), not the reading of all.
            return value

    def to_python(self, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def value_to_string(self, obj: models.Model) -> str:
        return self.get_prep_value(self.value_from_object(obj))


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

    @property
    def document(self) -> Document:
        return {"name": self.name, "description": self.description, "constraints": self.constraints}


class FlagQuerySet(models.QuerySet["FeatureFlag"]):
    def documents(self) -> dict[int, Document]:
        """The documents of these flags by primary key, in codename order: one query."""
        rows = self.order_by("codename").values("pk", "archived_at", "definition", *flag_document.COLUMNS)
        return {row["pk"]: flag_document.join(row) for row in rows}


class FeatureFlag(models.Model):
    """A flag: `document` is the whole of it (flag_document.Flag).

    Columns hold what lists filter and sort by, `definition` the other members of the document. `tags`, `segments` and
    `parents` only index what the document names; services.storage writes them together with it.
    """

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
    exposed = models.BooleanField(
        _("exposed"), default=True, help_text=_("Shown in the public list and to frontend tokens.")
    )
    is_protected = models.BooleanField(_("protected"), default=False, help_text=_("Every switch asks for a reason."))
    owner = models.CharField(_("owner"), max_length=100, blank=True, validators=[validate_storable])
    review_on = models.DateField(_("review on"), null=True, blank=True)
    archived_at = models.DateTimeField(_("archived"), null=True, blank=True, editable=False)
    definition = DocumentField(_("definition"), default=dict, editable=False)
    tags = models.ManyToManyField(Tag, verbose_name=_("tags"), blank=True, related_name="flags", editable=False)
    segments = models.ManyToManyField(Segment, related_name="flags", editable=False)
    parents = models.ManyToManyField("self", symmetrical=False, related_name="children", editable=False)
    #: The revision of the flag set that last changed this flag: a reader takes only what is newer than it has.
    changed_in = models.BigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now, editable=False)
    created_by = models.CharField(max_length=ACTOR_LABEL_LENGTH, blank=True, editable=False)
    updated_by = models.CharField(max_length=ACTOR_LABEL_LENGTH, blank=True, editable=False)

    objects = FlagQuerySet.as_manager()

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

    @property
    def document(self) -> Document:
        """The whole flag as it is stored."""
        return flag_document.join(vars(self))

    @document.setter
    def document(self, document: Document) -> None:
        """Takes a checked document; saving, and the index beside it, is services.storage's."""
        for name in flag_document.COLUMNS:
            setattr(self, name, document[name])
        self.review_on = date.fromisoformat(document["review_on"]) if document["review_on"] else None
        self.definition = {name: document[name] for name in flag_document.DEFINITION}
        if self.is_archived != document["is_archived"]:
            self.archived_at = timezone.now() if document["is_archived"] else None
