"""Sign-ins that last, of all users: to be looked at, and ended one by one."""

import uuid
from typing import Any, cast

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lib.admin.changelist import time_column
from lib.admin.lists import TO_THE_SECOND, WINDOW, GrowingTableAdmin, TableFilter, chip, column, local_time, object_link
from lib.admin.verbs import FROM, Verb
from users.admin.audit import PEOPLE_FOUND
from users.admin.filters import found_people
from users.models import User, UserSession
from users.services import staff

#: Where the button stood when it was pressed on the page of the person.
FROM_PERSON = "person"


END = Verb(
    name="end",
    label=_("End"),
    permission="users.sign_out_user",
    run=staff.end_session,
    done=_("ended"),
    already=_("had ended already"),
    in_row=True,
    applies=lambda session: session.is_live(timezone.now()),
)


class LiveFilter(TableFilter):
    title = _("state")
    parameter_name = "live"
    options = {
        "1": (_("Live"), lambda sessions: sessions.live(timezone.now())),
        "0": (_("Ended"), lambda sessions: sessions.ended(timezone.now())),
    }


@admin.register(UserSession)
class SessionAdmin(GrowingTableAdmin):
    verbs = (END,)
    list_display = ("person", "state", "verb_buttons", "kind", "program", "ip", "began", "seen")
    list_filter = (LiveFilter, "kind")
    list_select_related = ("user",)
    ordering = ("-created_at",)
    search_fields = ("user__email",)
    search_help_text = _("Any part of a person's address or name, or the id of a session.")
    fields = (
        *("whose", "state", "kind", "program", "agent", "ip", "network", "proved", "created_at"),
        *("last_seen_at", "proved_at", "expires_at", "revoked_at", "revoked_reason", "id"),
    )
    readonly_fields = fields

    def bounded(self, queryset: QuerySet[UserSession], filters: dict[str, list[str]]) -> QuerySet[UserSession]:
        """What has no index looks at the newest; where they begin is read from an index alone."""
        if not filters:
            return queryset
        newest = UserSession.objects.order_by("-created_at").values_list("created_at", flat=True)
        begin = newest[WINDOW : WINDOW + 1].first()
        return queryset if begin is None else queryset.filter(created_at__gte=begin)

    def search_query(self, term: str, request: HttpRequest) -> Q:
        try:
            return Q(pk=uuid.UUID(term))
        except ValueError:
            return Q(user__in=found_people(request, term, PEOPLE_FOUND))

    def has_verb_permission(self, request: HttpRequest, verb: Verb, obj: UserSession | None = None) -> bool:
        return super().has_verb_permission(request, verb) and (
            obj is None or cast(User, request.user).reaches(obj.user)
        )

    def back_url(self, request: HttpRequest, obj: Any, *, is_gone: bool = False) -> str:
        if request.POST.get(FROM) == FROM_PERSON:
            return reverse("admin:users_user_change", args=[obj.user_id])
        return super().back_url(request, obj, is_gone=is_gone)

    def row_name(self, obj: UserSession) -> str:
        return obj.user.email

    person = column(_("person"), lambda session: session.user.email)
    whose = column(_("person"), lambda session: object_link(User, session.user_id, session.user.email))

    @admin.display(description=_("state"))
    def state(self, session: UserSession) -> str:
        if session.is_live(timezone.now()):
            return chip("active", _("live"))
        return chip("staff", session.revoked_reason or _("expired"))

    program = column(_("program"), lambda session: session.label)
    agent = column(_("user agent"), lambda session: session.user_agent)
    proved = column(_("proved by"), lambda session: ", ".join(session.amr))
    began = time_column("created_at", _("since"))
    seen = time_column("last_seen_at", _("last seen"))
    proved_at = column(_("last proof"), lambda session: local_time(session.auth_at, TO_THE_SECOND))
