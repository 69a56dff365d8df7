"""`{% load flags %}`: `{% flag "FF_NEW" %}…{% else %}…{% endflag %}`, and `{% exposed_flags "element-id" %}`."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.base import FilterExpression, NodeList, Parser, Token
from django.utils.html import json_script
from django.utils.safestring import SafeString

from feature_flags.evaluation import exposed, is_enabled

register = template.Library()


class FlagNode(template.Node):
    child_nodelists = ("on", "off")

    def __init__(self, name: FilterExpression, on: NodeList, off: NodeList) -> None:
        self.name, self.on, self.off = name, on, off

    def render(self, context: template.Context) -> SafeString:
        source = context.get("request") or context.get("user")
        is_on = is_enabled(str(self.name.resolve(context)), source)
        return (self.on if is_on else self.off).render(context)


@register.tag
def flag(parser: Parser, token: Token) -> FlagNode:
    """The first part while the flag is on for the request (or its user), the second otherwise."""
    parts = token.split_contents()
    if len(parts) != 2:
        raise template.TemplateSyntaxError("{% flag %} takes one name.")
    on = parser.parse(("else", "endflag"))
    off = NodeList()
    if parser.next_token().contents == "else":
        off = parser.parse(("endflag",))
        parser.delete_first_token()
    return FlagNode(parser.compile_filter(parts[1]), on, off)


@register.simple_tag(takes_context=True)
def exposed_flags(context: template.Context, element_id: str = "flags") -> Any:
    """The exposed flags of this request as `<script type="application/json">`, which no policy forbids."""
    return json_script(exposed(context.get("request") or context.get("user")), element_id)
