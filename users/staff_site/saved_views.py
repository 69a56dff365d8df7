"""The buttons that keep and remove views of lists."""

from typing import Any, cast

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.exceptions import NotRegistered
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from lib.actors import Actor
from lib.admin.changelist import saved_query
from lib.errors import ProductError
from users.models import SavedView, User
from users.services import saved_views


def offered(request: HttpRequest, label: str) -> list[dict[str, Any]]:
    user, shown = cast(User, request.user), saved_query(request.GET)
    return [
        {
            "view": view,
            "is_open": view.query == shown,
            "owner": "" if view.user_id == user.pk else view.user.get_username(),
            "may_remove": view.user_id == user.pk or user.is_superuser,
        }
        for view in saved_views.offered(user, label)
    ]


def _list(request: HttpRequest, label: str) -> tuple[str, str]:
    """The name of a list that this user may see, as it is kept, and its address.

    Raises:
        Http404: there is no such list.
        PermissionDenied: it is closed to them.
    """
    try:
        model_admin = admin.site.get_model_admin(apps.get_model(label))
    except (LookupError, ValueError, NotRegistered):
        raise Http404 from None
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    opts = model_admin.opts
    return opts.label_lower, reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")


@require_POST
def save(request: HttpRequest) -> HttpResponse:
    given = request.POST
    label, url = _list(request, given.get("label", ""))
    query = given.get("query", "")
    query = saved_query(QueryDict(query))
    try:
        view = saved_views.save(
            cast(User, request.user),
            label,
            name=given.get("name", ""),
            query=query,
            is_shared="is_shared" in given,
            actor=Actor.of(request, "admin"),
        )
    except ProductError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, _("“%(name)s”: kept.") % {"name": view.name})
    return HttpResponseRedirect(f"{url}?{query}" if query else url)


@require_POST
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    view = get_object_or_404(SavedView, pk=pk)
    _label, url = _list(request, view.label)
    try:
        saved_views.remove(view, by=cast(User, request.user), actor=Actor.of(request, "admin"))
    except ProductError as error:
        raise PermissionDenied(error.message) from None
    messages.success(request, _("“%(name)s”: removed.") % {"name": view.name})
    return HttpResponseRedirect(url)
