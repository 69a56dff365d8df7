"""The list of users and the page of one, whose form has names and rights: all else has verbs. And groups."""

import json
from datetime import datetime
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.forms import CheckboxSelectMultiple
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from feature_flags.admin.who import evaluations
from lib.actors import Actor
from lib.addresses import valid_email
from lib.admin.changelist import time_cell, time_column
from lib.admin.lists import (
    CappedPaginator,
    actor_name,
    actor_names,
    chips,
    column,
    local_time,
    one_line,
)
from lib.admin.verbs import Verb, VerbAdmin
from lib.private import missing_object
from notifications.admin.overview import messages_of
from users.admin import event_words
from users.admin.audit import actor_of, details_line, outcome_chip
from users.admin.filters import CareFilter, GroupFilter, WaitingFilter, found_people
from users.admin.sessions import END, FROM_PERSON
from users.admin.verbs import VERBS, has_factor, is_paused
from users.admin.why import questions, why_page
from users.models import AuditEvent, MfaDevice, User
from users.services import rate_limits, staff

SESSIONS_SHOWN = EVENTS_SHOWN = FLAGS_SHOWN = 20
#: How many people a search shows.
FOUND = 200
_STAFF_FIELDS = ("is_staff", "is_superuser", "groups", "user_permissions")
#: What the addresses of the list's filters may ask.
_LOOKUPS = frozenset(
    {
        *("is_active__exact", "is_staff__exact", "is_superuser__exact", GroupFilter.parameter_name, "groups__isnull"),
        *(CareFilter.parameter_name, WaitingFilter.parameter_name),
    }
)


class AddUserForm(forms.ModelForm):  # type: ignore[type-arg]  # Django has it without a type
    """An account without a password: its owner sets one by the reset link."""

    class Meta:
        model = User
        fields = ("email", "first_name", "last_name")
        help_texts = {
            "email": _(
                "The account starts active, unverified and without a password, and nothing is mailed yet. "
                "The next page has the buttons to mark the address verified and to mail a link that sets a password."
            )
        }

    def clean_email(self) -> str:
        try:
            return valid_email(self.cleaned_data["email"])
        except ValueError:
            # Django's validator lets letters pass whose lower case it refuses, such as İ.
            raise ValidationError(_("Enter a valid email address."), code="invalid") from None


class Boxes(CheckboxSelectMultiple):
    """Django's in a third of the characters and without its templates: there are a hundred permissions."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        chosen = set(map(str, value or ()))
        boxes = (
            (name, key, SafeString(" checked") if str(key) in chosen else "", label) for key, label in self.choices
        )
        box = '<div><label><input type="checkbox" name="{}" value="{}"{}> {}</label></div>'
        return format_html('<div id="{}">{}</div>', (attrs or {}).get("id", ""), format_html_join("\n", box, boxes))


class _ProofNeeded(Exception):
    """Rights are given only by users who have just proved who they are."""


@admin.register(User)
class UserAdmin(VerbAdmin):
    """`is_active`, verification and the password have verbs, so the form only shows them."""

    verbs = VERBS
    change_form_template = "admin/users/user/change_form.html"
    list_display = ("email", "full_name", "state", "verb_buttons", "signed_in_on", "created_on")
    more_columns = ("email_verified_at", "updated_at", "deactivated_reason", "delete_after_at")
    list_filter = ("is_active", CareFilter, WaitingFilter, "is_staff", "is_superuser", GroupFilter)
    search_fields = ("email",)
    search_help_text = _("Any part of an address or a name; accents and letter case make no difference.")
    paginator = CappedPaginator
    show_facets = admin.ShowFacets.NEVER  # each count would read the table once more
    ordering = ("-created_at",)
    empty_value_display = ""
    readonly_fields = (
        *("email", "password_state", "verified", "deactivated_at", "deactivated_reason", "last_sign_in"),
        *("created", "updated"),
    )

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what the filters beside the list ask: `password__startswith` would spell a hash out."""
        return lookup in _LOOKUPS

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """Of everybody only by what has an index; of what a search found by any column."""
        return super().get_sortable_by(request) if request.GET.get("q") else ("email", "created_on")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[User], search_term: str
    ) -> tuple[QuerySet[User], bool]:
        if not search_term.strip():
            return queryset, False
        # Found first: among millions PostgreSQL would else read them in the list's order.
        return queryset.filter(pk__in=found_people(request, search_term, FOUND)), False

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        devices = MfaDevice.objects.filter(user=OuterRef("pk"), confirmed_at__isnull=False).order_by()
        counted = devices.values("user").annotate(n=Count("pk")).values("n")
        found: QuerySet[User] = super().get_queryset(request)
        return found.annotate(factor_count=Coalesce(Subquery(counted, output_field=IntegerField()), 0))

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return super().formfield_for_manytomany(db_field, request, **_boxes(db_field, kwargs))

    def formfield_for_dbfield(self, *args: Any, **more: Any) -> Any:
        field = super().formfield_for_dbfield(*args, **more)
        if field is not None and isinstance(field.widget, RelatedFieldWidgetWrapper):
            # Its pop-up needs 290 kB of scripts; groups have a page.
            field.widget.can_add_related = False
        return field

    def prepare_rows(self, request: HttpRequest, rows: list[Any]) -> None:
        paused = rate_limits.paused([user.email for user in rows])
        for user in rows:
            user.is_paused = user.email in paused

    def has_verb_permission(self, request: HttpRequest, verb: Verb, obj: User | None = None) -> bool:
        return super().has_verb_permission(request, verb) and (obj is None or cast(User, request.user).reaches(obj))

    def buttons_for(self, request: HttpRequest, obj: Any) -> list[dict[str, Any]]:
        # Users cannot do these to themselves: the buttons would only refuse.
        own = {"deactivate", "remove-factors"} if obj.pk == request.user.pk else set()
        return [button for button in super().buttons_for(request, obj) if button["verb"].name not in own]

    full_name = column(_("name"), lambda user: one_line(user.get_full_name()), empty_value="")

    @admin.display(description=_("state"))
    def state(self, user: User) -> str:
        marks = [("active", _("active")) if user.is_active else ("staff", _("deactivated"))]
        if user.delete_after_at is not None:
            marks.append(("off", _("deletion pending")))
        if not user.is_verified:
            marks.append(("waiting", _("unverified")))
        if user.must_reset:
            marks.append(("waiting", _("must reset")))
        if is_paused(user):
            marks.append(("paused", _("paused")))
        if user.is_staff:
            marks.append(("staff", _("superuser") if user.is_superuser else _("staff")))
        if count := user.factor_count:  # type: ignore[attr-defined]
            marks.append(("staff", ngettext_lazy("%d factor", "%d factors", count) % count))
        return chips(marks)

    last_sign_in = column(_("last sign-in"), lambda user: local_time(user.last_login, "DATETIME_FORMAT") or _("never"))
    signed_in_on = column(
        _("last sign-in"), lambda user: time_cell(user.last_login) or _("never"), ordering="last_login"
    )
    created_on = time_column("created_at", _("created"))
    verified = column(
        _("address verified"), lambda user: local_time(user.email_verified_at, "DATETIME_FORMAT") or _("not yet")
    )

    @admin.display(description=_("password"))
    def password_state(self, user: User) -> str:
        """Never the hash: how it is kept, and since when."""
        if not user.has_usable_password():
            return str(_("None yet; a reset link sets one."))
        kept = user.password.partition("$")[0]
        if user.password_changed_at is None:
            return kept
        return f"{kept}, {_('set')} {local_time(user.password_changed_at, 'DATE_FORMAT')}"

    created = column(_("created"), lambda user: _when_and_who(user.created_at, user.created_by))
    updated = column(_("updated"), lambda user: _when_and_who(user.updated_at, user.updated_by))

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = AddUserForm
        else:
            kwargs["help_texts"] = {
                "email": _("Signs in with it, in any letter case. An account keeps its address."),
                "password_state": _("Staff never choose or see a password: send a reset."),
            }
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ((None, {"fields": ("email", "first_name", "last_name")}),)
        deactivation = () if obj.is_active else ("deactivated_at", "deactivated_reason")
        # A hundred boxes that only staff need.
        rights = _STAFF_FIELDS if obj.is_staff else _STAFF_FIELDS[:-1]
        return (
            (None, {"fields": ("email", "first_name", "last_name", "password_state")}),
            (_("History"), {"fields": ("created", "updated", "verified", "last_sign_in", *deactivation)}),
            (_("Staff"), {"fields": rights, "classes": () if obj.is_staff else ("collapse",)}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ()
        # Anyone who may give rights away could give them to themselves.
        return self.readonly_fields if request.user.is_superuser else (*self.readonly_fields, *_STAFF_FIELDS)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **more: Any) -> HttpResponse:
        if more.get("change"):
            context |= {"show_save_and_add_another": False, **sections(request, more["obj"])}
        return super().render_change_form(request, context, *args, **more)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        actor = Actor.of(request, "admin")
        if not change:
            created = staff.create(email=obj.email, first_name=obj.first_name, last_name=obj.last_name, actor=actor)
            # The admin goes on with the object of the form.
            obj.pk, obj._state.adding = created.pk, False
        elif form.changed_data:
            if set(form.changed_data) & set(_STAFF_FIELDS) and not self.admin_site.is_fresh(request):  # type: ignore[attr-defined]
                raise _ProofNeeded
            staff.edit(obj, **{name: form.cleaned_data[name] for name in form.changed_data}, actor=actor)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.why_view)
        return [path("<path:object_id>/why/", view, name="users_user_why"), *super().get_urls()]

    def why_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Why this person did or did not get a flag or a mail."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        user = self.get_object(request, unquote(object_id))
        return why_page(self, request, user) if user else missing_object(self, request, object_id)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, *args, **kwargs)
        except _ProofNeeded:
            site: Any = self.admin_site
            user = self.get_object(request, unquote(object_id or ""))
            page: HttpResponse = site.ask_proof(
                request,
                back_url=request.get_full_path(),
                action=f"{_('Change the rights of')} “{user}”",
                objects=[user],
            )
            return page

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Groups and permissions were written by the service, with the rest."""

    def response_add(self, request: HttpRequest, obj: User, post_url_continue: str | None = None) -> HttpResponse:
        """To the page with the buttons: a new account cannot sign in before one of them is used."""
        if "_addanother" not in request.POST and IS_POPUP_VAR not in request.POST:
            posted = request.POST.copy()
            posted["_continue"] = "1"
            request.POST = posted  # type: ignore[assignment]
        return super().response_add(request, obj, post_url_continue)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may_change = super().has_change_permission(request, obj)
        return may_change and (obj is None or cast(User, request.user).reaches(obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Deactivation ends access; history goes on naming who it was.
        return False


def _when_and_who(when: datetime, label: str) -> str:
    at = local_time(when, "DATETIME_FORMAT")
    return f"{at}, {actor_name(label)}" if label else at


# --- What the page of a person shows beside the form ------------------------------------------------------------------


def sections(request: HttpRequest, user: User) -> dict[str, Any]:
    """Each for those who may see it. Read beside the form, not as formsets of it: saving a name must not depend on
    what ended meanwhile."""
    found: dict[str, Any] = {}
    if request.user.has_perm("users.view_usersession"):
        may_end = request.user.has_perm(END.permission) and cast(User, request.user).reaches(user)
        found["live_sessions"] = user.sessions.live(timezone.now()).order_by("-last_seen_at")[:SESSIONS_SHOWN]
        found["sessions_shown"] = SESSIONS_SHOWN
        found["end"] = END if may_end else None
        found["from_person"] = FROM_PERSON
    if request.user.has_perm("users.view_mfadevice"):
        factors = user.mfa_devices.filter(confirmed_at__isnull=False).order_by("created_at")
        found["factors"] = list(factors) if has_factor(user) else []
        found["recovery_codes"] = user.recovery_codes.filter(used_at=None).count() if found["factors"] else 0
    if request.user.has_perm("users.view_auditevent"):
        rows = list(AuditEvent.objects.filter(user_id=user.pk).order_by("-id")[:EVENTS_SHOWN])
        names = actor_names({row.actor for row in rows} - {user.pk.hex})
        found["events_shown"] = EVENTS_SHOWN
        found["events"] = [
            {
                "row": row,
                "title": event_words.title(row),
                "by": actor_of(row, names),
                "result": outcome_chip(row),
                "details": details_line(row.data),
            }
            for row in rows
        ]
    found |= questions(request)
    found |= messages_of(request, user)
    if request.user.has_perm("feature_flags.view_featureflag"):
        flags = evaluations(user)
        got = [(entry, json.dumps(entry.result.value, ensure_ascii=False)) for entry in flags if entry.result.enabled]
        found |= {"flags": got[:FLAGS_SHOWN], "flags_on": len(got), "flags_total": len(flags)}
    return found


def _boxes(db_field: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Boxes to tick, which need no script."""
    if db_field.remote_field.model is Permission:
        # A permission's text names its content type: one query for all, not one for each.
        options["queryset"] = Permission.objects.select_related("content_type")
    return {**options, "widget": Boxes}


# --- Groups -----------------------------------------------------------------------------------------------------------

admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin):
    """Changing what members may do gives rights: only superusers may, with a fresh proof."""

    filter_horizontal = ()
    actions = None  # groups are deleted one by one, on their page

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest | None = None, **kwargs: Any) -> Any:
        return super().formfield_for_manytomany(db_field, request, **_boxes(db_field, kwargs))

    def _is_superuser(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    has_add_permission = has_change_permission = has_delete_permission = _is_superuser

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        proof = self._proof(request, _("Save the group") if object_id else _("Add the group"), object_id)
        return proof or super().changeform_view(request, object_id, *args, **kwargs)

    def delete_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        proof = self._proof(request, _("Delete the group"), object_id)
        return proof or super().delete_view(request, object_id, *args, **kwargs)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        staff.note_group(form.instance, actor=Actor.of(request, "admin"))

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        staff.note_group(obj, actor=Actor.of(request, "admin"), deleted=True)
        super().delete_model(request, obj)

    def _proof(self, request: HttpRequest, action: Any, object_id: str | None) -> HttpResponse | None:
        """The page that asks for a fresh proof, before a change; None where there is one."""
        site: Any = self.admin_site
        if request.method != "POST" or not request.user.is_superuser or site.is_fresh(request):
            return None
        group = self.get_object(request, unquote(object_id)) if object_id else None
        answer: HttpResponse = site.ask_proof(
            request,
            back_url=request.get_full_path(),
            action=f"{action} “{group}”" if group else str(action),
            objects=[group] if group else [],
        )
        return answer
