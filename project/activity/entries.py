"""One row of the Activity page: who did what to which thing, when and why, in words."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, cast

from django.contrib.admin.models import ADDITION, DELETION, LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from feature_flags.models import FeatureFlag, FlagRevision, FlagToken, Segment
from lib.admin import address_of, may_see
from lib.admin.changelist import time_cell
from notifications.admin.common import type_label
from notifications.models import Announcement, Message, ProviderState, Suppression, TemplateOverride, WebhookEndpoint
from users.admin import event_words
from users.audit_events import EVENTS
from users.models import ApiKey, AuditEvent, Proposal, ServiceAccount, User

ACCOUNTS, FLAGS, MAIL, SETTINGS = "accounts", "flags", "mail", "settings"
AREAS = {
    ACCOUNTS: gettext_lazy("Accounts"),
    FLAGS: gettext_lazy("Flags"),
    MAIL: gettext_lazy("Mail"),
    SETTINGS: gettext_lazy("Settings"),
}
#: The first word of an event of the audit trail.
_AREA_OF = {
    **dict.fromkeys(("flags", "flag_token"), FLAGS),
    **dict.fromkeys(("template", "announcement", "message", "suppression", "provider"), MAIL),
    **dict.fromkeys(("group", "list", "view", "webhook", "proposal"), SETTINGS),
}
#: What an event of the audit trail is about, beside a person.
_THING_OF: dict[str, type[Model]] = {
    "group": Group,
    "template": TemplateOverride,
    "announcement": Announcement,
    "message": Message,
    "suppression": Suppression,
    "provider": ProviderState,
    "flag_token": FlagToken,
    "webhook": WebhookEndpoint,
    "api_key": ApiKey,
    "service_account": ServiceAccount,
    "proposal": Proposal,
}
_SUBJECTS: dict[str, type[Model]] = {"flag": FeatureFlag, "segment": Segment, "token": FlagToken}
_CHANGES_SHOWN = 3
_FLAG_SENTENCES: dict[str, Any] = {
    "create": gettext_lazy("{who} created the {kind} {thing}"),
    "switch": gettext_lazy("{who} switched {thing}"),
    "on": gettext_lazy("{who} switched {thing} on"),
    "off": gettext_lazy("{who} switched {thing} off"),
    "edit": gettext_lazy("{who} changed the {kind} {thing}"),
    "rename": gettext_lazy("{who} renamed the {kind} {thing}"),
    "archive": gettext_lazy("{who} archived the {kind} {thing}"),
    "unarchive": gettext_lazy("{who} took the {kind} {thing} out of the archive"),
    "delete": gettext_lazy("{who} deleted the {kind} {thing}"),
    "restore": gettext_lazy("{who} restored an earlier version of {thing}"),
    "schedule": gettext_lazy("{who} planned a change of {thing}"),
    "cancel": gettext_lazy("{who} cancelled a planned change of {thing}"),
    "revoke": gettext_lazy("{who} revoked the {kind} {thing}"),
}
#: Actions whose sentence does not say yet what is different.
_TELLING = {"edit", "rename", "restore", "schedule"}


def area_of(event: str) -> str:
    return _AREA_OF.get(event.partition(".")[0], ACCOUNTS)


def names_thing(event: str, reader: Reader) -> bool:
    """Whether its details hold the name of something, beside a person, that this reader may see."""
    word = event.partition(".")[0]
    return word in _THING_OF and word not in {"message", "suppression"} and reader.may_see(_THING_OF[word])


def named_subjects(reader: Reader) -> list[str]:
    """Of what this reader may see the names in the history of flags."""
    return [subject for subject, model in _SUBJECTS.items() if reader.may_see(model)]


class Piece(NamedTuple):
    """What a sentence names: its text, the page it leads to, what pointing at it shows."""

    text: str
    url: str = ""
    title: str = ""

    @property
    def html(self) -> str:
        if self.url:
            return format_html('<a href="{}" title="{}">{}</a>', self.url, self.title or self.text, self.text)
        return format_html('<span title="{}">{}</span>', self.title, self.text) if self.title else self.text


@dataclass(frozen=True, kw_only=True)
class Entry:
    at: datetime
    area: str
    kind: str
    who: Piece
    sentence: str  #: With the names of `pieces` in braces.
    pieces: Mapping[str, Piece]
    more: str = ""  #: What is different, in a line.
    reason: str = ""
    door: str = ""
    url: str = ""  #: Of the record itself.

    @property
    def area_label(self) -> str:
        return str(AREAS[self.area])

    @property
    def when(self) -> str:
        return time_cell(self.at)

    @property
    def html(self) -> SafeString:
        return format_html(
            self.sentence, **{name: piece.html for name, piece in self.pieces.items()}, who=self.who.html
        )

    @property
    def text(self) -> str:
        text = self.sentence.format(**{name: piece.text for name, piece in self.pieces.items()}, who=self.who.text)
        return f"{text}: {self.more}" if self.more else text

    @property
    def thing(self) -> str:
        found = self.pieces.get("thing") or self.pieces.get("whom")
        return found.text if found else ""


@dataclass
class Reader:
    """Who reads, what they may see, and the names of the people on their page: one query for all."""

    user: Any
    names: dict[str, Piece] = field(default_factory=dict)

    def may_see(self, model: type[Model]) -> bool:
        return may_see(self.user, model)

    def learn_names(self, labels: Iterable[str]) -> None:
        ids = {key: label for label in labels if label not in self.names and (key := _user_id(label))}
        if not ids:
            return
        shows_people = self.may_see(User)
        people = User.objects.filter(pk__in=ids).values_list("pk", "email", "first_name", "last_name")
        for key, email, first_name, last_name in people:
            url = reverse("admin:users_user_change", args=[key]) if shows_people else ""
            self.names[ids[key]] = Piece(f"{first_name} {last_name}".strip() or email, url, email)

    def who(self, label: str) -> Piece:
        """The name of a person, or what else acted."""
        if found := self.names.get(label):
            return found
        kind, colon, name = label.partition(":")
        if colon and kind == "command":
            return Piece(_("The command {name}").format(name=name))
        if colon:
            return Piece(_("The schedule {name}").format(name=name))
        if label == "declaration":
            return Piece(_("The code"))
        return Piece(_("A deleted account") if _user_id(label) else label or _("Someone unknown"))

    def whom(self, label: str) -> Piece:
        """The account concerned, by its address; for those alone who may see accounts."""
        if not self.may_see(User):
            return Piece(_("an account"))
        found = self.names.get(label)
        return Piece(found.title, found.url) if found else Piece(_("a deleted account"), "", label)

    def thing(self, model: type[Model], name: str, pk: Any = None) -> Piece:
        """The object by its name and with its page, as far as this reader may see it."""
        if not self.may_see(model):
            return Piece(_("(not shown to you)"))
        return Piece(name, address_of(model, pk))


def _user_id(label: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(label)
    except ValueError:
        return None


# --- One of each source -----------------------------------------------------------------------------------------------


def of_event(event: AuditEvent, reader: Reader) -> Entry:
    data, is_own = event.data, event.user_id is not None and event.actor == event.user_id.hex
    model = _THING_OF.get(event.event.partition(".")[0])
    thing = data.get("name") or (type_label(data["kind"]) if model is Message and "kind" in data else "")
    fields = changed if isinstance(changed := data.get("changed"), list) else []
    what = ", ".join(str(name).replace("_", " ") for name in fields)
    whom = _("everybody") if event.subject_mac is None else _("an address without an account")
    pieces = {
        "what": Piece(what or _("nothing that is recorded")),
        "count": Piece(str(data.get("count", "?"))),
        "seconds": Piece(str(data.get("pause_seconds", "?"))),
        "whom": reader.whom(event.user_id.hex) if event.user_id else Piece(whom),
    }
    pieces["thing"] = reader.thing(model, str(thing)) if model else Piece(str(thing))
    return Entry(
        at=event.at,
        area=area_of(event.event),
        kind=event_words.label(event.event),
        who=reader.who(event.actor),
        sentence=event_words.sentence(event, is_own=is_own),
        pieces=pieces,
        more=event_words.why(event),
        reason=str(data.get("reason") or data.get("note") or ""),
        door=event.get_door_display(),
        url=reverse("admin:users_auditevent_change", args=[event.pk]),
    )


def of_revision(revision: FlagRevision, reader: Reader) -> Entry:
    model = _SUBJECTS[revision.subject]
    pk = {"flag": revision.flag_id, "segment": revision.segment_id}.get(revision.subject)
    # A deleted flag or segment has no page of its own.
    thing = reader.thing(model, revision.codename, pk)
    if pk is None and thing.url and revision.subject != "token":
        thing = thing._replace(url="")
    key, changes = str(revision.action), revision.change_lines if reader.may_see(model) else []
    if key == "switch" and isinstance(is_active := revision.diff.get("is_active"), list):
        key = "on" if is_active[-1] else "off"
    more = changes if key in _TELLING else []
    if len(more) > _CHANGES_SHOWN:
        more = [*more[:_CHANGES_SHOWN], _("and {count} more").format(count=len(more) - _CHANGES_SHOWN)]
    return Entry(
        at=revision.at,
        area=FLAGS,
        kind=capfirst(f"{revision.get_subject_display()} {revision.get_action_display()}"),
        who=reader.who(revision.actor_label or (revision.actor_id.hex if revision.actor_id else "")),
        sentence=str(_FLAG_SENTENCES.get(key, "{who}: {thing}")),
        pieces={"thing": thing, "kind": Piece(revision.get_subject_display())},
        more="; ".join(more),
        reason=revision.reason,
        door=revision.get_door_display(),
        url=reverse("admin:feature_flags_flagrevision_change", args=[revision.pk]),
    )


def of_template(version: TemplateOverride, reader: Reader) -> Entry:
    """For those who may not see the audit trail, which has it otherwise."""
    name = f"{type_label(version.type)} {version.language}"
    return Entry(
        at=version.created_at,
        area=MAIL,
        kind=event_words.label("template.saved"),
        who=reader.who(version.edited_by_label),
        sentence=str(EVENTS["template.saved"].own),
        pieces={"thing": reader.thing(TemplateOverride, name), "what": Piece(version.get_part_display())},
        reason=version.note,
    )


LOG_KINDS = {
    "log.1": gettext_lazy("Another object added"),
    "log.2": gettext_lazy("Another object changed"),
    "log.3": gettext_lazy("Another object deleted"),
}
_LOG_SENTENCES = {
    ADDITION: gettext_lazy("{who} added the {kind} {thing}"),
    DELETION: gettext_lazy("{who} deleted the {kind} {thing}"),
}


def of_log(row: LogEntry, reader: Reader) -> Entry:
    """What has no record but the one of Django's admin."""
    # Of its manager's memory, which the query has filled.
    model = ContentType.objects.get_for_id(cast(int, row.content_type_id)).model_class()
    name = row.object_repr if model and reader.may_see(model) else _("(not shown to you)")
    return Entry(
        at=row.action_time,
        area=SETTINGS,
        kind=str(LOG_KINDS.get(f"log.{row.action_flag}", "")),
        who=reader.who(row.user_id.hex if row.user_id else ""),
        sentence=str(_LOG_SENTENCES.get(row.action_flag, gettext_lazy("{who} changed the {kind} {thing}"))),
        pieces={
            "thing": Piece(name, address_of(model, row.object_id) if model and row.action_flag != DELETION else ""),
            "kind": Piece(str(model._meta.verbose_name) if model else ""),
        },
        more="" if row.action_flag == ADDITION else row.get_change_message().rstrip("."),
        door=str(AuditEvent.Door.ADMIN.label),
    )
