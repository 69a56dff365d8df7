"""What these pages share: lists that may grow without end, and rows that only services write."""

from __future__ import annotations

import uuid
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from lib.admin.verbs import VerbAdmin
from lib.text import is_storable, normal_email
from notifications import providers, registry

if TYPE_CHECKING:
    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator

#: Nobody leafs through more pages than these rows fill, and counting them all would read the whole table.
CAP = 1_000
#: How many of the newest rows a filter looks at whose column has no index.
WINDOW = 100_000


class CappedPaginator(AnyPaginator):
    """Counts to 1,000 and no further; `shown` says "1,000+" then."""

    @cached_property
    def _counted(self) -> int:
        rows = cast("QuerySet[Any]", self.object_list)
        return rows.order_by()[: CAP + 1].count()

    @cached_property
    def count(self) -> int:
        return min(self._counted, CAP)

    @property
    def shown(self) -> str:
        return shown(self._counted)


def shown(count: int) -> str:
    return f"{CAP:,}+" if count > CAP else f"{count:,}"


class GrowingList(ChangeList):
    """A filter without an index looks at the newest 100,000 rows; a search looks at all, by an index."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        queryset = super().get_queryset(request, exclude_parameters)
        pages = cast(ReadOnly, self.model_admin)
        return queryset if self.query else pages.bounded(queryset, self.get_filters_params())


class ReadOnly(VerbAdmin):
    """Rows no form adds, changes or deletes: to be looked at, found, filtered, and changed by verbs alone."""

    paginator = CappedPaginator
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    ordering = ("-pk",)
    empty_value_display = ""

    class Media:
        css = {"all": ("notifications/admin.css",)}

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return GrowingList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what the filters beside the list ask: anything else is one no index answers, or an expression."""
        offered: set[str] = set()
        filters: Any = self.get_list_filter(request)
        for each in filters:
            if isinstance(each, str):
                offered.add(f"{each}__exact")
            elif isinstance(each, tuple):
                offered.add(f"{each[0]}__isempty")
            else:
                offered.add(each.parameter_name)
        return lookup in offered

    def bounded(self, queryset: QuerySet[Any], filters: dict[str, list[str]]) -> QuerySet[Any]:
        """What a list without a search reads at most."""
        return newest(queryset) if filters else queryset

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Each question is one an index can answer; the search box itself refuses NUL bytes."""
        term = search_term.strip()
        if not (term and self.search_fields):
            return queryset, False
        return (queryset.filter(self.meaning(term)) if is_storable(term) else queryset.none()), False

    def meaning(self, term: str) -> Q:
        raise NotImplementedError


def newest(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """Only the newest rows: a range of the primary key."""
    last = queryset.model._default_manager.order_by("-pk").values_list("pk", flat=True).first()
    return queryset if last is None else queryset.filter(pk__gt=last - WINDOW)


class ChosenFilter(admin.SimpleListFilter):
    """Exactly one of the values known beforehand: asking the table for its own would read all of it."""

    column = ""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.column: self.value()}) if self.value() in dict(self.lookup_choices) else queryset


class TypeFilter(ChosenFilter):
    title = _("type")
    parameter_name = column = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(kind.code, kind.label) for kind in registry.declared_types()]


class CategoryFilter(ChosenFilter):
    title = _("category")
    parameter_name = column = "category"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(category.code, category.label) for category in registry.categories()]


class ProviderFilter(ChosenFilter):
    title = _("provider")
    parameter_name = column = "provider"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, name) for name in providers.aliases()]


def begins(field: str, text: str) -> Q:
    """The values that begin with this text, asked so that an index of this database can answer."""
    if connection.vendor == "postgresql":
        return Q(**{f"{field}__startswith": text})  # a *_pattern_ops index
    # LIKE ignores case on SQLite, which no index of ours does.
    return Q(**{f"{field}__gte": text, f"{field}__lt": f"{text}\U0010ffff"})


def person_begins(term: str) -> Q:
    """Whose sign-in address begins so."""
    return begins(f"user__{get_user_model().USERNAME_FIELD}", normal_email(term))


def type_label(code: str) -> str:
    """What a type is called; one that nobody declares any more is shown by its code."""
    try:
        return str(registry.get(code).label)
    except registry.UnknownType:
        return code


def chip(kind: str, text: Any) -> str:
    return format_html('<span class="chip chip-{}">{}</span>', kind, text)


def person_link(user: Any) -> str:
    """The address, leading to the page of that person where the reader may go there."""
    opts = user._meta
    try:
        url = reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[user.pk])
    except NoReverseMatch:
        return str(user)
    return format_html('<a href="{}">{}</a>', url, user)


def name_of(label: str) -> str:
    """Whom a label means: staff are kept by their id, commands speak for themselves."""
    try:
        pk = uuid.UUID(label)
    except ValueError:
        return label
    user = get_user_model()._default_manager.filter(pk=pk).first()
    return str(user) if user else label
