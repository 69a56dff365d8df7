"""From variables to subject, text and html, and from a row to the mail that leaves."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import Header
from email.policy import EmailPolicy
from email.utils import format_datetime, formataddr, parseaddr
from functools import lru_cache
from html import escape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template import Context
from django.utils import translation
from django.utils.formats import date_format
from django.utils.text import format_lazy
from django.utils.translation import gettext, gettext_lazy
from pydantic import AwareDatetime

from lib.addresses import ascii_form
from notifications import registry
from notifications.registry import MASK
from notifications.rendering import engines, overriding
from notifications.rendering.engines import TEST, sample
from notifications.rendering.overriding import Override
from notifications.rendering.stand_ins import Misplaced, StandIns
from notifications.services.preferences import list_unsubscribe_headers, unsubscribe_url

if TYPE_CHECKING:
    from notifications.models import Message

logger = logging.getLogger("switchboard.notifications")

SUBJECT_LIMIT = 200
#: Above it some mail programs cut a message off (at about 102 kB).
HTML_WARNING = 90_000
#: Signs of styles times tags: above it putting styles in place may take a second.
STYLING_LIMIT = 4_000_000

NAME_LIMIT, PLAIN_NAME_LIMIT = 60, 40

# What mail programs turn into a link although it is none, or ring when touched.
_LINKED = re.compile(r"://|www\.|@|[^\s.]\.[^\W\d_]{2,}|\d(?:[\s().-]*\d){5}", re.IGNORECASE)
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# A dot stands after initials and what names abbreviate, and nowhere else: it would end a sentence or part a link.
_INITIALS = r"(?:[^\W\d_]\.)+[^\W\d_]?"
_SHORT = r"(?:abp|chas|chr|dr|fr|geo|jos|jr|ma|mlle|mme|mr|mrs|ms|prof|sr|st|sta|ste|sto|th|thos|wm)\."
# Between letters: apostrophes, the ʻokina typed as ‘, the geresh of Hebrew, the dots of Catalan, Japanese and Tibetan.
_WORD = r"['’‘]?[^\W\d_]+(?:['’‘׳·・་][^\W\d_]+)*[׳་]?"
_PART = rf"(?:{_INITIALS}|{_SHORT}|{_WORD})"
_PLAIN_NAME = re.compile(rf"{_PART}(?:[ \-‐‑]{_PART})*", re.IGNORECASE)

_BODY = re.compile(r"<body\b[^>]*>|\A(?!.*<body\b)", re.IGNORECASE | re.DOTALL)
_STYLES = re.compile(r"<style\b.*?(?:</style|\Z)", re.IGNORECASE | re.DOTALL)


#: What tells which versions of staff are in use: `overriding.active`, or one that remembers its answers for a while.
Active = Callable[[registry.NotificationType, str], Mapping[str, Override]]


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


def render(
    kind: registry.NotificationType, variables: Mapping[str, Any], *, language: str, active: Active = overriding.active
) -> Rendered:
    """Fill the templates of a type in a language: staff's, where there are and as long as they can be used."""
    language = engines.written(language)
    return fill(kind, variables, language=language, overrides=active(kind, language))


def of_message(
    message: Message,
    secrets: Mapping[str, str],
    *,
    hides_links: bool = False,
    active: Active = overriding.active,
) -> Rendered:
    """The mail of a row, rendered. A test mail shows the sample of the type in its context."""
    kind = registry.get(message.type)
    about = message.context.get("about") if kind.code == TEST else None
    shown = registry.get(about) if about else kind
    variables = sample(shown) if about else {**message.context, **secrets}
    if not shown.required:
        variables["unsubscribe_url"] = MASK if hides_links else unsubscribe_url(message.to_address, shown.category)
    body = render(shown, variables, language=message.language, active=active)
    if not about:
        return body
    with translation.override(engines.written(message.language)):
        subject = f"[{gettext('Test')}] {body.subject}"[:SUBJECT_LIMIT]
        note = gettext("This is a test with made-up values: no code or link in it works.")
    html = _BODY.sub(rf"\g<0><p>{escape(note)}</p>", body.html, count=1)
    return Rendered(subject, f"{note}\n\n{body.text}", html, body.source)


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
        context = {**always(kind), **variables, **times(kind, variables)}
        if isinstance(name := context.get("first_name"), str):
            context["first_name"] = greeting_name(name)

        def part(name: str) -> str:
            if override := overrides.get(name):
                try:
                    text = _overridden(kind, name, override, context)
                except Exception as error:
                    if strict and isinstance(error, (overriding.Refused, Misplaced)):
                        raise overriding.Refused(*error.args) from None
                    if strict:
                        # A sentence that holds nothing but the template's own text.
                        is_deep = isinstance(error, RecursionError)
                        sentence = format_lazy(gettext_lazy("It cannot be filled: {error}"), error=str(error)[:480])
                        raise overriding.Refused(overriding.TOO_DEEP if is_deep else sentence) from None
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
        context = Context({**always(kind), **variables, **times(kind, variables)}, autoescape=False)
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


def always(kind: registry.NotificationType) -> dict[str, Any]:
    """What every mail of this type can say, in the language of the moment."""
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


def times(kind: registry.NotificationType, variables: Mapping[str, Any]) -> dict[str, str]:
    """What the context declares as AwareDatetime, as people read it: a row keeps ISO 8601."""
    found = {}
    for name, field in kind.context.model_fields.items():
        if field.annotation is AwareDatetime and (stored := variables.get(name)):
            at = datetime.fromisoformat(stored).astimezone(UTC)
            found[name] = f"{date_format(at, 'DATE_FORMAT')}, {at:%H:%M} UTC"
    return found


def _overridden(kind: registry.NotificationType, part: str, override: Override, context: Mapping[str, Any]) -> str:
    template = overriding.template(kind, part, override.body)
    # The link of an unsubscription lets anyone who has it act for the recipient, too.
    hidden = {name: str(context[name]) for name in (*kind.secrets, "unsubscribe_url") if context.get(name)}
    stand_ins = StandIns(hidden, required=frozenset(kind.secrets))
    filling = overriding.Metered({**context, **stand_ins.by_name}, autoescape=part == "html")
    text = overriding.filled(template, filling)
    _refuse_large(text)
    if not text.strip():
        raise overriding.Refused(gettext_lazy("It becomes empty."))
    if part == "html":
        text = _with_inline_styles(text)
        _refuse_large(text)
    return stand_ins.reveal(text, part)


def _refuse_large(text: str) -> None:
    if len(text.encode()) > overriding.BODY_LIMIT:
        raise overriding.Refused(gettext_lazy("It becomes larger than 100 kB."))


def _with_inline_styles(html: str) -> str:
    """Many mail programs drop `<style>`: the files have their styles in place already, staff need not care."""
    inliner = _inliner() if settings.NOTIFICATIONS_INLINE_CSS != "off" else None
    if inliner is None or "<style" not in html.lower():
        return html
    # Each rule is held against each tag, in one step that nothing interrupts.
    if sum(map(len, _STYLES.findall(html))) * html.count("<") > STYLING_LIMIT:
        raise overriding.Refused(gettext_lazy("It has too many styles for so many tags."))
    return str(inliner.inline(html))


@lru_cache(maxsize=1)
def _inliner() -> Any:
    try:
        import css_inline
    except ImportError:
        return None
    # Nothing is fetched, from nowhere; media queries stay.
    return css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True, keep_at_rules=True)


# --- The mail ---------------------------------------------------------------------------------------------------------


class MailPolicy(EmailPolicy):
    """Folds no header that is ASCII and fits a line of 998 characters (RFC 5322, 2.1.1); encodes other subjects whole.

    Python would turn a word longer than its line, such as the address in List-Unsubscribe, into encoded words, which
    that header does not allow (RFC 8058). Of a long subject it encodes some words only, and by its version loses or
    doubles a blank between them, or leaves none, for which Yahoo refuses the mail (python/cpython#144156).
    """

    def fold(self, name: str, value: Any) -> str:
        return self._folded(name, value) or super().fold(name, value)

    def fold_binary(self, name: str, value: Any) -> bytes:
        return self._folded(name, value).encode() or super().fold_binary(name, value)

    def _folded(self, name: str, value: Any) -> str:
        line = f"{name}: {value}"
        if line.isascii():
            return f"{line}{self.linesep}" if len(line) <= 998 else ""
        if name == "Subject":
            return f"{name}: {Header(str(value), 'utf-8', header_name=name).encode(linesep=self.linesep)}{self.linesep}"
        return ""


class Mail(EmailMultiAlternatives):
    """A mail that knows what it was made of."""

    rendered: Rendered

    def message(self, **options: Any) -> Any:
        """The MIME message: Python's EmailMessage from Django 6.0 on, its older kind before."""
        if django.VERSION >= (6, 0):
            options.setdefault("policy", MailPolicy())
        return super().message(**options)


def build(message: Message, secrets: Mapping[str, str], *, date: datetime, active: Active = overriding.active) -> Mail:
    """The mail of a row: one recipient, text first, and the same Message-ID at every try."""
    return compose(message, of_message(message, secrets, active=active), date=date)


def compose(message: Message, body: Rendered, *, date: datetime) -> Mail:
    """The headers of a row around a body."""
    headers = {"Message-ID": message.message_id, "Date": format_datetime(date), "Auto-Submitted": "auto-generated"}
    headers |= list_unsubscribe_headers(message)
    mail = Mail(
        subject=body.subject,
        body=body.text,
        from_email=_mailbox(settings.DEFAULT_FROM_EMAIL),
        to=[_header(message.to_name, message.to_address)],
        headers=headers,
        reply_to=[_mailbox(reply_to)] if (reply_to := settings.NOTIFICATIONS_REPLY_TO) else None,
    )
    mail.attach_alternative(body.html, "text/html")
    mail.rendered = body
    return mail


@lru_cache(maxsize=8)
def _mailbox(text: str) -> str:
    return _header(*parseaddr(text))


def _header(name: str, address: str) -> str:
    """Name and address, the domain as mail servers know it."""
    address = ascii_form(address)
    return formataddr((name, address)) if address.isascii() else address


# --- Names ------------------------------------------------------------------------------------------------------------


def greeting_name(name: str, *, is_proved: bool = True) -> str:
    """The name as a mail may print it, else nothing.

    Cut to 60 characters, and empty when a mail program would make a link of it. Not `is_proved`: the address may
    belong to another person than the one who typed the name, and only a plain name is printed.
    """
    if not is_proved:
        return _plain_name(name)
    name = name.strip()
    plain = unicodedata.normalize("NFKC", name).replace("。", ".")
    unprintable = any(unicodedata.category(sign) in {"Cc", "Zl", "Zp"} or sign in _BIDI for sign in name)
    return "" if unprintable or _LINKED.search(plain) else name[:NAME_LIMIT].rstrip()


def _plain_name(name: str) -> str:
    """The name if it has at most 40 characters and cannot be read as a link or a sentence, else nothing.

    Letters of any script, with initials and abbreviations (`J.R.`, `St. John`), apostrophes and hyphens between them.
    """
    name = " ".join(name.split())
    # Accents and vowel signs may be characters of their own, joiners stand in Persian and Indic names, and where people
    # write from right to left marks stay at the ends.
    name = name.strip("\u200e\u200f")
    letters = "".join(sign for sign in name if unicodedata.category(sign)[0] != "M" and sign not in "\u200c\u200d")
    # A character may stand for several: U+2488 for "1.".
    is_plain = len(name) <= PLAIN_NAME_LIMIT and _PLAIN_NAME.fullmatch(unicodedata.normalize("NFKC", letters))
    return name if is_plain else ""
