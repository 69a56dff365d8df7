"""The page of a flag: everything it is made of, one save, one revision; and the changes that are planned for it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from feature_flags import declarations, descriptions, flag_document, inspection
from feature_flags.admin import reach
from feature_flags.admin.document_page import (
    FRAGMENT,
    PREVIEW,
    DocumentAdmin,
    DocumentPage,
)
from feature_flags.admin.forms import FLAG, NEW_FLAG, read_values
from feature_flags.admin.nested_forms import Node, Raw, draw, read
from feature_flags.flag_document import Document, InvalidFlag
from feature_flags.models import FeatureFlag, FlagSchedule
from feature_flags.runtime import store
from feature_flags.services import editing, schedules
from lib.actors import Actor
from lib.admin import because
from lib.admin.fields import UtcDateTimeField, reason_field
from lib.admin.lists import chips
from lib.admin.verbs import in_english
from lib.errors import ProductError

#: More than this at once is worth a second look.
RISKY_POINTS = 50
PARENTS_OFFERED = 200


#: Adds a rule for a share of one domain, the one most often wanted.
DOMAIN_RULE = "domain rules"


def typed_rule(row: Node) -> str:
    """What a rule says as it stands in its fields, whether or not it can be saved."""

    def values(node: Node) -> dict[str, Any]:
        return {name: node.form[name].value() for name in node.form.fields}

    constraints = []
    for part in row.lists["constraints"]:
        given = values(part)
        many = read_values(str(given["values"] or "")) or ["…"]
        constraints.append({**given, "values": many, "value": many[0]})
    return descriptions.rule_sentence({**values(row), "constraints": constraints, "variants": row.lists["variants"]})


class FlagPage(DocumentPage):
    shape, new_shape = FLAG, NEW_FLAG
    template = "admin/feature_flags/featureflag/change_form.html"
    name, unknown = "codename", editing.unknown

    @property
    def suggested_stickiness(self) -> str:
        """People who register have no id yet: without a field of their own they are placed anew at each attempt."""
        codename = self.obj.codename if self.obj else self.data.get("codename", "")
        return "email" if "REGISTRATION" in codename.upper() else "default"

    def new_row(self) -> Mapping[str, Any]:
        return {"stickiness": self.suggested_stickiness}

    def press(self, raw: Raw, button: str) -> str:
        if button != DOMAIN_RULE:
            return super().press(raw, button)
        constraint = {"field": "emailDomain", "operator": "IN", "values": []}
        rule = {**self.new_row(), "rollout_percent": 10, "constraints": [constraint], "variants": []}
        raw.lists["rules"].append(draw(self.used_shape.lists["rules"], rule))
        return f"rules-{len(raw.lists['rules']) - 1}-constraints-0-values"

    def respond(self) -> HttpResponse:
        if self.obj is not None and self.may_save and PREVIEW in self.data:
            return self.preview(self.node(read(self.used_shape, self.data), is_sent=True))
        return super().respond()

    def preview(self, node: Node) -> HttpResponse:
        found: dict[str, Any] | None = None
        if node.is_valid():
            before = self.stored()
            try:
                found = reach.outlook(before, self.edited(self.document(node), before), self.newest_people())
            except InvalidFlag as error:
                for problem in error.problems:
                    node.blame(*problem)
        if self.data[PREVIEW] == FRAGMENT:
            return TemplateResponse(self.request, "admin/feature_flags/preview.html", {"preview": found})
        self.extra["preview"] = found
        return self.render(node)

    def newest_people(self) -> QuerySet[Any]:
        """In the order of their list, which an index has."""
        people, pages = get_user_model(), self.admin.admin_site
        order = pages.get_model_admin(people).ordering if pages.is_registered(people) else None
        return people._default_manager.order_by(*(order or ("-pk",)))[: reach.LOOKED_AT]

    def risks(self, before: Document, changes: Document) -> list[str]:
        """Steps of more than 50 points of a flag that is on, as sentences."""
        after = flag_document.checked({**before, **changes}, stored=before)
        if not before["is_active"]:
            return []
        old, new = before["rules"], after["rules"]
        if old and not new:
            return [
                _("Without rules the flag goes to %(share)s %% of everybody.") % {"share": after["rollout_percent"]}
            ]
        parts = [(gettext("the flag"), before, after)]
        if old or new:
            names = [
                rule["label"] or gettext("rule %(number)s") % {"number": number}
                for number, rule in enumerate(new, start=1)
            ]
            parts = list(zip(names, old, new, strict=True)) if len(old) == len(new) else []
        steps = [(name, was["rollout_percent"], will_be["rollout_percent"]) for name, was, will_be in parts]
        return [
            gettext("The rollout of %(name)s goes from %(start)s %% to %(end)s %% at once.")
            % {"name": name, "start": start, "end": end}
            for name, start, end in steps
            if abs(end - start) > RISKY_POINTS
        ]

    def render(self, node: Node) -> HttpResponse:
        if self.obj is not None:
            # Before the buttons, one of which asks whether it was ever used.
            self.obj.activity = inspection.activity([self.obj], timezone.now())[self.obj.pk]
        return super().render(node)

    def context(self, node: Node) -> dict[str, Any]:
        flag, now, snapshot = self.obj, timezone.now(), store.current()
        parents = FeatureFlag.objects.filter(archived_at=None, parents=None).order_by("codename")
        facts: dict[str, Any] = {}
        if flag:
            parents = parents.exclude(pk=flag.pk)
            compiled = snapshot.flags.get(flag.codename) if snapshot else None
            facts = {
                "activity": flag.activity,
                "card": self.marks(flag.activity),
                "why": "; ".join(flag.activity.stale),
                "broken": compiled.error if compiled else "",
                "dependents": list(flag.children.order_by("codename")),
                "pending": list(flag.schedule.filter(state="pending")),
                "chart": reach.chart(flag.codename, now),
            }
        for row in node.lists.get("rules", ()):
            row.sentence = typed_rule(row)
            row.is_open = row.has_errors or f" {row.way}-" in f" {self.extra.get('focus') or ''}"
        return {
            "domain_rule": DOMAIN_RULE,
            "open": self.unfolded(node),
            "parents": parents.values_list("codename", flat=True)[:PARENTS_OFFERED],
            "suggested": self.suggested_stickiness if flag else "default",
            **facts,
        }

    def marks(self, activity: inspection.FlagActivity) -> str:
        """The state, at the head of the page."""
        flag = self.obj
        on_off = ("active", _("on")) if flag.is_active else ("staff", _("off"))
        marks = [("staff", _("archived"))] if flag.is_archived else [on_off]
        marks += [("paused", _("protected"))] if flag.is_protected else []
        marks += [("staff", _("declared in code"))] if declarations.is_declared(flag.codename) else []
        marks += [("waiting", _("stale"))] if activity.stale else []
        return chips(marks)

    def unfolded(self, node: Node) -> dict[str, bool]:
        """Sections that hold something, are wrong, or were just worked on; what is about the flag, and a rollout that
        rules replace, only if wrong."""
        sections = {
            "rollout": ("rollout_percent", "stickiness"),
            "variants": ("variants",),
            "targets": ("targets_on", "targets_off"),
            "prerequisites": ("prerequisites",),
            "values": ("value_type", "off_value"),
            "about": ("owner", "tags", "review_on", "exposed", "is_protected", "impression_data"),
        }
        usual = {"rollout_percent": "100", "stickiness": "default", "value_type": "boolean", "exposed": "True"}
        values = {name: node.form[name].value() for name in node.form.fields} | node.lists

        def is_filled(name: str) -> bool:
            return str(values[name]) != usual[name] if name in usual else bool(values[name])

        is_asked = {"about": False, "rollout": not node.lists["rules"]}
        pressed = self.extra.get("pressed")
        return {
            section: pressed == section
            or node.has_problem(*names)
            or (is_asked.get(section, True) and any(map(is_filled, names)))
            for section, names in sections.items()
        }


# --- The schedule -----------------------------------------------------------------------------------------------------


class ScheduleForm(forms.Form):
    use_required_attribute = False
    prefix = "schedule"
    at = UtcDateTimeField(
        label=_("At (UTC)"),
        help_text=_("You are asked before a time that is over is taken as now."),
        widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    action = forms.ChoiceField(choices=FlagSchedule.Action.choices, label=_("Do"))
    percent = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=100,
        label=_("Percent"),
        help_text=_("With “set the rollout” alone; a flag without rules."),
    )
    reason = reason_field(required=False, help_text="")
    #: The button that carries it out at once; it is sent with the time that was asked about.
    NOW = "schedule-now"
    asks_now = ""

    def clean_at(self) -> datetime:
        at: datetime = self.cleaned_data["at"]
        now, asked = timezone.now(), f"{at:%Y-%m-%d %H:%M:%S}"
        if at <= now and self.data.get(self.NOW) != asked:
            self.asks_now = asked
            values = {"now": f"{now:%Y-%m-%d %H:%M}"}
            raise ValidationError(_("This time is over: it is %(now)s UTC. Shall it be done now?") % values)
        return at


class FlagPageAdmin(DocumentAdmin):
    """The page; `<flag>/schedule/` plans, `<flag>/schedule/<entry>/cancel/` cancels."""

    def get_urls(self) -> list[URLPattern]:
        view, name = self.admin_site.admin_view, self._url_name
        return [
            path("<path:object_id>/schedule/", view(self.schedule_view), name=name("schedule")),
            path("<path:object_id>/schedule/<int:entry>/cancel/", view(self.cancel_view), name=name("cancel_schedule")),
            *super().get_urls(),
        ]

    def undo(self, request: HttpRequest) -> dict[str, Any] | None:
        """The switch that the page offers to take back; to be overridden."""

    def page(
        self, request: HttpRequest, obj: FeatureFlag | None, *, refused: ScheduleForm | None = None
    ) -> HttpResponse:
        """`refused`: a plan that cannot be, to be shown again."""
        page = FlagPage(self, request, obj, create=editing.create, edit=editing.edit)
        if obj is None:
            return page.respond()
        may_plan_any = any(may_plan(request, action) for action in FlagSchedule.Action.values)
        page.extra |= {
            "undo": self.undo(request),
            "schedule_form": refused or (ScheduleForm() if may_plan_any and not obj.is_archived else None),
            "may_restore": self.has_change_permission(request, obj),
        }
        return page.redraw() if refused else page.respond()

    def schedule_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        flag, form = self._viewable(request, object_id), ScheduleForm(request.POST)
        if not may_plan(request, request.POST.get("schedule-action", "")):
            raise PermissionDenied
        if not form.is_valid():
            return self.page(request, flag, refused=form)
        given = dict(form.cleaned_data)
        reason = given.pop("reason")
        try:
            with transaction.atomic():
                entry = schedules.schedule(flag, **given, actor=Actor.of(request, "admin"), reason=reason)
                with in_english():
                    note = f"Planned: {entry}."
                self.log_change(request, flag, note + because(reason))
        except ProductError as error:
            problem = error.problems[0] if isinstance(error, InvalidFlag) else None
            field = str(problem.place[0]) if problem else "reason" if error.code == "REASON_REQUIRED" else ""
            form.add_error(field if field in form.fields else None, problem.message if problem else error.message)
            return self.page(request, flag, refused=form)
        self.message_user(request, f"“{flag}”: {entry}, {_('planned')}.", messages.SUCCESS)
        return HttpResponseRedirect(self.page_url("change", quote(flag.pk)))

    def cancel_view(self, request: HttpRequest, object_id: str, entry: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        flag = self._viewable(request, object_id)
        planned = flag.schedule.filter(pk=entry).first()
        if planned is None or not may_plan(request, planned.action):
            raise PermissionDenied
        try:
            with transaction.atomic():
                is_cancelled = schedules.cancel_schedule(planned, actor=Actor.of(request, "admin"))
                if is_cancelled:
                    with in_english():
                        note = f"Cancelled: {planned}."
                    self.log_change(request, flag, note)
        except ProductError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            text = _("cancelled") if is_cancelled else _("applied or cancelled already")
            self.message_user(request, f"“{flag}”: {planned}, {text}.")
        return HttpResponseRedirect(self.page_url("change", quote(flag.pk)))

    def _viewable(self, request: HttpRequest, object_id: str) -> FeatureFlag:
        flag: FeatureFlag | None = self.get_object(request, unquote(object_id))
        if flag is None or not self.has_view_permission(request, flag):
            raise PermissionDenied
        return flag


def may_plan(request: HttpRequest, action: Any) -> bool:
    return request.user.has_perm(schedules.permission_for(action))
