"""API keys of all users, and the service accounts some of them belong to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.admin import may_see
from lib.admin.changelist import time_column
from lib.admin.lists import (
    GrowingTableAdmin,
    ReadOnlyAdmin,
    TableFilter,
    actor_name,
    chip,
    column,
    object_link,
)
from lib.admin.verbs import Verb, has_fresh_proof, render_page
from lib.errors import ProductError
from users.admin.audit import PEOPLE_FOUND
from users.admin.filters import found_people
from users.models import ApiKey, ServiceAccount, User
from users.services import api_keys, key_scopes

DAYS = (7, 30, 90, 365)


class KeyForm(forms.Form):
    use_required_attribute = False
    name = forms.CharField(
        max_length=100,
        label=_("Name"),
        help_text=_("What uses it: “deploy job”."),
        widget=forms.TextInput({"class": "vTextField", "autofocus": True, "autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(label=_("What it may do"), widget=forms.CheckboxSelectMultiple)
    days = forms.TypedChoiceField(
        label=_("Ends after"),
        choices=[*((str(days), _("%(days)d days") % {"days": days}) for days in DAYS), ("", _("never"))],
        initial=str(api_keys.DAYS),
        coerce=int,
        empty_value=None,
        required=False,
    )
    networks = forms.CharField(
        required=False,
        label=_("Networks"),
        help_text=_("One per line, as in 192.0.2.0/24; calls from elsewhere are refused. Empty: from anywhere."),
        widget=forms.Textarea({"class": "vLargeTextField", "rows": 2, "spellcheck": "false"}),
    )

    def __init__(self, data: Any, *, owner: User) -> None:
        super().__init__(data)
        scopes = key_scopes.offered(owner)
        choices = [(name, f"{name}: {key_scopes.SCOPES[name].label}") for name in scopes]
        cast(forms.MultipleChoiceField, self.fields["scopes"]).choices = choices

    def given(self) -> dict[str, Any]:
        """The arguments of `api_keys.create`."""
        given = dict(self.cleaned_data)
        days = given.pop("days")
        given["expires_at"] = timezone.now() + timedelta(days=days) if days else None
        return {**given, "networks": given["networks"].split(), "lasts_for_ever": not days}


class RotateForm(forms.Form):
    use_required_attribute = False
    overlap_hours = forms.IntegerField(
        label=_("Hours the old key goes on"),
        min_value=0,
        max_value=api_keys.MOST_OVERLAP_HOURS,
        initial=api_keys.OVERLAP_HOURS,
    )


class LiveFilter(TableFilter):
    title = _("state")
    parameter_name = "live"
    options = {
        "1": (_("In use"), lambda keys: keys.live(timezone.now())),
        "0": (_("Ended"), lambda keys: keys.filter(Q(revoked_at__isnull=False) | Q(expires_at__lte=timezone.now()))),
    }


@admin.register(ApiKey)
class ApiKeyAdmin(GrowingTableAdmin):
    """Staff see and end all keys; they make their own here, and superusers those of service accounts."""

    list_display = ("name", "state", "verb_buttons", "whose", "begins_with", "used", "ends", "made")
    list_filter = (LiveFilter,)
    list_select_related = ("user",)
    ordering = ("-created_at",)
    search_fields = ("user__email",)
    search_help_text = _("Any part of its owner's address or name, or the first characters of a key.")
    fields = readonly_fields = (
        *("name", "state", "whose", "begins_with", "given", "networks", "made", "made_by"),
        *("ends", "used", "last_used_ip", "revoked_at"),
    )
    verbs = (
        Verb(
            name="revoke",
            label=_("Revoke"),
            permission="users.revoke_apikey",
            run=api_keys.revoke,
            done=_("revoked"),
            already=_("it had ended already"),
            explain=lambda key: _("Programs that use it are refused from now on; this is for good."),
            in_row=True,
            destroys=True,
            applies=lambda key: key.is_live(timezone.now()),
        ),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_verb_permission(self, request: HttpRequest, verb: Verb, obj: ApiKey | None = None) -> bool:
        # All staff have keys of their own; whose it is, the service asks again for each of a selection.
        if obj is None or obj.user_id == request.user.pk:
            return self.has_view_permission(request)
        return super().has_verb_permission(request, verb) and cast(User, request.user).reaches(obj.user)

    def bounded(self, queryset: QuerySet[ApiKey], filters: dict[str, list[str]]) -> QuerySet[ApiKey]:
        return queryset  # of keys there are as many as people have made

    def search_query(self, term: str, request: HttpRequest) -> Q:
        if term.startswith(api_keys.PREFIX):
            return Q(prefix=term[:12])
        return Q(user__in=found_people(request, term, PEOPLE_FOUND))

    @admin.display(description=_("state"))
    def state(self, key: ApiKey) -> str:
        if key.revoked_at:
            return chip("off", _("revoked"))
        return chip("active", _("in use")) if key.is_live(timezone.now()) else chip("waiting", _("expired"))

    whose = column(_("whose"), lambda key: object_link(User, key.user_id, key.user.email))
    begins_with = column(_("begins with"), lambda key: f"{key.prefix}…")
    given = column(_("scopes"), lambda key: ", ".join(key.scopes.split()))
    made_by = column(_("created by"), lambda key: actor_name(key.created_by))
    used = time_column("last_used_at", _("last used"))
    ends = time_column("expires_at", _("expires"))
    made = time_column("created_at", _("created"))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.rotate_view)
        return [path("<uuid:key_id>/rotate/", view, name="users_apikey_rotate"), *super().get_urls()]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        """A key of one's own; with `?account=` one of that service account."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        owner = cast(User, request.user)
        account = None
        if name := request.GET.get("account"):
            account = ServiceAccount.objects.select_related("user").filter(name=name).first()
            if account is None or not owner.is_superuser:
                raise PermissionDenied
            owner = account.user
        form = KeyForm(request.POST if request.method == "POST" else None, owner=owner)
        if form.is_valid() and has_fresh_proof(self.admin_site, request, form):
            try:
                key, secret = api_keys.create(owner, actor=Actor.of(request, "admin"), **form.given())
            except ProductError as error:
                form.add_error(None, error.message)
            else:
                return self._secret_page(request, key, secret)
        title = _("Add API key of %(name)s") % {"name": account.name} if account else _("Add API key of yours")
        return render_page(self, request, "admin/create_page.html", title=title, form=form)

    def rotate_view(self, request: HttpRequest, key_id: Any) -> HttpResponse:
        key = ApiKey.objects.select_related("user").filter(pk=key_id).first()
        owner = key and key.user
        if key is None or not (owner == request.user or self._manages(request, cast(User, owner))):
            raise PermissionDenied
        form = RotateForm(request.POST if request.method == "POST" else None)
        if form.is_valid() and has_fresh_proof(self.admin_site, request, form):
            try:
                made, secret = api_keys.rotate(key, actor=Actor.of(request, "admin"), **form.cleaned_data)
            except ProductError as error:
                form.add_error(None, error.message)
            else:
                return self._secret_page(request, made, secret)
        title = _("Rotate %(name)s") % {"name": key}
        return render_page(self, request, "admin/create_page.html", title=title, form=form, button=_("Rotate"))

    @staticmethod
    def _manages(request: HttpRequest, owner: User) -> bool:
        return cast(User, request.user).is_superuser and owner.is_service_account

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **more: Any) -> Any:
        key: Any = more.get("obj")
        is_live = key is not None and key.is_live(timezone.now())
        if is_live and (key.user_id == request.user.pk or self._manages(request, key.user)):
            context["rotate_url"] = self.page_url("rotate", key.pk)
        return super().render_change_form(request, context, *args, **more)

    change_form_template = "admin/users/apikey/change_form.html"

    def _secret_page(self, request: HttpRequest, key: ApiKey, secret: str) -> HttpResponse:
        # Shown at once: a redirect would have to keep the secret somewhere. No page of the admin is cached.
        template = "admin/users/apikey/secret.html"
        return render_page(self, request, template, title=str(key), key=key, secret=secret)


class ServiceAccountForm(forms.Form):
    use_required_attribute = False
    name = forms.SlugField(
        max_length=63,
        label=_("Name"),
        help_text=_("Lower-case letters, digits and hyphens: “deploy”, “nightly-report”."),
        widget=forms.TextInput({"class": "vTextField", "autofocus": True, "autocomplete": "off"}),
    )
    description = forms.CharField(
        max_length=200,
        required=False,
        label=_("Description"),
        help_text=_("What it is for."),
        widget=forms.TextInput({"class": "vTextField"}),
    )
    groups = forms.ModelMultipleChoiceField(
        queryset=Group.objects.order_by("name"),
        required=False,
        label=_("Groups"),
        help_text=_("Its keys may do at most what these may."),
        widget=forms.CheckboxSelectMultiple,
    )


@admin.register(ServiceAccount)
class ServiceAccountAdmin(ReadOnlyAdmin):
    list_display = ("name", "state", "description", "member_of", "created_at")
    list_select_related = ("user",)
    search_fields = ("name", "description")
    ordering = ("name",)
    fields = readonly_fields = ("name", "state", "description", "account", "member_of", "keys", "created_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [name for name in self.fields if name != "keys" or may_see(request.user, ApiKey)]

    @admin.display(description=_("state"))
    def state(self, account: ServiceAccount) -> str:
        return chip("active", _("active")) if account.user.is_active else chip("staff", _("deactivated"))

    def prepare_rows(self, request: HttpRequest, rows: list[Any]) -> None:
        users = User.objects.prefetch_related("groups").in_bulk([row.pk for row in rows])
        for row in rows:
            row.user = users[row.pk]

    account = column(_("account"), lambda account: object_link(User, account.pk, account.user.email))
    member_of = column(_("groups"), lambda row: ", ".join(group.name for group in row.user.groups.all()) or _("none"))
    keys = column(_("API keys"), lambda row: ", ".join(str(key) for key in api_keys.own(row.user)) or _("none in use"))
    change_form_template = "admin/users/serviceaccount/change_form.html"

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ServiceAccountForm(request.POST if request.method == "POST" else None)
        if form.is_valid() and has_fresh_proof(self.admin_site, request, form):
            try:
                account = api_keys.create_service_account(**form.cleaned_data, actor=Actor.of(request, "admin"))
            except ProductError as error:
                form.add_error(None, error.message)
            else:
                return HttpResponseRedirect(self.page_url("change", account.pk))
        title = _("Add service account")
        return render_page(self, request, "admin/create_page.html", title=title, form=form)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **more: Any) -> Any:
        if (account := more.get("obj")) is not None and self.has_add_permission(request):
            context["add_key_url"] = f"{reverse('admin:users_apikey_add')}?account={account.name}"
        return super().render_change_form(request, context, *args, **more)
