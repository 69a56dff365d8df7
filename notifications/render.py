"""From a row to the mail that leaves: subject, text and html from `templates/emails/<app>/<type>/`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime, formataddr
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template import Context, Engine, Template, TemplateDoesNotExist
from django.utils import translation

from notifications import registry

if TYPE_CHECKING:
    from notifications.models import Message

SUBJECT_LIMIT = 200
NAME_LIMIT = 60

# What mail programs turn into a link although it is none, or ring when touched.
_LINKED = re.compile(r"://|www\.|@|[^\s.]\.[^\W\d_]{2,}|\d(?:[\s().-]*\d){5}", re.IGNORECASE)
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)
class Rendered:
    subject: str
    text: str
    html: str
    source: str = ""


class Mail(EmailMultiAlternatives):
    """Knows what its text was made from, for the row."""

    template_source = ""


def greeting_name(name: str) -> str:
    """The name as a mail may greet with it, or nothing: nobody sends advertising through a first name."""
    plain = unicodedata.normalize("NFKC", name.strip()).replace("。", ".")
    unprintable = any(unicodedata.category(sign) in {"Cc", "Zl", "Zp"} or sign in _BIDI for sign in name.strip())
    return "" if unprintable or _LINKED.search(plain) else name.strip()[:NAME_LIMIT].rstrip()


def derived(message: Message) -> dict[str, str]:
    """The variables of this row that are stored nowhere; raises Withdrawn when they are void."""
    kind = registry.get(message.type)
    values = dict(kind.derive(dict(message.context))) if kind.derive else {}
    if missing := set(kind.secrets) - set(values):
        raise LookupError(f"derive of {kind.code} gives no {', '.join(sorted(missing))}")
    return values


def render(kind: registry.NotificationType, variables: Mapping[str, Any], *, language: str) -> Rendered:
    """Fill the templates of a type in a language."""
    with translation.override(language):
        context = {**_always(), **variables}
        if isinstance(name := context.get("first_name"), str):
            context["first_name"] = greeting_name(name)
        subject = " ".join(_part(kind, "subject.txt", language, context).split())[:SUBJECT_LIMIT]
        context.setdefault("preheader", subject)
        text = _part(kind, "body.txt", language, context)
        return Rendered(subject, f"{text.strip()}\n", _part(kind, "body.html", language, context))


def build(message: Message, secrets: Mapping[str, str], *, date: datetime) -> Mail:
    """The mail of a row: one recipient, text first, and the same Message-ID at every try."""
    kind = registry.get(message.type)
    body = render(kind, {**message.context, **secrets}, language=message.language)
    mail = Mail(
        subject=body.subject,
        body=body.text,
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[formataddr((message.to_name, message.to_address))],
        reply_to=[settings.NOTIFICATIONS_REPLY_TO] if settings.NOTIFICATIONS_REPLY_TO else None,
        headers={
            "Message-ID": message.message_id,
            "Date": format_datetime(date),
            "Auto-Submitted": "auto-generated",
        },
    )
    mail.attach_alternative(body.html, "text/html")
    mail.template_source = body.source
    return mail


def in_app(kind: registry.NotificationType, variables: Mapping[str, Any], *, language: str) -> tuple[str, str]:
    """Title and body of what is read inside the product: plain text, for the client to escape."""
    with translation.override(language):
        engine = _engine(_directories(), autoescape=False, debug=settings.DEBUG)
        stem = kind.in_app_file.removesuffix(".txt")
        template = engine.select_template([f"{stem}.{language}.txt", kind.in_app_file])
        title, _, body = template.render(Context({**_always(), **variables}, autoescape=False)).strip().partition("\n")
    return title.strip()[:SUBJECT_LIMIT], body.strip()


def missing_files(kind: registry.NotificationType) -> list[str]:
    """The files this type cannot do without and does not have."""
    engine = _engine(_directories(), autoescape=False, debug=settings.DEBUG)
    needed = []
    if registry.EMAIL in kind.channels:
        needed += [f"{kind.folder}/{name}" for name in ("subject.txt", "body.txt", "body.html", "sample.json")]
    if registry.IN_APP in kind.channels:
        needed.append(kind.in_app_file)
    absent = []
    for name in needed:
        try:
            engine.find_template(name)
        except TemplateDoesNotExist:
            absent.append(name)
    return absent


def _always() -> dict[str, Any]:
    product = settings.PRODUCT_NAME
    return {
        "product_name": product,
        "app_url": settings.APP_URL,
        "login_url": f"{settings.APP_URL}/login",
        "support_email": settings.SUPPORT_EMAIL,
        "reason": translation.gettext("You receive this e-mail because your address was used at %(product)s.")
        % {"product": product},
    }


def _part(kind: registry.NotificationType, name: str, language: str, context: Mapping[str, Any]) -> str:
    template = _template(kind.folder, name, language)
    return template.render(Context(dict(context), autoescape=name.endswith(".html")))


def _template(folder: str, name: str, language: str) -> Template:
    """`body.de.html` wins over `body.html`."""
    engine = _engine(_directories(), autoescape=name.endswith(".html"), debug=settings.DEBUG)
    stem, suffix = name.rsplit(".", 1)
    return engine.select_template([f"{folder}/{stem}.{language}.{suffix}", f"{folder}/{name}"])


def _directories() -> tuple[str, ...]:
    directories: Any = settings.TEMPLATES[0]["DIRS"]
    return tuple(map(str, directories))


@lru_cache
def _engine(directories: tuple[str, ...], *, autoescape: bool, debug: bool) -> Engine:
    """Html escapes what people typed; in text an escaped sign would stand there as it is."""
    return Engine(
        dirs=list(directories),
        autoescape=autoescape,
        debug=debug,
        # While developing, a saved template is the next mail.
        loaders=["django.template.loaders.filesystem.Loader"] if debug else None,
        libraries={"i18n": "django.templatetags.i18n"},
    )
