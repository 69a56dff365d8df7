"""What staff see of the outbox: read-only; the engines are the only ones that change it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from lib.text import normal_email
from notifications import registry, templates_admin  # noqa: F401  (registers itself)
from notifications.models import Attempt, Message

if TYPE_CHECKING:
    MessageModelAdmin = admin.ModelAdmin[Message]
    AttemptModelInline = admin.TabularInline[Attempt, Message]
else:
    MessageModelAdmin = admin.ModelAdmin
    AttemptModelInline = admin.TabularInline


class ReadOnly:
    """Nobody adds, changes or deletes by form."""

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


class TypeFilter(admin.SimpleListFilter):
    """The declared types: asking the table for its distinct ones would read all of it."""

    title = _("type")
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(kind.code, kind.label) for kind in registry.declared_types()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        return queryset.filter(type=self.value()) if self.value() in dict(self.lookup_choices) else queryset


class AttemptInline(ReadOnly, AttemptModelInline):
    model = Attempt
    fields = readonly_fields = ("n", "created_at", "duration_ms", "outcome", "code", "response", "worker")
    extra = 0
    can_delete = False


@admin.register(Message)
class MessageAdmin(ReadOnly, MessageModelAdmin):
    list_display = ("uid", "state", "type", "to_address", "attempts", "due_at", "last_code", "created_at")
    list_filter = ("state", TypeFilter)
    list_per_page = 50
    show_full_result_count = False
    ordering = ("-pk",)
    search_fields = ("to_address",)
    search_help_text = _("A whole address or its beginning, a message's uid or its Message-ID.")
    inlines = (AttemptInline,)
    fieldsets = (
        (None, {"fields": ("state", "reason", "attempts", "max_attempts", "last_code", "last_error")}),
        (_("What and to whom"), {"fields": ("type", "category", "language", "to_address", "to_name", "user")}),
        (_("When"), {"fields": ("created_at", "due_at", "expires_at", "handed_at", "sent_at", "finished_at")}),
        (_("Identity"), {"fields": ("uid", "message_id", "event_key", "request_id", "lease_owner")}),
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Message], search_term: str
    ) -> tuple[QuerySet[Message], bool]:
        """Each question is one an index can answer."""
        if term := search_term.strip():
            queryset = queryset.filter(_meaning(term))
        return queryset, False


def _meaning(term: str) -> Q:
    try:
        return Q(uid=uuid.UUID(term))
    except ValueError:
        pass
    if term.startswith("<") and term.endswith(">"):
        return Q(message_id=term)
    return Q(message_id=f"<{term}>") | Q(to_address__startswith=normal_email(term))
