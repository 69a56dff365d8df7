"""What staff see of people, and the buttons they press."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from lib.admin import Verb, VerbAdmin, staff
from users import services
from users.models import User, UserSession
from users.services import Actor, limiter

if TYPE_CHECKING:
    UserModelForm = forms.ModelForm[User]
    Inline = admin.TabularInline[UserSession, User]
else:
    UserModelForm = forms.ModelForm
    Inline = admin.TabularInline


def _actor(request: HttpRequest) -> Actor:
    return Actor.staff(cast(User, staff(request)))


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
    return f"{ended} sessions ended" if ended else False


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
        return [("verification", _("verification")), ("verification-7", _("verification for over 7 days"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        if self.value() == "verification":
            return queryset.filter(email_verified_at=None)
        if self.value() == "verification-7":
            return queryset.filter(email_verified_at=None, created_at__lt=timezone.now() - timedelta(days=7))
        return queryset


class AddUserForm(UserModelForm):
    """An account without a password: its owner sets one by the reset link."""

    class Meta:
        model = User
        fields = ("email", "first_name", "last_name")


class SessionInline(Inline):
    model = UserSession
    verbose_name_plural = _("live sessions")
    fields = readonly_fields = ("kind", "label", "ip", "created_at", "last_seen_at", "expires_at")
    can_delete = False
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[UserSession]:
        return (
            super().get_queryset(request).filter(revoked_at=None, expires_at__gt=timezone.now()).order_by("-created_at")
        )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(User)
class UserAdmin(VerbAdmin):
    """`is_active`, verification and the password have verbs, so the form only shows them."""

    verbs = VERBS
    list_display = ("email", "full_name", "state", "is_staff", "last_login", "created_at", "verb_buttons")
    list_filter = ("is_active", WaitingFilter, "is_staff", "is_superuser", "groups")
    search_fields = ("email",)
    search_help_text = _("Start of an address or of a name")
    ordering = ("-created_at",)
    filter_horizontal = ("groups", "user_permissions")
    inlines = (SessionInline,)
    readonly_fields = (
        "email",
        "state",
        "password_state",
        "email_verified_at",
        "deactivated_at",
        "deactivated_reason",
        "last_login",
        "created_at",
        "created_by",
        "updated_at",
        "updated_by",
    )
    fieldsets = (
        (None, {"fields": ("email", "first_name", "last_name", "state", "password_state")}),
        (_("Staff"), {"fields": ("is_staff", "is_superuser", "groups", "user_permissions"), "classes": ("collapse",)}),
        (
            _("History"),
            {
                "fields": (
                    "email_verified_at",
                    "last_login",
                    "deactivated_at",
                    "deactivated_reason",
                    ("created_at", "created_by"),
                    ("updated_at", "updated_by"),
                )
            },
        ),
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
        return queryset.filter(found), False

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        page = super().get_changelist_instance(request)
        paused = limiter.paused([user.email for user in page.result_list])
        for user in page.result_list:
            user.is_paused = user.email in paused
        return page

    @admin.display(description=_("name"))
    def full_name(self, user: User) -> str:
        return user.get_full_name()

    @admin.display(description=_("state"))
    def state(self, user: User) -> str:
        chips = [("active", _("active")) if user.is_active else ("off", _("deactivated"))]
        if not user.is_verified:
            chips.append(("waiting", _("unverified")))
        if _is_paused(user):
            chips.append(("paused", _("paused")))
        return format_html_join(" ", '<span class="chip chip-{}">{}</span>', chips)

    @admin.display(description=_("password"))
    def password_state(self, user: User) -> str:
        """Never the hash: how it is kept, and since when."""
        if not user.has_usable_password():
            return str(_("none; a reset link sets one"))
        since = f", {user.password_changed_at:%Y-%m-%d}" if user.password_changed_at else ""
        return f"{user.password.split('$', 1)[0]}{since}"

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = AddUserForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fieldsets if obj else ((None, {"fields": ("email", "first_name", "last_name")}),)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ()
        staff_fields = () if request.user.is_superuser else ("is_staff", "is_superuser", "groups", "user_permissions")
        return (*self.readonly_fields, *staff_fields)

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj else ()

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        by = _actor(request)
        if not change:
            created = services.create(email=obj.email, first_name=obj.first_name, last_name=obj.last_name, by=by)
            obj.pk, obj._state.adding = created.pk, False
            return
        wanted = {
            name: form.cleaned_data[name] for name in form.changed_data if name not in {"groups", "user_permissions"}
        }
        services.edit(obj, **wanted, by=by)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Deactivation ends access; history goes on naming who it was.
        return False
