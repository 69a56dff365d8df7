"""Proposals in the admin: who asks for what, through which key, and the two buttons."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.admin.changelist import time_column
from lib.admin.lists import ReadOnlyAdmin, TableFilter, actor_name, chip, column, object_link, one_line
from lib.admin.verbs import Outcome, Verb, lazy_text
from lib.text import visible
from project.agents import api, operations, words
from users.models import ApiKey, Proposal, User
from users.services import proposals

State = Proposal.State
CHIPS = {"pending": "waiting", "approved": "active", "declined": "staff", "failed": "off", "lapsed": "paused"}


def _approve(row: Any, *, actor: Actor, reason: str = "") -> Any:
    done = proposals.approve(row, actor=actor, reason=reason, run=partial(operations.approved, request=row.request))
    if done is None:
        return False
    text, response = done
    return response or lazy_text(lambda: _sentence(row, text))


def _sentence(row: Proposal, text: str) -> str:
    if row.state == State.APPROVED:
        return str(_("approved: %(text)s") % {"text": text.rstrip(".")})
    return str(_("nothing was changed: %(text)s") % {"text": text.rstrip(".")})


def _is_sensitive(row: Any) -> bool:
    operation = operations.known().get(row.operation)
    return operation is not None and operation.needed.sensitive


def _explain(row: Any) -> str:
    lines = [words.explanation(row, row.request), *words.changes(row, row.current)]
    return "; ".join(line for line in lines if line)


APPROVE = Verb(
    name="approve",
    label=_("Approve"),
    permission="users.decide_proposal",
    run=_approve,
    done=_("approved"),
    already=_("it was decided already, or has lapsed"),
    asks_reason=True,
    reason_required=False,
    explain=_explain,
    sensitive=_is_sensitive,
    in_bulk=False,
    applies=lambda row: row.is_pending(timezone.now()),
)
DECLINE = Verb(
    name="decline",
    label=_("Decline"),
    permission="users.decide_proposal",
    run=proposals.decline,
    done=_("declined"),
    already=_("it was decided already, or has lapsed"),
    asks_reason=True,
    explain=_explain,
    in_bulk=False,
    in_head=True,
    applies=lambda row: row.is_pending(timezone.now()),
)


def _in_state(state: str, rows: Any) -> Any:
    return rows.in_state(state)


class StateFilter(TableFilter):
    title = _("state")
    parameter_name = "state"
    options = {state.value: (state.label, partial(_in_state, state.value)) for state in State}


@admin.register(Proposal)
class ProposalAdmin(ReadOnlyAdmin):
    """Whose reader sees what they may do themselves."""

    verbs = (APPROVE, DECLINE)
    list_display = ("what", "state_chip", "through", "asked", "lapses")
    list_filter = (StateFilter,)
    list_select_related = ("key", "user")
    ordering = ("-created_at",)
    fields = readonly_fields = (
        *("state_chip", "why", "asked_by", "through", "differences", "request_text", "asked", "lapses"),
        *("decided", "by", "because", "came_of_it"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Proposal]:
        return super().get_queryset(request).filter(operation__in=api.decidable(request.user))  # type: ignore[arg-type]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row: Any = super().get_object(request, object_id, from_field)
        if row is not None:
            row.request, row.current = request, words.current(row, request)
            self.prepare_rows(request, [row])
        return row

    def prepare_rows(self, request: HttpRequest, rows: list[Any]) -> None:
        names = words.things(rows)
        for row in rows:
            # Its log is English.
            row.what = lazy_text(partial(words.title, row, names[row.pk]))

    def perform(self, request: HttpRequest, verb: Verb, obj: Any, given: Any) -> Outcome:
        outcome = super().perform(request, verb, obj, given)
        is_refused = obj.state in {State.FAILED, State.LAPSED}
        return replace(outcome, level=messages.ERROR) if is_refused else outcome

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Afterwards it would be compared with what it has made.
        left_out = {"differences", "lapses"} if obj and obj.decided_at else {"decided", "by", "because", "came_of_it"}
        return [name for name in self.fields if name not in left_out]

    what = column(_("what"), lambda row: one_line(str(row.what)))
    state_chip = column(_("state"), lambda row: chip(CHIPS[row.state_now], State(row.state_now).label))
    asked_by = column(_("whose key"), lambda row: object_link(User, row.user_id, row.user.email))
    why = column(_("why, in the agent's words"), lambda row: visible(row.reason))
    asked = time_column("created_at", _("asked"))
    lapses = time_column("lapses_at", _("lapses"))
    decided = time_column("decided_at", _("decided"))
    by = column(_("decided by"), lambda row: actor_name(row.decided_by))
    because = column(_("reason"), lambda row: row.decision_reason)
    came_of_it = column(_("what came of it"), lambda row: row.outcome)
    request_text = column(
        _("request"), lambda row: words.held(row) or format_html('<pre class="request">{}</pre>', words.asked(row))
    )

    @admin.display(description=_("through the API key"))
    def through(self, row: Proposal) -> str:
        if row.key is None:
            return f"{row.key_prefix}…"
        return object_link(ApiKey, row.key.pk, str(row.key))

    @admin.display(description=_("what would change"))
    def differences(self, row: Any) -> str:
        lines = words.changes(row, row.current)
        if sentence := words.explanation(row, row.request):
            lines = [sentence, *lines]
        return format_html_join("", "<div>{}</div>", ((line,) for line in lines))
