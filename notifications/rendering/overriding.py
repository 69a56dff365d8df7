"""What staff wrote in place of a file: read for some mails at a time, compiled once, held to narrow rules. It gets a
few tags and filters and a budget, reaches no setting, model or file outside `emails/`, and cannot switch escaping off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any

from django.db import connection
from django.template import Context, Engine, Library, Template, TemplateSyntaxError, Variable
from django.template.base import FilterExpression, Node, NodeList, Origin, Token, TokenType
from django.template.defaulttags import ForNode
from django.template.loader_tags import ExtendsNode, IncludeNode
from django.template.smartif import TokenBase
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _

from lib.text import is_storable
from notifications.models import TemplateOverride
from notifications.registry import NotificationType
from notifications.rendering import engines

BODY_LIMIT = 100_000
TAGS = ("if", "for", "with", "translate", "blocktranslate", "block", "extends", "include")
# None that makes more than a few signs of one: `join` and `floatformat` can fill the memory in a single step.
FILTERS = (
    *("capfirst", "default", "default_if_none", "escape", "first", "force_escape", "last", "length", "linebreaks"),
    *("linebreaksbr", "lower", "pluralize", "title", "truncatechars", "truncatewords", "upper", "urlencode", "yesno"),
)

#: Names every message has; see `content`.
ALWAYS = frozenset(
    {
        *("product_name", "app_url", "login_url", "login_action", "forgot_password_url", "support_email", "reason"),
        *("preheader", "unsubscribe_url"),
    }
)
_OF_TAGS = frozenset({"forloop", "block"})
# Every mail asks; through the ORM the question costs as much as the rendering.
_ACTIVE = f"SELECT part, id, body FROM {TemplateOverride._meta.db_table} WHERE type = %s AND language = %s AND active"  # noqa: S608
_STEPS, _SIGNS = 20_000, 1_000_000
#: Of the processor, so that a busy machine refuses nothing; a mail takes less than a thousandth of it.
_SECONDS = 1.0
TOO_DEEP = gettext_lazy("Its tags are nested too deeply.")


@dataclass(frozen=True, slots=True)
class Override:
    """A version of staff's, of one part; without an id while it is only tried."""

    body: str
    id: int | None = None


class Refused(Exception):
    """What staff wrote cannot be used; the text is a sentence for them."""


class Metered(Context):
    """Counts what is done for one part, and ends a template that runs away: loops in loops, texts that grow."""

    steps = 0
    signs = 0
    began = 0.0

    def spend(self, *, steps: int = 1, signs: int = 0) -> None:
        self.steps += steps
        self.signs += signs
        if self.steps > _STEPS or self.signs > _SIGNS or time.thread_time() - self.began > _SECONDS:
            raise Refused(gettext_lazy("It makes too much text, or takes too many steps."))


# Filters do not get the context they work for.
_filling: ContextVar[Metered | None] = ContextVar("filling", default=None)


def filled(template: Template, context: Metered) -> str:
    """What the template makes of the context, within its budget."""
    context.began = time.thread_time()
    before = _filling.set(context)
    try:
        return str(template.render(context))
    finally:
        _filling.reset(before)


def active(kind: NotificationType, language: str) -> dict[str, Override]:
    """The versions in use, by part. One question for all parts: a worker asks before it prepares some mails."""
    with connection.cursor() as cursor:
        cursor.execute(_ACTIVE, [kind.code, language])
        return {part: Override(body, pk) for part, pk, body in cursor.fetchall()}


def template(kind: NotificationType, part: str, body: str) -> Template:
    """Ready to be filled; Refused when a rule is broken. Without a query, and only once for the same body."""
    if wrong := problems(kind, part, body):
        raise Refused(" ".join(wrong))
    return _compiled(body, engines.engine(html=part == "html"))


def problems(kind: NotificationType, part: str, body: str) -> list[str]:
    """Which rules a body breaks, found without filling it."""
    if len(body) > BODY_LIMIT or len(body.encode(errors="replace")) > BODY_LIMIT:
        return [_("It must not be larger than 100 kB.")]
    return list(_problems(body, engines.engine(html=part == "html"), part, known(kind), kind.secrets, get_language()))


@lru_cache(maxsize=1024)
def _problems(
    body: str, engine: Engine, part: str, known: frozenset[str], secrets: tuple[str, ...], language: str | None
) -> tuple[str, ...]:
    if not body.strip():
        return (_("It must not be empty."),)
    if not is_storable(body):
        return (_("It must not hold NUL characters or lone surrogates."),)
    try:
        nodes = _compiled(body, engine).nodelist
        used, made = set(_used(nodes)), set(_made(nodes))
    except Refused as refusal:
        return (str(refusal),)
    except RecursionError:
        return (str(TOO_DEEP),)
    found = []
    if unknown := sorted(used - made - known - _OF_TAGS):
        names = {"unknown": ", ".join(unknown), "known": ", ".join(sorted(known))}
        found.append(_("There is no variable %(unknown)s; there are %(known)s.") % names)
    if part == "subject":
        # Mail servers write subjects into their logs.
        if shown := sorted(used & set(secrets)):
            found.append(_("A subject must not tell %(names)s.") % {"names": ", ".join(shown)})
    elif lost := sorted(set(secrets) - used):
        found.append(_("It must hold %(names)s.") % {"names": ", ".join(lost)})
    extended: list[Any] = nodes.get_nodes_by_type(ExtendsNode)
    included: list[Any] = nodes.get_nodes_by_type(IncludeNode)
    for named in [node.parent_name for node in extended] + [node.template for node in included]:
        name = named.var
        if not isinstance(name, str) or not name.startswith("emails/") or ".." in name or named.filters:
            text = _('It may extend and include only files whose name stands in quotes and begins with "emails/".')
            found.append(text)
            break
    return tuple(found)


def known(kind: NotificationType) -> frozenset[str]:
    return ALWAYS | set(kind.context.model_fields) | set(kind.secrets)


# --- Compiling --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _compiled(body: str, engine: Engine) -> Template:
    try:
        # With a name, a path beginning with a dot leads somewhere: to what `_problems` refuses.
        template = Template(body, origin=Origin("override", "override"), engine=_restricted(engine))
        nodes = template.nodelist.get_nodes_by_type(Node)
    except TemplateSyntaxError as error:
        # Django's words, but for what only we do not allow.
        allowed = f"; allowed are {', '.join(TAGS)}."
        message = str(error).removeprefix("Template: override, ")  # Django 6.1 names the template
        text = message.replace(". Did you forget to register or load this tag?", allowed)
        if text.startswith("Invalid filter:"):
            text = f"{text}; allowed are {', '.join(FILTERS)}."
        raise Refused(text[:1000]) from None
    except RecursionError:
        raise Refused(TOO_DEEP) from None
    # The files it extends and includes are ours: they may use what they like.
    template.engine = engine
    for node in nodes:
        _meter(node)
    return template


@lru_cache
def _restricted(engine: Engine) -> Engine:
    """Knows the allowed tags and filters alone: what is not there cannot be used."""
    narrow = Engine(
        dirs=engine.dirs,
        autoescape=engine.autoescape,
        # As it will be filled: an engine with `debug` asks what fails for its place in the source.
        debug=engine.debug,
        builtins=["django.templatetags.i18n"],
    )
    library = Library()
    for builtin in narrow.template_builtins:
        library.tags.update({name: tag for name, tag in builtin.tags.items() if name in TAGS})
        library.filters.update({name: _metered(each) for name, each in builtin.filters.items() if name in FILTERS})
    narrow.template_builtins = [library]
    return narrow


def _metered(apply: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(apply)
    def metered(*args: Any, **kwargs: Any) -> Any:
        made = apply(*args, **kwargs)
        if context := _filling.get():
            context.spend(signs=len(made) if isinstance(made, str) else 0)
        return made

    return metered


def _meter(node: Node) -> None:
    render: Callable[[Metered], Any] = node.render_annotated
    asvar = getattr(node, "asvar", None)

    def metered(context: Metered) -> str:
        turns = 0
        if isinstance(node, ForNode):
            sequence: Any = node.sequence
            values = sequence.resolve(context, ignore_failures=True)
            turns = len(values) if hasattr(values, "__len__") else 0
        # Before it begins: a loop around nothing takes its time as well.
        context.spend(steps=1 + turns)
        text: str = render(context)
        context.spend(steps=0, signs=len(text) + (len(str(context.get(asvar))) if asvar else 0))
        return text

    node.render_annotated = metered  # type: ignore[method-assign, assignment]


# --- Reading what was compiled ----------------------------------------------------------------------------------------


def _used(value: Any) -> Iterator[str]:
    """The variables asked for, each by its first name."""
    if isinstance(value, FilterExpression):
        yield from _used(value.var)
        for _name, arguments in value.filters:
            for _is_variable, argument in arguments:
                yield from _used(argument)
    elif isinstance(value, Variable):
        if value.lookups:
            yield value.lookups[0]
    elif isinstance(value, Token):
        if value.token_type == TokenType.VAR:  # inside blocktranslate
            yield value.contents
    elif isinstance(value, TokenBase):
        for name in ("value", "first", "second"):
            yield from _used(getattr(value, name, None))
    elif isinstance(value, Node):
        for name, part in vars(value).items():
            # `blocks` are the nodes of `nodelist` once more.
            if name not in {"token", "origin", "render_annotated", "blocks"}:
                yield from _used(part)
    elif isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _used(part)


def _made(nodes: NodeList) -> Iterator[str]:
    """The names that tags bring: `for x`, `with x=`, `as x`."""
    for node in nodes.get_nodes_by_type(Node):
        if isinstance(node, ForNode):
            yield from node.loopvars
        yield from getattr(node, "extra_context", None) or ()
        yield from (name for name in (getattr(node, "asvar", None), getattr(node, "countervar", None)) if name)
