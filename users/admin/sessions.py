"""Sign-ins that last, of everybody: to be looked at, and ended one by one."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.addresses import normal_email
from lib.admin.filters import TableFilter
from lib.admin.lists import WINDOW, GrowingTableAdmin, chip, local_time, object_link
from lib.admin.verbs import FROM, Verb
from users import services
from users.admin.common import SECONDS, reader, refuse_out_of_reach
from users.models import User, UserSession
from users.models.sessions import idle_since

#: Where the button stood when it was pressed on the page of the person.
FROM_PERSON = "person"


def _end(session: UserSession, /, *, request: HttpRequest, reason: str) -> bool:
    return services.end_session(session, actor=Actor.of(request, "admin"))


def is_live(session: UserSession) -> bool:
    """The same as `LiveSessions.live`, of a row that was read already."""
    now = timezone.now()
    since = idle_since(now, session.kind)
    return session.revoked_at is None and session.expires_at > now and (since is None or session.last_seen_at > since)


END = Verb(
    name="end",
    label="End",
    permission="users.sign_out_user",
    run=_end,
    done="ended",
    already="had ended already",
    in_row=True,
    applies=is_live,
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
    search_help_text = _("A whole address of a person, or the id of a session.")
    fields = (
        *("whose", "state", "kind", "program", "user_agent", "ip", "network", "proved", "began", "seen", "proved_at"),
        *("expires_at", "revoked_at", "revoked_reason", "id"),
    )
    readonly_fields = fields

    def bounded(self, queryset: QuerySet[UserSession], filters: dict[str, list[str]]) -> QuerySet[UserSession]:
        """What has no index looks at the newest; where they begin is read from an index alone."""
        if not filters:
            return queryset
        newest = UserSession.objects.order_by("-created_at").values_list("created_at", flat=True)
        begin = newest[WINDOW : WINDOW + 1].first()
        return queryset if begin is None else queryset.filter(created_at__gte=begin)

    def search_query(self, term: str) -> Q:
        try:
            return Q(pk=uuid.UUID(term))
        except ValueError:
            return Q(user__email=normal_email(term))

    # --- Who may end it -----------------------------------------------------------------------------------------------

    def _row_button(self, request: HttpRequest, verb: Verb, obj: Any) -> str:
        return super()._row_button(request, verb, obj) if reader(request).reaches(obj.user) else ""

    def buttons_for(self, request: HttpRequest, obj: Any) -> list[dict[str, Any]]:
        return super().buttons_for(request, obj) if reader(request).reaches(obj.user) else []

    def _back_url(self, request: HttpRequest, obj: Any, *, is_gone: bool = False) -> str:
        if request.POST.get(FROM) == FROM_PERSON:
            return reverse("admin:users_user_change", args=[obj.user_id])
        return super()._back_url(request, obj, is_gone=is_gone)

    def verb_view(self, request: HttpRequest, object_id: str, *, verb: Verb) -> HttpResponse:
        if request.method == "POST" and self.may_press(request, verb):
            refuse_out_of_reach(request, getattr(self.get_object(request, object_id), "user", None))
        return super().verb_view(request, object_id, verb=verb)

    # --- Columns ------------------------------------------------------------------------------------------------------

    @admin.display(description=_("person"))
    def person(self, session: UserSession) -> str:
        return session.user.email

    @admin.display(description=_("person"))
    def whose(self, session: UserSession) -> str:
        return object_link(User, session.user_id, session.user.email)

    @admin.display(description=_("state"))
    def state(self, session: UserSession) -> str:
        if is_live(session):
            return chip("active", _("live"))
        return chip("staff", session.revoked_reason or _("expired"))

    @admin.display(description=_("program"))
    def program(self, session: UserSession) -> str:
        return session.label

    @admin.display(description=_("proved by"))
    def proved(self, session: UserSession) -> str:
        return ", ".join(session.amr)

    @admin.display(description=_("since"))
    def began(self, session: UserSession) -> str:
        return local_time(session.created_at, SECONDS)

    @admin.display(description=_("last seen"))
    def seen(self, session: UserSession) -> str:
        return local_time(session.last_seen_at, SECONDS)

    @admin.display(description=_("last proof"))
    def proved_at(self, session: UserSession) -> str:
        return local_time(session.auth_at, SECONDS)
