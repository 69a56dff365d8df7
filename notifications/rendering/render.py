"""From variables to subject, text and html."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.template import Context
from django.utils import translation
from django.utils.formats import date_format
from django.utils.translation import gettext
from pydantic import AwareDatetime

from notifications import registry
from notifications.registry import MASK
from notifications.rendering import engines, overriding
from notifications.rendering.names import greeting_name
from notifications.rendering.overriding import Override
from notifications.rendering.samples import TEST, sample
from notifications.rendering.stand_ins import Misplaced, StandIns

if TYPE_CHECKING:
    from notifications.models import Message

logger = logging.getLogger("switchboard.notifications")

SUBJECT_LIMIT = 200
#: Above it some mail programs cut a message off (at about 102 kB).
HTML_WARNING = 90_000
#: Signs of styles times tags: above it putting styles in place may take a second.
STYLING_LIMIT = 4_000_000

_STYLES = re.compile(r"<style\b.*?(?:</style|\Z)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rendered:
    """`source` tells later whether the templates are still the same: `file:<digest>` or `override:<ids>`."""

    subject: str
    text: str
    html: str
    source: str = ""


def derived(message: Message) -> dict[str, str]:
    """The variables of this row that are stored nowhere; raises Withdrawn when they are void."""
    kind = registry.get(message.type)
    values = dict(kind.derive(dict(message.context))) if kind.derive else {}
    if missing := set(kind.secrets) - set(values):
        raise LookupError(f"derive of {kind.code} gives no {', '.join(sorted(missing))}")
    return values


def render(kind: registry.NotificationType, variables: Mapping[str, Any], *, language: str) -> Rendered:
    """Fill the templates of a type in a language: staff's, where there are and as long as they can be used."""
    language = engines.written(language)
    return fill(kind, variables, language=language, overrides=overriding.active(kind, language))


def of_message(message: Message, secrets: Mapping[str, str], *, hides_links: bool = False) -> Rendered:
    """The mail of a row, rendered. A test mail shows the sample of the type in its context."""
    kind = registry.get(message.type)
    about = message.context.get("about") if kind.code == TEST else None
    shown = registry.get(about) if about else kind
    variables = sample(shown) if about else {**message.context, **secrets}
    if not shown.required:
        from notifications.services.preferences import unsubscribe_url

        variables["unsubscribe_url"] = MASK if hides_links else unsubscribe_url(message.to_address, shown.category)
    body = render(shown, variables, language=message.language)
    if not about:
        return body
    with translation.override(engines.written(message.language)):
        subject = f"[{gettext('Test')}] {body.subject}"[:SUBJECT_LIMIT]
    return Rendered(subject, body.text, body.html, body.source)


def masked(message: Message) -> Rendered:
    """The mail of a row for staff: each code and link is a row of dots, and `derive` is not called."""
    kind = registry.get(message.type)
    return of_message(message, dict.fromkeys(kind.secrets, MASK), hides_links=True)


def fill(
    kind: registry.NotificationType,
    variables: Mapping[str, Any],
    *,
    language: str,
    overrides: Mapping[str, Override],
    strict: bool = False,
) -> Rendered:
    """Render with exactly these overrides, without a query. One that cannot be used gives way to its file, or, when
    `strict`, raises Refused."""
    used: list[Override] = []
    with translation.override(language):
        context = {**_always(kind), **variables, **_times(kind, variables)}
        if isinstance(name := context.get("first_name"), str):
            context["first_name"] = greeting_name(name)

        def part(name: str) -> str:
            if override := overrides.get(name):
                try:
                    text = _overridden(kind, name, override, context)
                except Exception as error:
                    if strict:
                        raise overriding.Refused(_error_text(error)) from None
                    # Sending matters more than the text of staff; the page of the template shows what is wrong.
                    extra = {"type": kind.code, "language": language, "part": name, "override": override.id}
                    logger.warning("broken override", extra=extra)
                else:
                    used.append(override)
                    return text
            is_html = name == "html"
            return engines.file(kind, name, language).render(Context(dict(context), autoescape=is_html))

        subject = " ".join(part("subject").split())[:SUBJECT_LIMIT]
        context.setdefault("preheader", subject)
        text = part("text")
        html = part("html")
    if used:
        source = "override:" + ",".join(str(override.id) for override in used)
    else:
        source = f"file:{engines.digest(kind, language)}"
    return Rendered(subject, f"{text.strip()}\n", html, source)


def in_app(kind: registry.NotificationType, variables: Mapping[str, Any], *, language: str) -> tuple[str, str]:
    """Title and body of what is read inside the product: plain text, for the client to escape."""
    language = engines.written(language)
    with translation.override(language):
        template = engines.in_app_file(kind, language)
        context = Context({**_always(kind), **variables, **_times(kind, variables)}, autoescape=False)
        title, _, body = template.render(context).strip().partition("\n")
    return title.strip()[:SUBJECT_LIMIT], body.strip()


def missing_links(rendered: Rendered) -> list[str]:
    """The links of the html that the text lacks: readers of the text must be able to do the same."""
    reader = _Links()
    reader.feed(rendered.html)
    return [link for link in dict.fromkeys(reader.found) if link not in rendered.text]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        link = dict(attrs).get("href") or ""
        if tag == "a" and link.startswith(("http://", "https://")):
            self.found.append(link)


def _always(kind: registry.NotificationType) -> dict[str, Any]:
    product = settings.PRODUCT_NAME
    if kind.required:
        reason = gettext("You receive this e-mail because your address was used at %(product)s.")
    else:
        reason = gettext("You receive this e-mail because you have an account at %(product)s and want such news.")
    return {
        "product_name": product,
        "app_url": settings.APP_URL,
        "login_url": f"{settings.APP_URL}/login",
        "login_action": gettext("Sign in"),
        "forgot_password_url": f"{settings.APP_URL}/forgot-password",
        "support_email": settings.SUPPORT_EMAIL,
        "reason": reason % {"product": product},
        "unsubscribe_url": "",
    }


def _times(kind: registry.NotificationType, variables: Mapping[str, Any]) -> dict[str, str]:
    """What the context declares as AwareDatetime, as people read it: a row keeps ISO 8601."""
    times = (name for name, field in kind.context.model_fields.items() if field.annotation is AwareDatetime)
    return {name: _time(variables[name]) for name in times if variables.get(name)}


def _time(stored: str) -> str:
    at = datetime.fromisoformat(stored).astimezone(UTC)
    return f"{date_format(at, 'DATE_FORMAT')}, {at:%H:%M} UTC"


def _overridden(kind: registry.NotificationType, part: str, override: Override, context: Mapping[str, Any]) -> str:
    template = overriding.template(kind, part, override.body)
    # The link of an unsubscription lets anyone who has it act for the recipient, too.
    hidden = {name: str(context[name]) for name in (*kind.secrets, "unsubscribe_url") if context.get(name)}
    stand_ins = StandIns(hidden, required=frozenset(kind.secrets))
    filling = overriding.Metered({**context, **stand_ins.by_name}, autoescape=part == "html")
    text = overriding.filled(template, filling)
    _refuse_large(text)
    if not text.strip():
        raise overriding.Refused("It becomes empty.")
    if part == "html":
        text = _with_inline_styles(text)
        _refuse_large(text)
    return stand_ins.reveal(text, part)


def _refuse_large(text: str) -> None:
    if len(text.encode()) > overriding.BODY_LIMIT:
        raise overriding.Refused("It becomes larger than 100 kB.")


def _error_text(error: Exception) -> str:
    """A sentence that holds nothing but the template's own text."""
    if isinstance(error, (overriding.Refused, Misplaced)):
        return str(error)
    return overriding.TOO_DEEP if isinstance(error, RecursionError) else f"It cannot be filled: {error}"[:500]


def _with_inline_styles(html: str) -> str:
    """Many mail programs drop `<style>`: the files have their styles in place already, staff need not care."""
    inliner = _inliner() if settings.NOTIFICATIONS_INLINE_CSS != "off" else None
    if inliner is None or "<style" not in html.lower():
        return html
    # Each rule is held against each tag, in one step that nothing interrupts.
    if sum(map(len, _STYLES.findall(html))) * html.count("<") > STYLING_LIMIT:
        raise overriding.Refused("It has too many styles for so many tags.")
    return str(inliner.inline(html))


@lru_cache(maxsize=1)
def _inliner() -> Any:
    try:
        import css_inline
    except ImportError:
        return None
    # Nothing is fetched, from nowhere; media queries stay.
    return css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True, keep_at_rules=True)
