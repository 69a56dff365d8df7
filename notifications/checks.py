"""What must be true before the first message: `manage.py check` says so, and the engines refuse to start."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from notifications import registry, render


def lease_outlives_timeout(**kwargs: Any) -> list[CheckMessage]:
    """E001: a lease that ends while a mail server still answers would let a second worker send a copy."""
    timeout = max(settings.NOTIFICATIONS_TIMEOUT, settings.EMAIL_TIMEOUT or 0)
    least = 2 * timeout + 10
    if least <= settings.NOTIFICATIONS_LEASE:
        return []
    return [
        Error(
            f"NOTIFICATIONS_LEASE must be at least {least} seconds: twice the timeout of {timeout} seconds, plus 10.",
            id="notifications.E001",
        )
    ]


def types_have_templates(**kwargs: Any) -> list[CheckMessage]:
    """E004: a type without its files or a sample that fits would fail at the first message. W011: it will.
    E010: the text lacks a link. W010: the HTML is long."""
    found: list[CheckMessage] = []
    for kind in registry.declared_types():
        if missing := render.missing_files(kind):
            told = f"{kind.code} lacks {', '.join(missing)} in the template directories."
            found.append(Error(told, id="notifications.E004"))
        elif registry.EMAIL in kind.channels:
            for language in render.languages():
                found += _sample_trouble(kind, language)
    return found


def optional_types_can_be_ended(**kwargs: Any) -> list[CheckMessage]:
    """E005: whoever may switch a mail off must find a link in it that does."""
    optional = [kind.code for kind in registry.declared_types() if not kind.required]
    if settings.BASE_URL or not optional:
        return []
    return [Error(f"Set BASE_URL: the unsubscribe links of {', '.join(optional)} need it.", id="notifications.E005")]


def _sample_trouble(kind: registry.NotificationType, language: str) -> list[CheckMessage]:
    """What is wrong with a type's files, told from its sample, without the database."""
    try:
        sample = render.sample(kind)
    except render.InvalidSample as error:
        return [Error(str(error), id="notifications.E004")]
    try:
        made = render.fill(kind, sample, language=language, overrides={})
    except Exception as error:
        # A warning: such a message fails alone, and must not keep the others waiting.
        told = f"{kind.code} cannot be rendered in {language}: {type(error).__name__}: {error}"
        return [Warning(told, id="notifications.W011")]
    found: list[CheckMessage] = []
    if links := render.missing_links(made):
        told = f"The text of {kind.code} in {language} lacks a link of its HTML: {', '.join(links)}."
        found.append(Error(told, id="notifications.E010"))
    if len(made.html.encode()) > render.HTML_WARNING:
        told = f"The HTML of {kind.code} in {language} is larger than 90 kB: some mail programs cut it off."
        found.append(Warning(told, id="notifications.W010"))
    return found
