"""Versions of mail templates that staff write in place of the files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, Self

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from lib.actors import Actor
from lib.admin import because
from lib.db import page
from lib.errors import ProductError
from lib.text import is_storable
from notifications import registry
from notifications.models import TemplateOverride
from notifications.registry import EMAIL, NotificationType
from notifications.rendering import engines, overriding, render, words
from notifications.rendering.overriding import Override, Refused
from notifications.rendering.words import Words
from notifications.services import staff_actions

if TYPE_CHECKING:
    from users.models import User

PARTS = tuple(engines.PARTS)
NOTE_LIMIT = 200

#: Which version of each part is in use; None: the file.
InUse = Mapping[str, int | None]


class InvalidTemplate(ProductError):
    """The text breaks a rule; `problems` are the reasons by part."""

    def __init__(self, problems: dict[str, list[str]]) -> None:
        message = " ".join(f"{part}: {' '.join(texts)}" for part, texts in problems.items())
        super().__init__("INVALID_TEMPLATE", message, extra={"problems": problems})
        self.problems = problems


@dataclass(frozen=True)
class LocalizedTemplate:
    """A type in a language, and the versions of staff that are in use."""

    kind: NotificationType
    language: str
    active: Mapping[str, Override]

    @classmethod
    def find(cls, code: str, language: str) -> Self | None:
        kind = registry.find(code)
        if kind is None or EMAIL not in kind.channels or language not in engines.languages():
            return None
        return cls(kind, language, overriding.active(kind, language))

    @classmethod
    def every(cls) -> list[Self]:
        """Each type that is mailed, in each language; one query."""
        active: dict[tuple[str, str], dict[str, Override]] = {}
        for row in TemplateOverride.objects.filter(active=True).order_by():
            active.setdefault((row.type, row.language), {})[row.part] = Override(row.body, row.pk)
        return [
            cls(kind, language, active.get((kind.code, language), {}))
            for kind in sorted(registry.declared_types(), key=lambda kind: kind.code)
            if EMAIL in kind.channels
            for language in engines.languages()
        ]

    @cached_property
    def trouble(self) -> dict[str, str]:
        return trouble(self.kind, self.language, self.active)

    @cached_property
    def words(self) -> Words | None:
        """What is in use as Words; None where it is not written so."""
        return words.read(self.kind, self.language, self.bodies)

    @property
    def bodies(self) -> dict[str, str]:
        """What staff wrote in place of files."""
        return {part: override.body for part, override in self.active.items()}

    @property
    def in_use(self) -> InUse:
        return {part: self.active[part].id if part in self.active else None for part in PARTS}

    def file(self, part: str) -> str:
        return engines.source(self.kind, part, self.language)

    def body(self, part: str) -> str:
        return self.active[part].body if part in self.active else self.file(part)


def changed_parts() -> QuerySet[TemplateOverride]:
    """Of all versions the parts that say something else than in the version before."""
    same = {name: OuterRef(name) for name in ("type", "language", "part", "body")}
    before = TemplateOverride.objects.filter(version=OuterRef("version") - 1, **same)
    return TemplateOverride.objects.exclude(Exists(before))


def versions(kind: NotificationType, language: str, **which: Any) -> QuerySet[TemplateOverride]:
    return TemplateOverride.objects.filter(type=kind.code, language=language, **which)


def saved(
    kind: NotificationType, language: str, *, cursor: str, limit: int
) -> tuple[list[list[TemplateOverride]], str | None]:
    """The versions, the newest first, each as the rows that one press saved; and the cursor of the rest.

    Raises: BAD_CURSOR (400).
    """
    rows = versions(kind, language)
    later = rows.filter(created_at=OuterRef("created_at"), pk__gt=OuterRef("pk"))
    name = f"templates:{kind.code}:{language}"
    firsts, rest = page(rows.exclude(Exists(later)), by="-pk", cursor=cursor, limit=limit, of=name)
    together: dict[datetime, list[TemplateOverride]] = {row.created_at: [] for row in firsts}
    for row in rows.filter(created_at__in=together).order_by("-pk"):
        together[row.created_at].append(row)
    return list(together.values()), rest


def saved_with(kind: NotificationType, language: str, pk: int) -> dict[str, TemplateOverride | None]:
    """The version of this row by part, None for the file; empty when there is none."""
    row = versions(kind, language, pk=pk).first()
    rows = {each.part: each for each in versions(kind, language, created_at=row.created_at)} if row else {}
    return {part: rows.get(part) for part in PARTS} if rows else {}


def source_label(row: TemplateOverride | None, part: str) -> str:
    """What is used instead, within a sentence; with an empty `part` of all parts."""
    if row is None:
        return _("the file")
    if part:
        return _("version %(number)s") % {"number": row.version}
    at = date_format(timezone.localtime(row.created_at), "DAY_AND_TIME")
    return _("the version of %(when)s") % {"when": at}


def record(
    kind: NotificationType, language: str, parts: Collection[str], what: str, event: str, *, note: str, actor: Actor
) -> None:
    """What staff did to these parts, in history and audit trail; with no text of the template."""
    if parts:
        actor.note(event, name=f"{kind.code} {language}", changed=list(parts), reason=note)
    for part in parts:
        if row := versions(kind, language, part=part).order_by("-active", "-version").first():
            staff_actions.log(row, f"{what}: {part}.{because(note)}", actor=actor)


def save(
    kind: NotificationType,
    *,
    language: str,
    bodies: Mapping[str, str],
    actor: Actor,
    note: str = "",
    seen: InUse | None = None,
) -> list[str]:
    """Put these bodies in use as one version, of one moment; return the parts that changed.

    A version holds every part that is not the file's, also those that stay as they are. What is in use already makes
    none; a body that equals the file goes back to the file.
    Raises: InvalidTemplate; SUPERUSERS_ONLY (403); TEMPLATE_CHANGED (409) when others than those in `seen` are in use.
    """
    if language not in engines.languages():
        raise ProductError(
            "UNKNOWN_LANGUAGE", _("Mails are written in %(names)s.") % {"names": ", ".join(engines.languages())}
        )
    bodies = {part: body.replace("\r\n", "\n") for part, body in bodies.items() if part in PARTS}
    check_note(note)
    require_author(kind, actor)
    check(kind, language=language, bodies=bodies)
    try:
        with transaction.atomic():
            rows = _locked(kind, language)
            current = {part: pk for pk, part, _, active in rows if active}
            if seen is not None and any(seen.get(part) != current.get(part) for part in PARTS):
                raise _changed()
            active = overriding.active(kind, language)
            now = {
                part: active[part].body if part in active else engines.source(kind, part, language) for part in PARTS
            }
            changed = [part for part, body in bodies.items() if not _same(body, now[part])]
            at = timezone.now()
            for part, body in {**now, **bodies}.items() if changed else ():
                _deactivate(kind, language, part)
                if _same(body, engines.source(kind, part, language)):
                    continue
                row = TemplateOverride(type=kind.code, language=language, part=part, body=body, note=note, active=True)
                row.created_at = at
                row.version = 1 + max((version for _, name, version, _ in rows if name == part), default=0)
                row.edited_by, row.edited_by_label = actor.user, actor.label
                row.save(force_insert=True)
            return changed
    except IntegrityError:
        # The first version of a part, made by two at once: there was no row yet to wait for.
        raise _changed() from None


def bodies_of(kind: NotificationType, language: str, given: Words) -> dict[str, str]:
    """The templates of these words. Raises: InvalidTemplate, with problems of `subject` and `words`."""
    typed = {"subject": given.subject, "words": given.body}
    if found := {field: wrong for field, text in typed.items() if (wrong := words.problems(text))}:
        raise InvalidTemplate(found)
    return words.bodies(kind, language, given)


@transaction.atomic
def put_back(
    kind: NotificationType, *, language: str, parts: Mapping[str, TemplateOverride | None], actor: Actor
) -> list[str]:
    """Put older versions in use again, or with None the file; return the parts that changed.

    A file is not checked. Raises: InvalidTemplate; SUPERUSERS_ONLY (403).
    """
    require_author(kind, actor)
    current = {part: pk for pk, part, _, active in _locked(kind, language) if active}
    changed = {part: row for part, row in parts.items() if current.get(part) != (row.pk if row else None)}
    if bodies := {part: row.body for part, row in changed.items() if row}:
        check(kind, language=language, bodies=bodies, files=changed.keys() - bodies.keys())
    for part, row in changed.items():
        _deactivate(kind, language, part)
        if row:
            TemplateOverride.objects.filter(pk=row.pk).update(active=True)
            row.active = True
    return [part for part in PARTS if part in changed]


def check(
    kind: NotificationType, *, language: str, bodies: Mapping[str, str], files: Collection[str] = ()
) -> render.Rendered:
    """The sample with these bodies and files beside what is in use; InvalidTemplate when that breaks a rule."""
    problems = {part: found for part, body in bodies.items() if (found := overriding.problems(kind, part, body))}
    if problems:
        raise InvalidTemplate(problems)
    active = {part: row for part, row in overriding.active(kind, language).items() if part not in files}
    overrides = {**active, **{part: Override(body) for part, body in bodies.items()}}
    sample = engines.sample(kind)
    for part in bodies:
        try:
            # Alone and strictly: the others give way to their files.
            render.fill(kind, sample, language=language, overrides={part: overrides[part]}, strict=True)
        except Refused as refusal:
            problems[part] = [str(refusal)]
    if problems:
        raise InvalidTemplate(problems)
    rendered = render.fill(kind, sample, language=language, overrides=overrides)
    for part, text in (("text", rendered.text), ("html", rendered.html)):
        values = {name: str(sample[name]) for name in kind.secrets if part in bodies}
        lost = [name for name, value in values.items() if value not in text and escape(value) not in text]
        if lost:
            problems[part] = [_("It must show %(names)s.") % {"names": ", ".join(lost)}]
    if missing := render.missing_links(rendered):
        part = "text" if "text" in bodies else "html"
        problems.setdefault(part, []).append(
            _("The text lacks a link of the HTML: %(names)s.") % {"names": ", ".join(missing)[:300]}
        )
    if problems:
        raise InvalidTemplate(problems)
    return rendered


def trouble(kind: NotificationType, language: str, overrides: Mapping[str, Override]) -> dict[str, str]:
    """Why a version in use is not sent, by part; the file is sent until it is corrected."""
    found = {}
    for part, override in overrides.items():
        try:
            render.fill(kind, engines.sample(kind), language=language, overrides={part: override}, strict=True)
        except (Refused, engines.InvalidSample) as error:
            found[part] = str(error)
    return found


def may_write(kind: NotificationType, user: User) -> bool:
    """Only superusers write mails with secrets: the text could send the code or link elsewhere."""
    return user.is_superuser or not kind.secrets


def require_author(kind: NotificationType, actor: Actor) -> None:
    """Commands may. Raises: SUPERUSERS_ONLY (403)."""
    if actor.user is not None and not may_write(kind, actor.user):
        raise ProductError("SUPERUSERS_ONLY", _("Only superusers write mails with a code or link."), status=403)


def broken() -> Iterator[tuple[TemplateOverride, str]]:
    """The versions in use that are not sent, each with the reason; no reason repeats text of a mail."""
    for row in TemplateOverride.objects.filter(active=True).order_by("type", "language", "part"):
        kind = registry.find(row.type)
        if kind and (found := trouble(kind, row.language, {row.part: Override(row.body, row.pk)})):
            yield row, found[row.part]


def check_note(note: str) -> None:
    if len(note) > NOTE_LIMIT or not is_storable(note):
        raise ProductError(
            "INVALID_NOTE",
            _("The note may have %(note_limit)s characters, none of them NUL.") % {"note_limit": NOTE_LIMIT},
        )


def _locked(kind: NotificationType, language: str) -> list[tuple[int, str, int, bool]]:
    rows = versions(kind, language).select_for_update().order_by("pk")
    return list(rows.values_list("pk", "part", "version", "active"))


def _deactivate(kind: NotificationType, language: str, part: str) -> int:
    return versions(kind, language, part=part, active=True).update(active=False)


def _same(one: str, other: str) -> bool:
    return one.strip("\n") == other.strip("\n")


def _changed() -> ProductError:
    return ProductError("TEMPLATE_CHANGED", _("It was changed in the meantime."), status=409)
