"""What the lists of notifications share: their filters, and what a type is called."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from lib.admin.filters import ValueFilter
from notifications import providers, registry


class TypeFilter(ValueFilter):
    title = _("type")
    parameter_name = column = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(kind.code, kind.label) for kind in registry.declared_types()]


class CategoryFilter(ValueFilter):
    title = _("category")
    parameter_name = column = "category"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(category.code, category.label) for category in registry.categories()]


class ProviderFilter(ValueFilter):
    title = _("provider")
    parameter_name = column = "provider"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, name) for name in providers.aliases()]


def type_label(code: str) -> str:
    """The label of a type; the code of one that is declared no more."""
    try:
        return str(registry.get(code).label)
    except registry.UnknownType:
        return code
