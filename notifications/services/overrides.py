"""Versions of mail templates that staff write in place of the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from lib.actors import Actor
from lib.errors import ProductError
from lib.text import is_storable
from notifications import registry
from notifications.models import TemplateOverride
from notifications.registry import NotificationType
from notifications.rendering import engines, overriding, render
from notifications.rendering.overriding import Override, Refused

if TYPE_CHECKING:
    from users.models import User

PARTS = tuple(engines.PARTS)
NOTE_LIMIT = 200

#: Which version of each part is in use; None: the file.
InUse = Mapping[str, int | None]


class InvalidTemplate(ProductError):
    """The text breaks a rule; `problems` are the reasons by part."""

    def __init__(self, problems: dict[str, list[str]]) -> None:
        super().__init__("INVALID_TEMPLATE", " ".join(f"{part}: {' '.join(texts)}" for part, texts in problems.items()))
        self.problems = problems


def versions(kind: NotificationType, language: str, **which: Any) -> QuerySet[TemplateOverride]:
    return TemplateOverride.objects.filter(type=kind.code, language=language, **which)


def save(
    kind: NotificationType,
    *,
    language: str,
    bodies: Mapping[str, str],
    actor: Actor,
    note: str = "",
    seen: InUse | None = None,
) -> list[str]:
    """Put these bodies in use, each as a new version; return the parts that changed.

    A body that is in use already changes nothing; one that equals the file goes back to the file.
    Raises: InvalidTemplate; SUPERUSERS_ONLY (403); TEMPLATE_CHANGED (409) when others than those in `seen` are in use.
    """
    if language not in engines.languages():
        raise ProductError("UNKNOWN_LANGUAGE", f"Mails are written in {', '.join(engines.languages())}.")
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
            changed = []
            for part, body in bodies.items():
                if _same(body, active[part].body if part in active else engines.source(kind, part, language)):
                    continue
                _deactivate(kind, language, part)
                changed.append(part)
                if _same(body, engines.source(kind, part, language)):
                    continue
                row = TemplateOverride(type=kind.code, language=language, part=part, body=body, note=note, active=True)
                row.version = 1 + max((version for _, name, version, _ in rows if name == part), default=0)
                row.edited_by, row.edited_by_label = actor.user, actor.label
                row.save(force_insert=True)
            return changed
    except IntegrityError:
        # The first version of a part, made by two at once: there was no row yet to wait for.
        raise _changed() from None


@transaction.atomic
def activate(override: TemplateOverride, *, actor: Actor) -> bool:
    """Put an older version in use again; False when it is. Raises: InvalidTemplate, SUPERUSERS_ONLY (403)."""
    kind = registry.get(override.type)
    require_author(kind, actor)
    rows = _locked(kind, override.language)
    if any(active for pk, _, _, active in rows if pk == override.pk):
        return False
    check(kind, language=override.language, bodies={override.part: override.body})
    _deactivate(kind, override.language, override.part)
    TemplateOverride.objects.filter(pk=override.pk).update(active=True)
    override.active = True
    return True


@transaction.atomic
def revert(kind: NotificationType, *, language: str, part: str, actor: Actor) -> bool:
    """Go back to the file, which is not checked; False when it is in use. Raises: SUPERUSERS_ONLY (403)."""
    require_author(kind, actor)
    _locked(kind, language)
    return bool(_deactivate(kind, language, part))


def check(kind: NotificationType, *, language: str, bodies: Mapping[str, str]) -> render.Rendered:
    """The sample with these bodies beside what is in use; InvalidTemplate when that breaks a rule."""
    problems = {part: found for part, body in bodies.items() if (found := overriding.problems(kind, part, body))}
    if problems:
        raise InvalidTemplate(problems)
    overrides = {**overriding.active(kind, language), **{part: Override(body) for part, body in bodies.items()}}
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
            problems[part] = [f"It must show {', '.join(lost)}."]
    if missing := render.missing_links(rendered):
        part = "text" if "text" in bodies else "html"
        problems.setdefault(part, []).append(f"The text lacks a link of the HTML: {', '.join(missing)[:300]}.")
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
        raise ProductError("SUPERUSERS_ONLY", "Only superusers write mails with a code or link.", status=403)


def broken() -> Iterator[tuple[TemplateOverride, str]]:
    """The versions in use that are not sent, each with the reason; no reason repeats text of a mail."""
    for row in TemplateOverride.objects.filter(active=True).order_by("type", "language", "part"):
        kind = registry.find(row.type)
        if kind and (found := trouble(kind, row.language, {row.part: Override(row.body, row.pk)})):
            yield row, found[row.part]


def check_note(note: str) -> None:
    if len(note) > NOTE_LIMIT or not is_storable(note):
        raise ProductError("INVALID_NOTE", f"The note may have {NOTE_LIMIT} characters, none of them NUL.")


def _locked(kind: NotificationType, language: str) -> list[tuple[int, str, int, bool]]:
    rows = versions(kind, language).select_for_update().order_by("pk")
    return list(rows.values_list("pk", "part", "version", "active"))


def _deactivate(kind: NotificationType, language: str, part: str) -> int:
    return versions(kind, language, part=part, active=True).update(active=False)


def _same(one: str, other: str) -> bool:
    return one.strip("\n") == other.strip("\n")


def _changed() -> ProductError:
    return ProductError("TEMPLATE_CHANGED", "It was changed in the meantime.", status=409)
