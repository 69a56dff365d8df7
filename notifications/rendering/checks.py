"""System checks of the declared types: their files, and what their settings need."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from notifications import providers, registry
from notifications.rendering import engines, render

Found = Iterator[CheckMessage]


def types_have_templates(**kwargs: Any) -> Found:
    """E004: a type without its files or a sample that fits would fail at the first message. W011: it will.
    E010: the text lacks a link. W010: the HTML is long. All without the database."""
    for kind in registry.declared_types():
        if missing := engines.missing_files(kind):
            text = f"{kind.code} lacks {', '.join(missing)} in the template directories."
            yield Error(text, id="notifications.E004")
        elif registry.EMAIL in kind.channels:
            for language in engines.languages():
                yield from _sample_trouble(kind, language)


def _sample_trouble(kind: registry.NotificationType, language: str) -> Found:
    try:
        made = render.fill(kind, engines.sample(kind), language=language, overrides={})
    except engines.InvalidSample as error:
        yield Error(str(error), id="notifications.E004")
        return
    except Exception as error:
        # A warning: such a message fails alone, and must not keep the others waiting.
        text = f"{kind.code} cannot be rendered in {language}: {type(error).__name__}: {error}"
        yield Warning(text, id="notifications.W011")
        return
    if links := render.missing_links(made):
        text = f"The text of {kind.code} in {language} lacks a link of its HTML: {', '.join(links)}."
        yield Error(text, id="notifications.E010")
    if len(made.html.encode()) > render.HTML_WARNING:
        text = f"The HTML of {kind.code} in {language} is larger than 90 kB: some mail programs cut it off."
        yield Warning(text, id="notifications.W010")


def optional_types_can_be_ended(**kwargs: Any) -> Found:
    """E005: a mail that users may switch off needs a link that does it."""
    optional = [kind.code for kind in registry.declared_types() if not kind.required]
    if optional and not settings.BASE_URL:
        yield Error(f"Set BASE_URL: the unsubscribe links of {', '.join(optional)} need it.", id="notifications.E005")


def unsubscribing_survives(**kwargs: Any) -> Found:
    """W004: a provider that drops headers, and types that people may unsubscribe from."""
    optional = [kind for kind in registry.declared_types() if registry.EMAIL in kind.channels and not kind.required]
    if optional and not providers.configured().capabilities.custom_headers:
        yield Warning(
            "MailerSend drops List-Unsubscribe from most accounts, which optional mails such as "
            f"{optional[0].code} need.",
            hint="Use its mail server: EMAIL_URL=smtp+tls://user:password@smtp.mailersend.net:587.",
            id="notifications.W004",
        )


OF_TYPES = (types_have_templates, optional_types_can_be_ended, unsubscribing_survives)
