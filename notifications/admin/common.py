"""What the pages of notifications share: filters, columns, and a mail in a frame that can do nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from lib.admin.lists import ValueFilter, column, object_link
from notifications import providers, registry
from notifications.rendering.render import Rendered

#: Mails bring their styles with them; the admin's own policy would drop these. Nothing is loaded and no script runs.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


#: Of a provider's pause, staff without one of these see only that it is.
CHANGE_PROVIDER = "notifications.change_providerstate"


def may_see_providers(request: HttpRequest) -> bool:
    return request.user.has_perm("notifications.view_providerstate") or request.user.has_perm(CHANGE_PROVIDER)


def value_filter(field: str, label: Any, values: Callable[[], list[tuple[str, Any]]]) -> type[ValueFilter]:
    """A filter of one field by values known beforehand."""

    def lookups(self: ValueFilter, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return values()

    members = {"title": label, "parameter_name": field, "column": field, "lookups": lookups}
    return type(f"{field.title()}Filter", (ValueFilter,), members)


TypeFilter = value_filter("type", _("type"), lambda: [(kind.code, kind.label) for kind in registry.declared_types()])
CategoryFilter = value_filter("category", _("category"), lambda: [(of.code, of.label) for of in registry.categories()])
ProviderFilter = value_filter("provider", _("provider"), lambda: [(name, name) for name in providers.aliases()])


def type_label(code: str) -> str:
    """The label of a type; the code of one that is declared no more."""
    kind = registry.find(code)
    return str(kind.label) if kind else code


type_column = column(_("type"), lambda row: type_label(row.type))
user_column = column(_("user"), lambda row: object_link(row.user, row.user.pk, row.user) if row.user else "")


def preview_response(rendered: Rendered, *, part: str = "html") -> HttpResponse:
    """The answer to `<iframe sandbox src=…>`: the html of a mail, or with `part` its `text`."""
    if part == "html":
        return framed_response(rendered.html, "text/html")
    return framed_response(f"{rendered.subject}\n\n{rendered.text}")


def framed_response(content: str, kind: str = "text/plain", *, status: int = 200) -> HttpResponse:
    headers = {
        "Content-Security-Policy": POLICY,
        "X-Frame-Options": "SAMEORIGIN",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return HttpResponse(content, content_type=f"{kind}; charset=utf-8", status=status, headers=headers)
