"""Tables of the flags: what is decided, what happened, who may read, and what readers report."""

from __future__ import annotations

import json
from datetime import date
from typing import Any, ClassVar, NoReturn

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from feature_flags import descriptions, flag_document, names
from feature_flags.flag_document import Document
from lib.text import require_storable

ACTOR_LABEL_LENGTH = 64
APP_NAME_LENGTH = 100


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


class Kept(models.Model):
    """What verbs write: who made and changed it, and when."""

    #: The revision of the flag set that last changed this row: a reader takes only what is newer than it has.
    changed_in = models.BigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now, editable=False)
    created_by = models.CharField(max_length=ACTOR_LABEL_LENGTH, blank=True, editable=False)
    updated_by = models.CharField(max_length=ACTOR_LABEL_LENGTH, blank=True, editable=False)

    class Meta:
        abstract = True


class Tag(models.Model):
    name = models.CharField(_("name"), max_length=50, unique=True, validators=[validate_storable])

    class Meta:
        verbose_name = _("tag")
        verbose_name_plural = _("tags")
        default_permissions: ClassVar = ()
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Segment(Kept):
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


class FeatureFlag(Kept):
    """A flag: `document` is the whole of it (flag_document.BLANK).

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


# --- What happened, and what is planned -------------------------------------------------------------------------------


class AppendOnlyError(Exception):
    """An attempt to change the past: a bug, not a refusal."""

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
        STAFF = "staff", _("staff API")
        IMPORT = "import", _("import")
        SCHEDULE = "schedule", _("schedule")
        DECLARATION = "declaration", _("declaration")

    subject = models.CharField(_("kind"), max_length=8, choices=Subject.choices, default=Subject.FLAG)
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
    def change_lines(self) -> list[str]:
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
        words = self.get_action_display()
        if self.action == "percent":
            words = _("set the rollout to %(share)d %%") % {"share": self.percent}
        return _("%(action)s at %(time)s UTC") % {"action": words, "time": f"{self.at:%Y-%m-%d %H:%M}"}


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


# --- Readers, and what they report: no revision moves for a count -----------------------------------------------------


class FlagToken(models.Model):
    """Who may read flags from outside. The secret itself is never stored."""

    class Kind(models.TextChoices):
        SERVER = "server", _("server")
        FRONTEND = "frontend", _("frontend")

    name = models.CharField(_("name"), max_length=100, validators=[validate_storable])
    secret_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    prefix = models.CharField(_("begins with"), max_length=12, editable=False)
    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    allowed_origins = models.JSONField(_("allowed origins"), default=list, blank=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)
    last_used_on = models.DateField(_("last used"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    created_by = models.CharField(max_length=ACTOR_LABEL_LENGTH, blank=True, editable=False)

    class Meta:
        verbose_name = _("token")
        verbose_name_plural = _("tokens")
        default_permissions: ClassVar = ("view",)
        permissions = (("manage_flagtoken", "Can create and revoke flag tokens"),)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class FlagUsage(models.Model):
    """How often one application got yes and no in one hour; `variant` is empty for the total."""

    codename = models.CharField(_("flag"), max_length=names.MAX_LENGTH)
    hour = models.DateTimeField(_("hour"))
    app_name = models.CharField(_("application"), max_length=APP_NAME_LENGTH)
    variant = models.CharField(_("variant"), max_length=names.MAX_LENGTH, blank=True)
    yes = models.BigIntegerField(_("yes"), default=0)
    no = models.BigIntegerField(_("no"), default=0)

    class Meta:
        verbose_name = _("usage")
        verbose_name_plural = _("usage by hour")
        default_permissions: ClassVar = ("view",)
        constraints = (
            models.UniqueConstraint(fields=["codename", "hour", "app_name", "variant"], name="flag_usage_once"),
        )
        indexes = (models.Index(fields=["hour"], name="flag_usage_hour"),)

    def __str__(self) -> str:
        return f"{self.codename} {self.hour:%Y-%m-%d %H}:00 UTC {self.app_name}"


class FlagSeen(models.Model):
    codename = models.CharField(max_length=names.MAX_LENGTH, primary_key=True)
    first_seen_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)
    #: When the answer was last yes, and when no.
    yes_at = models.DateTimeField(null=True)
    no_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions: ClassVar = ()

    def __str__(self) -> str:
        return f"{self.codename} seen {self.last_seen_at:%Y-%m-%d %H:%M} UTC"


class UnknownFlag(models.Model):
    """A name that code or a client asked for and that no flag has."""

    codename = models.CharField(_("name"), max_length=names.MAX_LENGTH)
    app_name = models.CharField(_("application"), max_length=APP_NAME_LENGTH)
    count = models.BigIntegerField(_("times"), default=0)
    last_seen_at = models.DateTimeField(_("last seen"), default=timezone.now)

    class Meta:
        verbose_name = _("unknown flag")
        verbose_name_plural = _("unknown flags")
        default_permissions: ClassVar = ("view",)
        constraints = (models.UniqueConstraint(fields=["codename", "app_name"], name="unknown_flag_once"),)

    def __str__(self) -> str:
        return self.codename
