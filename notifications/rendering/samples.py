"""What previews, checks and test mails are filled with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from pydantic import ValidationError

from notifications.registry import NotificationType
from notifications.rendering import engines

#: The type of "send test to me": its context names the type whose sample it shows.
TEST = "notifications.test"
#: What the links of a `sample.json` begin with.
EXAMPLE = "https://app.example.org"


class InvalidSample(ValueError):
    """`sample.json` is missing, or fits neither the type's context nor its `derive`."""


def sample(kind: NotificationType) -> dict[str, Any]:
    """All variables of a type, made up: a valid context, and the names that `derive` gives."""
    given = _read(kind)
    context, derived = given.get("context"), given.get("derived")
    if not isinstance(context, dict) or not isinstance(derived, dict):
        raise InvalidSample(f"The sample of {kind.code} needs the objects `context` and `derived`.")
    try:
        stored = kind.context.model_validate(context).model_dump(mode="json")
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in error.errors(include_input=False))
        raise InvalidSample(f"The sample of {kind.code} does not fit its context: {wrong}.") from None
    if missing := set(kind.secrets) - set(derived):
        raise InvalidSample(f"The sample of {kind.code} gives no {', '.join(sorted(missing))}.")
    values = {**stored, **{name: _as_ours(value) for name, value in derived.items()}}
    if not kind.required:
        values["unsubscribe_url"] = f"{settings.BASE_URL}/api/notifications/unsubscribe/sample"
    return values


def _as_ours(value: Any) -> Any:
    """A link of the files leads to an example; those of real mails to APP_URL, as the rules of templates demand."""
    return value.replace(f"{EXAMPLE}/", f"{settings.APP_URL}/", 1) if isinstance(value, str) else value


def _read(kind: NotificationType) -> dict[str, Any]:
    for folder in engines.directories():
        path = Path(folder) / kind.folder / "sample.json"
        if path.is_file():
            try:
                given = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                given = None
            if not isinstance(given, dict):
                raise InvalidSample(f"The sample of {kind.code} is no JSON object.")
            return given
    raise InvalidSample(f"{kind.code} has no sample.json.")
