"""The lists of the admin as operations of the API: `GET /api/staff/<things>` and `GET /api/staff/<things>/<key>`.

Search, filters and who may see what are those of the page (its ModelAdmin); the rows come by a cursor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from django.contrib import admin
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, QueryDict
from ninja import Query, Router
from ninja.errors import ValidationError
from pydantic import BaseModel, Field, create_model

from lib import db
from lib.admin.changelist import CUT
from lib.admin.lists import TableFilter, ValueFilter
from lib.admin.verbs import in_english
from lib.schemas import Text, TimeIn
from lib.staff_api import REFUSED, Listing, needs
from lib.text import is_storable
from notifications.staff_api import recipients as mail
from notifications.staff_api import webhooks
from project.staff_places import camel, place_of
from users.admin.audit import TimeRangeFilter
from users.api import staff as people


class Out(Protocol):
    """The shape of a row on the wire."""

    @classmethod
    def of(cls, row: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Resource:
    model: str  #: Its label.
    out: Any  #: `Out`
    by: str = "-created_at"  #: What its cursor goes by, as an index has it.
    related: tuple[str, ...] = ()  #: What its shape asks of each row, read for all of them together.


RESOURCES = (
    Resource("users.User", people.PersonOut, related=("groups",)),
    Resource("users.UserSession", people.StaffSessionOut),
    Resource("users.ApiKey", people.StaffKeyOut),
    Resource("users.ServiceAccount", people.ServiceAccountOut, by="name", related=("user__groups",)),
    Resource("users.AuditEvent", people.AuditEventOut, by="-id"),
    Resource("notifications.Suppression", mail.SuppressionOut, by="-id"),
    Resource("notifications.Preference", mail.ChosenOut, by="-id"),
    Resource("notifications.DeliveryEvent", mail.ReportOut, by="-id"),
    Resource("notifications.Worker", mail.WorkerOut, by="-beat_at"),
    Resource("notifications.WebhookEndpoint", webhooks.EndpointOut, by="name"),
    Resource("notifications.WebhookDelivery", webhooks.DeliveryOut, by="-id"),
    Resource("auth.Group", people.GroupOut, by="name", related=("permissions__content_type",)),
)


def install(routers: Sequence[Router]) -> list[Router]:
    """Add the lists to the routers that have other methods of their paths, else to new ones; return those."""
    made = []
    pages = {model._meta.label: page for model, page in admin.site._registry.items()}
    for resource in RESOURCES:
        page = pages[resource.model]
        path = f"/{place_of(page.model).path}"
        router = next((each for each in routers if path in each.path_operations), None)
        if router is None:
            router = Router(tags=[f"Staff: {path[1:].replace('-', ' ')}"])
            made.append(router)
        _add(router, page, resource)
    return made


def _add(router: Router, page: admin.ModelAdmin[Any], resource: Resource) -> None:
    place = place_of(page.model)
    name = place.noun.replace("-", "_")
    many = place.path.replace("-", "_")
    permission = f"{page.opts.app_label}.{get_permission_codename('view', page.opts)}"
    asked, keys = _query(page, f"{camel(place.path)}Query")
    members: dict[str, Any] = {"items": (list[resource.out], ...), "next": (str | None, ...), "is_cut": (bool, False)}  # type: ignore[name-defined]
    listed = create_model(f"{camel(place.path)}ListOut", **members)
    with in_english():
        search_help = str(page.search_help_text or "")

    def list_rows(request: HttpRequest, asked: Any) -> Any:
        items, rest = _page(request, page, resource, keys, asked)
        return {"items": items, "next": rest, "is_cut": getattr(request, CUT, False)}

    list_rows.__annotations__["asked"] = Query[asked]  # type: ignore[valid-type, misc]
    about = f"Search: {search_help} `is_cut`: the search found more people than it shows." if search_help else ""
    router.get(
        f"/{place.path}",
        response={200: listed, **REFUSED},
        operation_id=f"list_{many}",
        summary=f"List {many.replace('_', ' ')}",
        description=about,
    )(needs(permission)(list_rows))

    def read_row(request: HttpRequest, key: str) -> Any:
        row = page.get_object(request, key, place.key or None) if is_storable(key) else None
        if row is None:
            raise Http404
        if not page.has_view_permission(request, row):
            raise PermissionDenied
        return resource.out.of(row)

    router.get(
        f"/{place.path}/{{key}}",
        response={200: resource.out, **REFUSED},
        operation_id=f"get_{name}",
        summary=f"Get one ({name.replace('_', ' ')})",
    )(needs(permission)(read_row))


def _query(page: admin.ModelAdmin[Any], title: str) -> tuple[type[BaseModel], dict[str, str]]:
    """The shape of what the list is asked, and by the name of each member that of its filter on the page."""
    fields: dict[str, Any] = {}
    keys: dict[str, str] = {}
    if page.search_fields:
        fields["search"] = (Annotated[Text, Field(max_length=200)], "")
        keys["search"] = "q"
    filters: Sequence[Any] = page.list_filter
    for each in filters:
        if isinstance(each, str):
            field: Any = page.model._meta.get_field(each)
            kind: Any = bool if isinstance(field, models.BooleanField) else Literal[tuple(dict(field.flatchoices))]
            fields[each], keys[each] = (kind | None, None), f"{each}__exact"
        elif isinstance(each, type) and issubclass(each, TableFilter | ValueFilter):
            options = getattr(each, "options", None)
            kind = Literal[tuple(options)] if options else Annotated[Text, Field(max_length=100)]
            name = str(each.parameter_name)
            fields[name], keys[name] = (kind | None, None), name
        elif each is TimeRangeFilter:
            fields |= dict.fromkeys(("since", "until"), (TimeIn | None, None))
            keys |= {name: name for name in ("since", "until")}
    return create_model(title, __base__=Listing, **fields), keys


def _unknown(name: str) -> ValidationError:
    return ValidationError([{"type": "value_unknown", "loc": ["query", name], "msg": "There is no such value."}])


def _page(
    request: HttpRequest, page: admin.ModelAdmin[Any], resource: Resource, keys: dict[str, str], asked: Any
) -> tuple[list[Any], str | None]:
    posed = QueryDict(mutable=True)
    for name, key in keys.items():
        if (value := getattr(asked, name)) not in {None, ""}:
            posed[key] = str(int(value)) if isinstance(value, bool) else str(value)
    request.GET = posed  # type: ignore[assignment]
    # Django's own, without what the page adds for its cells.
    listed = admin.ModelAdmin.get_changelist_instance(page, request)
    for each in listed.filter_specs:
        # The page shows all rows for a value there is not, beside a choice that shows that.
        if isinstance(each, ValueFilter) and each.value() not in {None, *dict(each.lookup_choices)}:
            raise _unknown(str(each.parameter_name))
    rows = listed.queryset.prefetch_related(*resource.related)
    found, rest = db.page(rows, by=resource.by, cursor=asked.cursor, limit=asked.limit, of=resource.model)
    return [resource.out.of(row) for row in found], rest
