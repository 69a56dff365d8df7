"""What every list of the admin can do: columns of the reader's choice, moments in one line, CSV of what is found."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IS_POPUP_VAR, IncorrectLookupParameters
from django.contrib.admin.utils import label_for_field, lookup_field, quote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, path, reverse
from django.utils import timezone, translation
from django.utils.formats import date_format
from django.utils.html import format_html, strip_tags
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from lib import replica
from lib.actors import Actor
from lib.asgi import PiecesResponse

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

#: The parameter that chooses columns, and the last part of the cookie that remembers the choice.
COLUMNS = "columns"
CSV_LIMIT, CSV_CHUNK = 100_000, 500
#: Set on a request whose search finds more rows than the list shows.
CUT = "search_is_cut"
_BUTTONS = "verb_buttons"
#: What a cell begins with that a spreadsheet takes for a formula (OWASP, CSV injection).
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
#: Whether cells are made for a file: moments are ISO 8601 then.
_FOR_FILE: ContextVar[bool] = ContextVar("cells_for_file", default=False)


# --- Cells ------------------------------------------------------------------------------------------------------------


def time_cell(at: datetime | date | None) -> str:
    """`12:50`, `yesterday 12:50`, `12 Nov 12:50` or `12 Nov 2025` in the reader's zone; all of it for who points at it.

    Empty for None; a date without a time stays one.
    """
    if at is None:
        return ""
    local = timezone.localtime(at) if isinstance(at, datetime) else at
    clock = f"{local:%H:%M:%S} {local.tzname()}" if isinstance(local, datetime) else ""
    if _FOR_FILE.get():
        return local.isoformat(timespec="seconds") if isinstance(local, datetime) else local.isoformat()
    day = local.date() if isinstance(local, datetime) else local
    text, whole, is_far = _day_words(day, timezone.localdate(), translation.get_language())
    if clock:
        text, whole = text if is_far else f"{text} {clock[:5]}".strip(), f"{whole}, {clock}"
    return format_html('<abbr title="{}">{}</abbr>', whole, text or gettext("today"))


@lru_cache(maxsize=1024)
def _day_words(day: date, today: date, language: str | None) -> tuple[str, str, bool]:
    """A day in few words, empty for today, and in full; and whether it is of another year: a list has few days and many
    rows."""
    whole, distance = date_format(day, "WHOLE_DAY"), (day - today).days
    near = {0: "", -1: gettext("yesterday"), 1: gettext("tomorrow")}
    if distance in near:
        return near[distance], whole, False
    is_far = day.year != today.year
    return date_format(day, "DAY_OF_YEAR" if is_far else "DAY"), whole, is_far


def time_column(name: str, label: Any) -> Any:
    """A column of moments, sorted by the field of this name: as an attribute of an admin, or alone in its list."""

    @admin.display(description=label, ordering=name)
    def cell(*given: Any) -> str:
        return time_cell(getattr(given[-1], name))

    cell.__name__ = name  # for the class of the cell
    return cell


def csv_text(value: Any) -> Any:
    """What a spreadsheet is given for a cell of the list.

    A text that a spreadsheet would take for a formula gets an apostrophe before it (OWASP, CSV injection); moments are
    ISO 8601.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime | date):
        return value.isoformat()
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    if isinstance(value, SafeString):
        text = html.unescape(strip_tags(text.replace("<", " <")))
        text = " ".join(text.split())
    return f"'{text}" if text.startswith(_FORMULAS) else text


def csv_pieces(rows: Iterator[Sequence[Any]]) -> Iterator[bytes]:
    """The file, in pieces of about 64 kB; its first character tells spreadsheets that it is UTF-8."""
    out = io.StringIO("\ufeff")
    out.seek(0, io.SEEK_END)
    # Quoted, so that a program that parts cells by another sign finds one cell where there is one.
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC)
    for row in rows:
        writer.writerow([csv_text(value) for value in row])
        if out.tell() > 65_536:
            yield out.getvalue().encode()
            out.seek(0)
            out.truncate()
    yield out.getvalue().encode()


def _for_reader(rows: Iterator[Sequence[Any]], zone: Any, language: Any) -> Iterator[Sequence[Any]]:
    while True:
        with timezone.override(zone), translation.override(language):
            token = _FOR_FILE.set(True)
            try:
                row = next(rows, None)
            finally:
                _FOR_FILE.reset(token)
        if row is None:
            return
        yield row


def csv_response(name: str, rows: Iterator[Sequence[Any]]) -> PiecesResponse:
    # The request has ended when they are made, and with it the reader's zone and language.
    rows = _for_reader(rows, timezone.get_current_timezone(), translation.get_language())
    headers = {"Content-Disposition": f'attachment; filename="{name}-{timezone.localdate()}.csv"'}
    return PiecesResponse(csv_pieces(rows), content_type="text/csv; charset=utf-8", headers=headers)


# --- Lists ------------------------------------------------------------------------------------------------------------


class RowChangeList(ChangeList):
    """Rows that link to their page from where the list stands: short, and without a look-up of addresses for each."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Django would add them to each link, parsed and looked up anew.
        self._row_query = f"?{self.preserved_filters}" if self.preserved_filters else ""
        self.preserved_filters = ""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        return replica.read(super().get_queryset(request, exclude_parameters), request)

    def url_for_result(self, result: Any) -> str:
        return f"{quote(result.pk)}/change/{self._row_query}"

    def get_ordering_field(self, field_name: Any) -> Any:
        """What the heads of the columns do not offer is not sorted by for an address that was typed either."""
        is_offered = self.sortable_by is None or field_name in self.sortable_by
        return super().get_ordering_field(field_name) if is_offered else None


class ListAdmin(ModelAdmin):
    """A list with a bar of tools. Of its site it uses

    - `export_permission`: who has it, and may see the list, gets what the list finds as CSV, after a fresh proof;
    - `saved_views(request, label)`: the views of this list that the user may open; None where a site keeps none.
    """

    #: Columns that are offered beside those of `list_display`, and hidden until a reader chooses them.
    more_columns: Sequence[str] = ()

    def row_name(self, obj: Any) -> str:
        """What the box and the buttons of a row are called for those who hear the page."""
        return str(obj)

    @admin.display(description="")
    def action_checkbox(self, obj: Any) -> SafeString:
        return format_html(
            f'<input type="checkbox" name="{ACTION_CHECKBOX_NAME}" value="{{}}" aria-label="{{}}">',
            obj.pk,
            gettext("Select %s") % self.row_name(obj),
        )

    # --- Columns ------------------------------------------------------------------------------------------------------

    def _offered_columns(self, request: HttpRequest) -> list[Any]:
        return [*super().get_list_display(request), *self.more_columns]

    def _shown_columns(self, request: HttpRequest) -> list[Any]:
        """The first always, the buttons too; of the others those the reader chose, kept in a cookie."""
        columns = self._offered_columns(request)
        chosen = set(request.COOKIES.get(self._columns_cookie, "").split(".")) & set(columns[1:])
        shown = chosen or set(columns) - set(self.more_columns)
        return [name for name in columns if name in shown | {columns[0], _BUTTONS}]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [self._spelled(name) for name in self._shown_columns(request)]

    def _spelled(self, name: Any) -> Any:
        """Moments are spelled alike in every list."""
        if not isinstance(name, str) or hasattr(self, name):
            return name
        field = next((field for field in self.opts.fields if field.name == name), None)
        return time_column(name, field.verbose_name) if isinstance(field, models.DateField) else name

    @property
    def _columns_cookie(self) -> str:
        return f"{self.opts.app_label}-{self.opts.model_name}-{COLUMNS}"

    def _column_choices(self, request: HttpRequest) -> list[dict[str, Any]]:
        shown = self._shown_columns(request)
        names = [name for name in self._offered_columns(request)[1:] if name != _BUTTONS]
        return [{"name": name, "label": self._label(self._spelled(name)), "is_shown": name in shown} for name in names]

    def _label(self, column: Any) -> Any:
        return label_for_field(column, self.model, self)

    def _choose_columns(self, request: HttpRequest) -> HttpResponse:
        """Remember the choice in this browser, and show the list by it."""
        query = request.GET.copy()
        asked = set(query.pop(COLUMNS))
        chosen = [name for name in self._offered_columns(request) if name in asked]
        response = HttpResponseRedirect(f"?{query.urlencode()}" if query else request.path)
        if chosen:
            response.set_cookie(
                self._columns_cookie,
                ".".join(chosen),
                max_age=365 * 86_400,
                path=reverse("admin:index", current_app=self.admin_site.name),
                secure=request.is_secure(),
                httponly=True,
                samesite="Lax",
            )
        return response

    # --- The page -----------------------------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RowChangeList

    def prepare_rows(self, request: HttpRequest, rows: list[Any]) -> None:
        """Read together what the cells of these rows need, not row by row; to be overridden."""

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        page = super().get_changelist_instance(request)
        page.result_list = rows = list(page.result_list) if page.result_count else []
        self.prepare_rows(request, rows)
        return page

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "GET" and COLUMNS in request.GET:
            return self._choose_columns(request)
        extra: dict[str, Any] = {}
        if IS_POPUP_VAR not in request.GET:
            site: Any = self.admin_site
            extra = {
                "column_choices": self._column_choices(request),
                "saved_views": site.saved_views(request, self.opts.label_lower),
                "may_export": self.may_export(request),
                "list_query": saved_query(request.GET),
                "row_filters": request.GET.urlencode(),
                "list_label": self.opts.label_lower,
            }
        return super().changelist_view(request, {**extra, **(extra_context or {})})

    # --- CSV ----------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_csv"
        return [path("csv/", self.admin_site.admin_view(self.csv_view), name=name), *super().get_urls()]

    def may_export(self, request: HttpRequest) -> bool:
        site: Any = self.admin_site
        return self.has_view_permission(request) and request.user.has_perm(site.export_permission)

    def csv_view(self, request: HttpRequest) -> HttpResponse | PiecesResponse:
        """All that the list finds, with the columns that are shown; a POST, since the audit log keeps who took it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.may_export(request):
            raise PermissionDenied
        site: Any = self.admin_site
        listing = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist", current_app=site.name)
        back_url = f"{listing}?{request.GET.urlencode()}" if request.GET else listing
        if not site.is_fresh(request):
            proof: HttpResponse = site.ask_proof(request, back_url=back_url, action="CSV")
            return proof
        try:
            page = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            raise BadRequest("The list cannot be asked this.") from None
        if getattr(request, CUT, False):
            self.message_user(request, gettext("The search finds more than it shows: type more of it."), messages.ERROR)
            return HttpResponseRedirect(back_url)
        keys = list(page.queryset.values_list("pk", flat=True)[: CSV_LIMIT + 1])
        if len(keys) > CSV_LIMIT:
            text = gettext("These are over %(limit)s rows: narrow the list, then take the CSV of each part.")
            self.message_user(request, text % {"limit": f"{CSV_LIMIT:,}"}, messages.ERROR)
            return HttpResponseRedirect(back_url)
        Actor.of(request, "admin").note("list.exported", name=self.opts.label_lower, count=len(keys))
        columns = [column for column in self.get_list_display(request) if not self._is_button(column)]
        rows = self._csv_rows(request, page, columns, keys)
        return csv_response(str(self.opts.model_name), rows)

    @staticmethod
    def _is_button(column: Any) -> bool:
        return column == _BUTTONS or getattr(column, "is_button", False)

    def _csv_rows(self, request: HttpRequest, page: Any, columns: list[Any], keys: list[Any]) -> Iterator[list[Any]]:
        yield [str(self._label(column)) for column in columns]
        # By key: in the list's order, however long the client takes, and without a transaction that stays open.
        for start in range(0, len(keys), CSV_CHUNK):
            chunk = keys[start : start + CSV_CHUNK]
            found = page.apply_select_related(self.get_queryset(request).filter(pk__in=chunk))
            by_key = {row.pk: row for row in found}
            rows = [by_key[key] for key in chunk if key in by_key]
            self.prepare_rows(request, rows)
            for row in rows:
                yield [self._csv_value(column, row) for column in columns]

    def _csv_value(self, column: Any, row: Any) -> Any:
        field, _attribute, value = lookup_field(column, row, self)
        if field is not None and getattr(field, "choices", None):
            return getattr(row, f"get_{field.name}_display")()
        return value


def saved_query(given: QueryDict) -> str:
    """What a list was asked, without the page it was on and how it was opened."""
    kept = given.copy()
    for name in ("p", "e", "all", COLUMNS, IS_POPUP_VAR, "_to_field", "_changelist_filters"):
        kept.pop(name, None)
    return kept.urlencode()
