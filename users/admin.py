"""What staff see of people, and the buttons they press."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IS_POPUP_VAR
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import pluralize
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from feature_flags.admin.who import answers
from lib.admin import Verb, VerbAdmin, staff
from lib.text import valid_email
from notifications.admin.person import messages_of
from users import services
from users.models import User
from users.services import Actor, limiter

if TYPE_CHECKING:
    UserModelForm = forms.ModelForm[User]
else:
    UserModelForm = forms.ModelForm

SESSIONS_SHOWN, FLAGS_SHOWN = 50, 100
_STAFF_FIELDS = ("is_staff", "is_superuser", "groups", "user_permissions")


def _actor(request: HttpRequest) -> Actor:
    return Actor.staff(cast(User, staff(request)), request)


def _activate(user: User, /, *, request: HttpRequest, reason: str) -> bool:
    return services.activate(user, by=_actor(request))


def _deactivate(user: User, /, *, request: HttpRequest, reason: str) -> bool:
    return services.deactivate(user, by=_actor(request), reason=reason)


def _mark_verified(user: User, /, *, request: HttpRequest, reason: str) -> bool:
    return services.mark_verified(user, by=_actor(request), reason=reason)


def _unlock(user: User, /, *, request: HttpRequest, reason: str) -> bool:
    return services.unlock(user, by=_actor(request))


def _send_reset(user: User, /, *, request: HttpRequest, reason: str) -> bool:
    services.send_reset(user, by=_actor(request))
    return True


def _sign_out(user: User, /, *, request: HttpRequest, reason: str) -> bool | str:
    ended = services.sign_out(user, by=_actor(request))
    return f"{ended} session{pluralize(ended)} ended" if ended else False


def _moment(at: datetime | None) -> str | None:
    return date_format(timezone.localtime(at), "DATETIME_FORMAT") if at else None


def _is_paused(user: User) -> bool:
    """Known for a whole page of the list by one query, asked for alone elsewhere."""
    known = getattr(user, "is_paused", None)
    return limiter.is_paused(user.email) if known is None else bool(known)


VERBS = (
    Verb(
        name="activate",
        label="Activate",
        permission="users.activate_user",
        run=_activate,
        done="activated",
        already="active already; a pause, if there was one, is lifted",
        in_row=True,
        applies=lambda user: not user.is_active,
    ),
    Verb(
        name="unlock",
        label="Unlock",
        permission="users.activate_user",
        run=_unlock,
        done="pause lifted",
        already="not paused",
        in_row=True,
        applies=_is_paused,
    ),
    Verb(
        name="deactivate",
        label="Deactivate",
        permission="users.deactivate_user",
        run=_deactivate,
        done="deactivated and signed out",
        already="inactive already",
        asks_reason=True,
        applies=lambda user: user.is_active,
    ),
    Verb(
        name="mark-verified",
        label="Mark verified",
        permission="users.verify_user",
        run=_mark_verified,
        done="address taken as verified",
        already="verified already",
        asks_reason=True,
        applies=lambda user: not user.is_verified,
    ),
    Verb(
        name="send-reset",
        label="Send password reset",
        permission="users.send_reset_user",
        run=_send_reset,
        done="reset link on its way",
        applies=lambda user: user.is_active,
    ),
    Verb(
        name="sign-out",
        label="Sign out everywhere",
        permission="users.sign_out_user",
        run=_sign_out,
        done="signed out",
        already="not signed in anywhere",
    ),
)


class WaitingFilter(admin.SimpleListFilter):
    title = _("waiting for")
    parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("verification", _("Verification")),
            ("verification-7", _("Verification for over 7 days")),
            ("reset", _("A new password")),
            ("sign-in", _("The first sign-in")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        waiting = {
            "verification": Q(email_verified_at=None),
            "verification-7": Q(email_verified_at=None, created_at__lt=timezone.now() - timedelta(days=7)),
            "reset": Q(must_reset=True),
            "sign-in": Q(last_login=None),
        }
        return queryset.filter(waiting.get(self.value() or "", Q()))


class AddUserForm(UserModelForm):
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


@admin.register(User)
class UserAdmin(VerbAdmin):
    """`is_active`, verification and the password have verbs, so the form only shows them."""

    verbs = VERBS
    change_form_template = "admin/users/user/change_form.html"
    list_display = ("email", "full_name", "state", "verb_buttons", "signed_in_on", "created_on")
    list_filter = ("is_active", WaitingFilter, "is_staff", "is_superuser", "groups")
    search_fields = ("email",)
    search_help_text = _("The beginning of an address or of a name, in any letter case.")
    show_facets = admin.ShowFacets.NEVER  # each count would read the table once more
    ordering = ("-created_at",)
    empty_value_display = ""
    filter_horizontal = ("groups", "user_permissions")
    readonly_fields = (
        "email",
        "state",
        "password_state",
        "verified",
        "deactivated_at",
        "deactivated_reason",
        "last_sign_in",
        "created",
        "updated",
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[User], search_term: str
    ) -> tuple[QuerySet[User], bool]:
        """Prefixes: an index finds them among millions. Names are looked at only where no address is meant."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if "\x00" in term:
            return queryset.none(), False
        found = Q(email__startswith=term.lower())
        if "@" not in term:
            found |= Q(first_name__istartswith=term) | Q(last_name__istartswith=term)
            first, _space, last = term.partition(" ")
            if last := last.strip():
                found |= Q(first_name__istartswith=first, last_name__istartswith=last)
        return queryset.filter(found), False

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        page = super().get_changelist_instance(request)
        paused = limiter.paused([user.email for user in page.result_list])
        for user in page.result_list:
            user.is_paused = user.email in paused
        return page

    @admin.display(description=_("name"), empty_value="")
    def full_name(self, user: User) -> str:
        return user.get_full_name()

    @admin.display(description=_("state"))
    def state(self, user: User) -> str:
        chips = [("active", _("active")) if user.is_active else ("off", _("deactivated"))]
        if not user.is_verified:
            chips.append(("waiting", _("unverified")))
        if user.must_reset:
            chips.append(("waiting", _("must reset")))
        if _is_paused(user):
            chips.append(("paused", _("paused")))
        if user.is_staff:
            chips.append(("staff", _("superuser") if user.is_superuser else _("staff")))
        return format_html_join(" ", '<span class="chip chip-{}">{}</span>', chips)

    @admin.display(description=_("last sign-in"), empty_value="never")
    def last_sign_in(self, user: User) -> str | None:
        return _moment(user.last_login)

    @admin.display(description=_("last sign-in"), ordering="last_login", empty_value="never")
    def signed_in_on(self, user: User) -> str | None:
        return date_format(timezone.localtime(user.last_login), "DATE_FORMAT") if user.last_login else None

    @admin.display(description=_("created"), ordering="created_at")
    def created_on(self, user: User) -> str:
        return date_format(timezone.localtime(user.created_at), "DATE_FORMAT")

    @admin.display(description=_("address verified"), empty_value="not yet")
    def verified(self, user: User) -> str | None:
        return _moment(user.email_verified_at)

    @admin.display(description=_("password"))
    def password_state(self, user: User) -> str:
        """Never the hash: how it is kept, and since when."""
        if not user.has_usable_password():
            return str(_("None yet; a reset link sets one."))
        kept = user.password.partition("$")[0]
        if user.password_changed_at is None:
            return kept
        return f"{kept}, {_('set')} {date_format(timezone.localtime(user.password_changed_at), 'DATE_FORMAT')}"

    @admin.display(description=_("created"))
    def created(self, user: User) -> str:
        return _when_and_who(user.created_at, user.created_by)

    @admin.display(description=_("updated"))
    def updated(self, user: User) -> str:
        return _when_and_who(user.updated_at, user.updated_by)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = AddUserForm
        else:
            kwargs["help_texts"] = {
                "email": _("Signs in with it, in any letter case. An account keeps its address."),
                "state": _("Changed by the buttons above."),
                "password_state": _("Staff never choose or see a password: send a reset."),
            }
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ((None, {"fields": ("email", "first_name", "last_name")}),)
        deactivation = () if obj.is_active else ("deactivated_at", "deactivated_reason")
        return (
            (None, {"fields": ("email", "first_name", "last_name", "state", "password_state")}),
            (_("History"), {"fields": ("created", "updated", "verified", "last_sign_in", *deactivation)}),
            (_("Staff"), {"fields": _STAFF_FIELDS, "classes": () if obj.is_staff else ("collapse",)}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ()
        # Whoever may give rights away could give them to themselves.
        return self.readonly_fields if request.user.is_superuser else (*self.readonly_fields, *_STAFF_FIELDS)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if change:
            context["show_save_and_add_another"] = False
            # Read beside the form, not as formsets of it: saving a name must not depend on what ended meanwhile.
            if request.user.has_perm("users.view_usersession"):
                live = obj.sessions.live(timezone.now()).order_by("-last_seen_at")
                context["live_sessions"] = live[:SESSIONS_SHOWN]
            context |= messages_of(request, obj)
            if request.user.has_perm("feature_flags.view_featureflag"):
                context |= _flags_of(obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        by = _actor(request)
        if not change:
            created = services.create(email=obj.email, first_name=obj.first_name, last_name=obj.last_name, by=by)
            # The admin goes on with the object of the form.
            obj.pk, obj._state.adding = created.pk, False
        elif form.changed_data:
            relations = {"groups", "user_permissions"}
            wanted = {name: form.cleaned_data[name] for name in form.changed_data if name not in relations}
            services.edit(obj, **wanted, by=by)

    def response_add(self, request: HttpRequest, obj: User, post_url_continue: str | None = None) -> HttpResponse:
        """To the page with the buttons: without one of them nobody can sign in yet."""
        if "_addanother" not in request.POST and IS_POPUP_VAR not in request.POST:
            posted = request.POST.copy()
            posted["_continue"] = "1"
            request.POST = posted  # type: ignore[assignment]
        return super().response_add(request, obj, post_url_continue)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Deactivation ends access; history goes on naming who it was.
        return False


def _flags_of(user: User) -> dict[str, Any]:
    """The flags this person gets, and how many there are."""
    found = answers(user)
    got = [(entry, json.dumps(entry.result.value, ensure_ascii=False)) for entry in found if entry.result.enabled]
    return {"flags": got[:FLAGS_SHOWN], "flags_on": len(got), "flags_total": len(found)}


def _when_and_who(when: datetime, label: str) -> str:
    """A member of staff is kept by id and shown by address; `command:activate_user` speaks for itself."""
    moment = date_format(timezone.localtime(when), "DATETIME_FORMAT")
    with suppress(ValueError):
        label = User.objects.filter(pk=uuid.UUID(label)).values_list("email", flat=True).first() or label
    return f"{moment}, {label}" if label else moment
