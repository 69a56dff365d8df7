"""Filters of the list of flags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from feature_flags import lifecycle
from feature_flags.models import FeatureFlag

OWNERS_OFFERED = 50


class ArchivedFilter(admin.SimpleListFilter):
    """What is put away is out of sight until somebody asks for it."""

    title = _("archive")
    parameter_name = "archived"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Archived")), ("all", _("All"))]

    def choices(self, changelist: Any) -> Iterator[Any]:
        choices = super().choices(changelist)
        yield {**next(choices), "display": _("In use")}
        yield from choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[FeatureFlag]) -> QuerySet[FeatureFlag]:
        if self.value() == "all":
            return queryset
        return queryset.filter(archived_at__isnull=self.value() != "yes")


class StaleFilter(admin.SimpleListFilter):
    title = _("stale")
    parameter_name = "stale"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Yes")), ("no", _("No"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[FeatureFlag]) -> QuerySet[FeatureFlag]:
        if self.value() not in ("yes", "no"):
            return queryset
        # Use and age lie in three tables, and one place knows what they mean.
        lives = lifecycle.lives(list(FeatureFlag.objects.filter(archived_at=None)), timezone.now())
        stale = [pk for pk, life in lives.items() if life.stale]
        return queryset.filter(pk__in=stale) if self.value() == "yes" else queryset.exclude(pk__in=stale)


class OwnerFilter(admin.SimpleListFilter):
    title = _("owner")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        owners = FeatureFlag.objects.exclude(owner="").order_by("owner").values_list("owner", flat=True).distinct()
        return [(owner, owner) for owner in owners[:OWNERS_OFFERED]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[FeatureFlag]) -> QuerySet[FeatureFlag]:
        return queryset.filter(owner=self.value()) if self.value() else queryset
