"""Clients from outside: their tokens, whose secret is shown once, on one page; and what they report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from feature_flags.admin.forms import read_names
from feature_flags.flag_document import InvalidFlag
from feature_flags.models import FlagSeen, FlagToken, FlagUsage, UnknownFlag
from feature_flags.services import tokens
from lib.actors import Actor
from lib.admin import because
from lib.admin.fields import UtcDateTimeField, reason_field
from lib.admin.lists import GrowingTableAdmin, ReadOnlyAdmin, TableFilter, chip, column
from lib.admin.verbs import Verb, has_fresh_proof, render_page

MANAGE = "feature_flags.manage_flagtoken"
#: Of how many flags, and of how many days, a search shows the use.
NAMES_FOUND, DAYS_FOUND = 50, 7


class TokenForm(forms.Form):
    use_required_attribute = False
    name = forms.CharField(
        max_length=100,
        label=_("Name"),
        help_text=_("Who uses it: “shop, production”."),
        widget=forms.TextInput({"class": "vTextField", "autofocus": True, "autocomplete": "off"}),
    )
    kind = forms.ChoiceField(
        choices=FlagToken.Kind.choices,
        label=_("Kind"),
        help_text=_("Server: every flag with its rules. Frontend: answers for one context, exposed flags only."),
    )
    allowed_origins = forms.CharField(
        required=False,
        label=_("Allowed origins"),
        help_text=_("One per line, as in https://app.example.org; browsers elsewhere are refused. Empty allows any."),
        widget=forms.Textarea({"class": "vLargeTextField", "rows": 3, "spellcheck": "false"}),
    )
    expires_at = UtcDateTimeField(
        required=False,
        label=_("Expires (UTC)"),
        help_text=_("Empty: when it is revoked."),
        widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    reason = reason_field(required=False, help_text="")

    def clean_allowed_origins(self) -> list[str]:
        return read_names(self.cleaned_data["allowed_origins"])


def _about(token: FlagToken) -> dict[str, Any]:
    return {"name": token.name, "kind": str(token.kind)}


@admin.register(FlagToken)
class FlagTokenAdmin(ReadOnlyAdmin):
    list_display = ("name", "state", "kind", "begins_with", "verb_buttons", "last_used_on", "expires_at", "created_at")
    list_filter = ("kind", ("revoked_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "prefix")
    ordering = ("name", "id")
    fields = (
        "name",
        "state",
        "kind",
        "begins_with",
        "origins",
        "expires_at",
        "last_used_on",
        "created_at",
        "revoked_at",
    )
    verbs = (
        Verb(
            name="revoke",
            label=_("Revoke"),
            permission=MANAGE,
            run=tokens.revoke_token,
            sensitive=True,
            audit_event="flag_token.revoked",
            audit_details=_about,
            done=_("revoked"),
            already=_("revoked already"),
            asks_reason=True,
            reason_required=False,
            explain=lambda token: _("Clients that use it are refused from now on; this is for good."),
            in_row=True,
            destroys=True,
            applies=lambda token: token.revoked_at is None,
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or self.has_add_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(MANAGE)

    @admin.display(description=_("state"))
    def state(self, token: FlagToken) -> str:
        if token.revoked_at:
            return chip("off", _("revoked"))
        if token.expires_at and token.expires_at <= timezone.now():
            return chip("waiting", _("expired"))
        return chip("active", _("in use"))

    begins_with = column(_("begins with"), lambda token: f"{token.prefix}…")
    origins = column(_("allowed origins"), lambda token: ", ".join(token.allowed_origins) or str(_("any")))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = TokenForm(request.POST if request.method == "POST" else None)
        if form.is_valid() and has_fresh_proof(self.admin_site, request, form):
            given = dict(form.cleaned_data)
            reason = given.pop("reason")
            try:
                with transaction.atomic():
                    actor = Actor.of(request, "admin")
                    token, secret = tokens.create_token(given.pop("name"), **given, actor=actor, reason=reason)
                    self.log_addition(request, token, f"Created, {token.kind}." + because(reason))
                    actor.note("flag_token.created", **_about(token), reason=reason)
            except InvalidFlag as error:
                for problem in error.problems:
                    field = str(problem.place[0]) if problem.place else ""
                    form.add_error(field if field in form.fields else None, problem.message)
            else:
                # Shown at once: a redirect would have to keep the secret somewhere. No page of the admin is cached.
                template = "admin/feature_flags/flagtoken/secret.html"
                return render_page(self, request, template, title=str(token), token=token, secret=secret)
        template = "admin/create_page.html"
        return render_page(self, request, template, title=_("Add token"), form=form)


# --- What they report -------------------------------------------------------------------------------------------------


def _since(hours: int) -> Callable[[Any], QuerySet[FlagUsage]]:
    return lambda usage: usage.filter(hour__gte=timezone.now() - timedelta(hours=hours))


class RecentFilter(TableFilter):
    title = _("time")
    parameter_name = "hours"
    options = {"24": (_("Last 24 hours"), _since(24)), "168": (_("Last 7 days"), _since(168))}


class VariantFilter(TableFilter):
    """A row per variant stands beside the row with the total: usually only the total is meant."""

    title = _("rows")
    parameter_name = "rows"
    options = {
        "totals": (_("Totals"), lambda usage: usage.filter(variant="")),
        "variants": (_("Variants"), lambda usage: usage.exclude(variant="")),
    }


@admin.register(FlagUsage)
class FlagUsageAdmin(GrowingTableAdmin):
    list_display = ("codename", "hour", "app_name", "variant", "yes", "no")
    list_filter = (RecentFilter, VariantFilter)
    search_fields = ("codename",)
    search_help_text = _("A part of the flag's codename; its last seven days.")
    ordering: ClassVar[Any] = ("-hour", "codename", "app_name", "variant")

    def bounded(self, queryset: QuerySet[FlagUsage], filters: dict[str, list[str]]) -> QuerySet[FlagUsage]:
        return queryset  # in the order of the index by hour

    def search_query(self, term: str, request: HttpRequest) -> Q:
        names = FlagSeen.objects.filter(codename__icontains=term).values_list("codename", flat=True)
        lately = timezone.now() - timedelta(days=DAYS_FOUND)
        return Q(codename__in=list(names[:NAMES_FOUND]), hour__gte=lately)


@admin.register(UnknownFlag)
class UnknownFlagAdmin(ReadOnlyAdmin):
    list_display = ("codename", "app_name", "count", "last_seen_at")
    search_fields = ("codename", "app_name")
    search_help_text = _("A part of the name, or of the application's name.")
    ordering = ("-last_seen_at",)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = list(super().get_list_display(request))
        if not request.user.has_perm("feature_flags.add_featureflag"):
            return columns
        return [*columns, _create_from_here]


@admin.display(description=_("flag"))
def _create_from_here(unknown: UnknownFlag) -> str:
    url = f"{reverse('admin:feature_flags_featureflag_add')}?{urlencode({'codename': unknown.codename})}"
    return format_html('<a href="{}" aria-label="{}: {}">{}</a>', url, _("Create it"), unknown.codename, _("Create it"))


_create_from_here.is_button = True  # type: ignore[attr-defined]
