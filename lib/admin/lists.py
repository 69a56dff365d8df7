"""What lists of the admin share: tables that grow, rows no form writes, and the look of a cell."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import F, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _

from lib.addresses import normal_email
from lib.admin import address_of
from lib.admin.changelist import RowChangeList
from lib.admin.verbs import VerbAdmin
from lib.text import is_storable, number

if TYPE_CHECKING:
    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator

#: Rows counted at most: counting them all would read the whole table, and no one leafs through more pages.
COUNT_LIMIT = 1_000
#: Formats of `local_time`.
TO_THE_MINUTE, TO_THE_SECOND = "MOMENT", "MOMENT_TO_THE_SECOND"
#: Characters that every column has room for, and its second part.
_FITS, _FITS_BELOW = 16, 8
#: How many of the newest rows a search looks through one by one, before an index is asked for all.
_NEWEST = 20_000
#: How many of the newest rows a filter looks at whose column has no index.
WINDOW = 100_000


# --- Counts -----------------------------------------------------------------------------------------------------------


class CappedPaginator(AnyPaginator):
    """Counts to 1,000 and no further; `count_label` is "1,000+" then."""

    @cached_property
    def _counted(self) -> int:
        rows = cast("QuerySet[Any]", self.object_list)
        return rows.order_by()[: COUNT_LIMIT + 1].count()

    @cached_property
    def count(self) -> int:
        return min(self._counted, COUNT_LIMIT)

    @property
    def count_label(self) -> str:
        return count_label(self._counted)


class SearchPaginator(CappedPaginator):
    """Pages of what a search finds, the newest first. PostgreSQL, left to choose, may walk the primary key past all
    that does not match: so it may among the newest alone; of what is rarer or older it asks the index and sorts."""

    def page(self, number: Any) -> Any:
        rows = cast("QuerySet[Any]", self.object_list)
        if connection.vendor == "postgresql" and rows.query.order_by == ("-pk",):
            top = self.validate_number(number) * self.per_page
            last = rows.model._default_manager.order_by("-pk").values("pk")[:1]
            if self._counted <= COUNT_LIMIT or rows.filter(pk__gt=Subquery(last) - _NEWEST)[:top].count() < top:
                self.object_list = rows.order_by((F("pk") + 0).desc())
        return super().page(number)


def count_label(count: int) -> str:
    return f"{number(COUNT_LIMIT)}+" if count > COUNT_LIMIT else number(count)


def capped_counts(querysets: Mapping[str, QuerySet[Any]]) -> dict[str, int]:
    """How many rows each query finds, up to 1,001, all in one statement."""
    columns: list[str] = []
    params: list[Any] = []
    for queryset in querysets.values():
        sql, more = queryset.order_by().values_list("pk")[: COUNT_LIMIT + 1].query.sql_with_params()
        columns.append(f"(SELECT COUNT(*) FROM ({sql}) AS found)")  # noqa: S608  (made by the ORM)
        params += more
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(columns)}", params)
        found = cursor.fetchone()
    return dict(zip(querysets, found, strict=True))


# --- Rows -------------------------------------------------------------------------------------------------------------


class ReadOnlyAdmin(VerbAdmin):
    """Rows that no form adds, changes or deletes: to be looked at, found, filtered, and changed by verbs alone."""

    show_facets = admin.ShowFacets.NEVER
    empty_value_display = ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_delete_permission = has_change_permission


class GrowingChangeList(RowChangeList):
    """A filter without an index looks at the newest 100,000 rows; a search looks at all, by an index."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        queryset = super().get_queryset(request, exclude_parameters)
        model_admin = cast(GrowingTableAdmin, self.model_admin)
        return queryset if self.query else model_admin.bounded(queryset, self.get_filters_params())


class GrowingTableAdmin(ReadOnlyAdmin):
    """Read-only rows of a table without end: capped counts, and only queries that an index answers."""

    sortable_by = ()
    ordering = ("-pk",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return GrowingChangeList

    def get_paginator(self, request: HttpRequest, *args: Any, **more: Any) -> AnyPaginator:
        return (SearchPaginator if request.GET.get("q") else CappedPaginator)(*args, **more)

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
        term = search_term.strip()
        if not (term and self.search_fields):
            return queryset, False
        return (queryset.filter(self.search_query(term, request)) if is_storable(term) else queryset.none()), False

    def search_query(self, term: str, request: HttpRequest) -> Q:
        """What a search looks for; an index has to answer it."""
        raise NotImplementedError


def newest(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """Only the newest rows: a range of the primary key."""
    last = queryset.model._default_manager.order_by("-pk").values_list("pk", flat=True).first()
    return queryset if last is None else queryset.filter(pk__gt=last - WINDOW)


def starts_with(field: str, text: str) -> Q:
    """The values that start with this text, asked so that an index of this database can answer."""
    if connection.vendor == "postgresql":
        return Q(**{f"{field}__startswith": text})  # a *_pattern_ops index
    # LIKE ignores case on SQLite, which no index of ours does.
    return Q(**{f"{field}__gte": text, f"{field}__lt": f"{text}\U0010ffff"})


def user_starts_with(term: str) -> Q:
    """Rows of the users whose sign-in address starts so."""
    return starts_with(f"user__{get_user_model().USERNAME_FIELD}", normal_email(term))


# --- Filters ----------------------------------------------------------------------------------------------------------


class ValueFilter(admin.SimpleListFilter):
    """Exactly one of the values known beforehand: asking the table for its own would read all of it."""

    column = ""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.column: self.value()}) if self.value() in dict(self.lookup_choices) else queryset


class RelatedFilter(admin.RelatedFieldListFilter):
    """Django's, which names the choice of rows without any: lists show an empty cell, a filter cannot."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.empty_value_display = cast("Any", _("none"))


class RelatedOnlyFilter(RelatedFilter, admin.RelatedOnlyFieldListFilter):
    """The same with what is related to some row alone."""


class TableFilter(admin.SimpleListFilter):
    """Values that each stand for a query: its label, and what narrows the rows."""

    options: ClassVar[Mapping[str, tuple[Any, Callable[[Any], QuerySet[Any]]]]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(value, label) for value, (label, _narrowed) in self.options.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        option = self.options.get(self.value() or "")
        return option[1](queryset) if option else queryset


# --- Cells ------------------------------------------------------------------------------------------------------------


def column(label: Any, value: Callable[[Any], Any], **display: Any) -> Any:
    """A column of a list, or a read-only field of a page; `display` as for Django's `admin.display`."""
    return admin.display(description=label, **display)(lambda model_admin, obj: value(obj))


def chip(kind: str, text: Any) -> str:
    return chips([(kind, text)])


def chips(marks: Iterable[tuple[str, Any]]) -> str:
    return format_html_join(" ", '<span class="chip chip-{}">{}</span>', marks)


def one_line(text: Any) -> str:
    """A sentence cut off where its column ends, and whole for who points at it."""
    return format_html('<span title="{0}">{0}</span>', text) if len(str(text)) > _FITS else str(text)


def two_lines(text: str, below: str) -> str:
    if not below:
        return text
    title = format_html(' title="{}"', below) if len(below) > _FITS_BELOW else ""
    return format_html('{} <span class="below"{}>{}</span>', text, title, below)


def local_time(at: datetime | None, style: str = TO_THE_MINUTE) -> str:
    """In the reader's time zone, empty for None; `style` is a date format, or the name of one in lib/formats."""
    return date_format(timezone.localtime(at), style) if at else ""


def object_link(model: Any, pk: Any, text: Any) -> str:
    """To the page of one object; the text alone where the admin has none."""
    url = address_of(model, pk)
    return format_html('<a href="{}">{}</a>', url, text) if url else str(text)


def actor_names(labels: Iterable[str]) -> dict[str, str]:
    """Names for the labels of actors, by one query: users are kept by their id and shown by address.

    Labels such as `command:activate_user`, and those of accounts that are gone, stand for themselves.
    """
    names = {label: label for label in labels}
    ids = {}
    for label in names:
        try:
            ids[uuid.UUID(label)] = label
        except ValueError:
            continue
    if ids:
        model = get_user_model()
        users = model._default_manager.filter(pk__in=ids).values_list("pk", model.USERNAME_FIELD)
        names |= {ids[pk]: name for pk, name in users}
    return names


def actor_name(label: str) -> str:
    return actor_names([label])[label]
