"""The two template engines, the languages, which file a part comes from, and the sample a type is shown with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache, wraps
from hashlib import sha256
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from django.conf import settings
from django.template import Engine, Template, TemplateDoesNotExist
from pydantic import ValidationError

from notifications import registry

#: The type of "send test to me": its context names the type whose sample it shows.
TEST = "notifications.test"
#: What the links of a `sample.json` begin with.
EXAMPLE = "https://app.example.org"
PARTS = {"subject": "subject.txt", "text": "body.txt", "html": "body.html"}

P = ParamSpec("P")
T = TypeVar("T")

_LOAD_I18N = re.compile(r"{%\s*load\s+i18n\s*%}")
_NAMED = re.compile(r"""{%\s*(?:extends|include)\s+["']([^"']+)["']""")


def languages() -> list[str]:
    """What mails are written in."""
    return list(settings.NOTIFICATIONS_LANGUAGES)


def written(language: str) -> str:
    """The language of a mail for readers of this one: `de` for `de-at`, the first for others."""
    known = languages()
    for code in (language, language.partition("-")[0]):
        if code in known:
            return code
    return known[0]


def _kept(function: Callable[P, T]) -> Callable[P, T]:
    """Remember the answers; but while developing, a saved template is the next mail."""
    cached: Any = lru_cache(maxsize=1024)(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs) if settings.DEBUG else cast(T, cached(*args, **kwargs))

    return call


def engine(*, html: bool) -> Engine:
    """Html escapes what people typed; in text an escaped sign would stand there as it is."""
    return _engine(directories(), autoescape=html, debug=settings.DEBUG)


def file(kind: registry.NotificationType, part: str, language: str) -> Template:
    """`body.de.html` wins over `body.html`."""
    return _selected(engine(html=part == "html"), kind.folder, PARTS[part], language)


def in_app_file(kind: registry.NotificationType, language: str) -> Template:
    folder, _, name = kind.in_app_file.rpartition("/")
    return _selected(engine(html=False), folder, name, language)


def source(kind: registry.NotificationType, part: str, language: str) -> str:
    """What stands in the file, as staff may edit it: the translation tags need no `load` there."""
    return _LOAD_I18N.sub("", str(file(kind, part, language).source)).rstrip("\n")


def digest(kind: registry.NotificationType, language: str) -> str:
    """Changes with any file that a message of this type is made of."""
    return _digest(engine(html=False), engine(html=True), kind.folder, language)


def sources(kind: registry.NotificationType, language: str) -> dict[str, str]:
    """All files that a message of this type is made of, by name."""
    return _sources(engine(html=False), engine(html=True), kind.folder, language)


def missing_files(kind: registry.NotificationType) -> list[str]:
    """The files this type cannot do without and does not have."""
    needed = []
    if registry.EMAIL in kind.channels:
        needed += [f"{kind.folder}/{name}" for name in (*PARTS.values(), "sample.json")]
    if registry.IN_APP in kind.channels:
        needed.append(kind.in_app_file)
    return [name for name in needed if not any((Path(folder) / name).is_file() for folder in directories())]


def directories() -> tuple[str, ...]:
    return tuple(str(folder) for folder in settings.TEMPLATES[0]["DIRS"])  # type: ignore[attr-defined]


@lru_cache
def _engine(directories: tuple[str, ...], *, autoescape: bool, debug: bool) -> Engine:
    return Engine(
        dirs=list(directories),
        autoescape=autoescape,
        debug=debug,
        loaders=["django.template.loaders.filesystem.Loader"] if debug else None,
        builtins=["django.templatetags.i18n"],
        # So that a file may still say `load i18n`, as templates elsewhere must.
        libraries={"i18n": "django.templatetags.i18n"},
    )


@_kept
def _selected(engine: Engine, folder: str, name: str, language: str) -> Template:
    stem, suffix = name.rsplit(".", 1)
    return engine.select_template([f"{folder}/{stem}.{language}.{suffix}", f"{folder}/{name}"])


@_kept
def _digest(plain: Engine, html: Engine, folder: str, language: str) -> str:
    sources = _sources(plain, html, folder, language)
    text = "\0".join(f"{name}\0{sources[name]}" for name in sorted(sources))
    return sha256(text.encode()).hexdigest()[:16]


def _sources(plain: Engine, html: Engine, folder: str, language: str) -> dict[str, str]:
    sources: dict[str, str] = {}
    for name in PARTS.values():
        engine = html if name.endswith(".html") else plain
        _gather(engine, _selected(engine, folder, name, language), sources)
    return sources


def _gather(engine: Engine, template: Template, sources: dict[str, str]) -> None:
    """The template and all it extends and includes."""
    sources[str(template.name)] = text = str(template.source)
    for name in _NAMED.findall(text):
        if name not in sources:
            try:
                _gather(engine, engine.get_template(name), sources)
            except TemplateDoesNotExist:
                sources[name] = ""


# --- Samples ----------------------------------------------------------------------------------------------------------


class InvalidSample(ValueError):
    """`sample.json` is missing, or fits neither the type's context nor its `derive`."""


def sample(kind: registry.NotificationType) -> dict[str, Any]:
    """All variables of a type, made up: a valid context, and the names that `derive` gives."""
    paths = [Path(folder) / kind.folder / "sample.json" for folder in directories()]
    if (path := next((path for path in paths if path.is_file()), None)) is None:
        raise InvalidSample(f"{kind.code} has no sample.json.")
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise InvalidSample(f"The sample of {kind.code} is no JSON object.")
    context, derived = given.get("context"), given.get("derived")
    if not isinstance(context, dict) or not isinstance(derived, dict):
        raise InvalidSample(f"The sample of {kind.code} needs the objects `context` and `derived`.")
    try:
        values: dict[str, Any] = kind.context.model_validate(context).model_dump(mode="json")
    except ValidationError as error:
        text = f"The sample of {kind.code} does not fit its context: {registry.wrong_fields(error)}."
        raise InvalidSample(text) from None
    if missing := set(kind.secrets) - set(derived):
        raise InvalidSample(f"The sample of {kind.code} gives no {', '.join(sorted(missing))}.")
    for name, value in derived.items():
        # A link of the files leads to an example; those of real mails to APP_URL, as the rules of templates demand.
        is_text = isinstance(value, str)
        values[name] = value.replace(f"{EXAMPLE}/", f"{settings.APP_URL}/", 1) if is_text else value
    if not kind.required:
        values["unsubscribe_url"] = f"{settings.BASE_URL}/api/notifications/unsubscribe/sample"
    return values
