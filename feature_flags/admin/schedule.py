"""Scheduled changes, planned and cancelled on the flag's page."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone

from feature_flags.admin.common import because, who
from feature_flags.flag_document import InvalidFlag
from feature_flags.models import FeatureFlag, FlagSchedule
from feature_flags.services import schedules
from lib.admin.verbs import VerbAdmin
from lib.errors import ProductError


class ScheduleForm(forms.Form):
    use_required_attribute = False
    prefix = "schedule"
    at = forms.DateTimeField(
        label="At (UTC)",
        help_text="You are asked before a time that is over is taken as now.",
        widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    action = forms.ChoiceField(choices=FlagSchedule.Action.choices, label="Do")
    percent = forms.IntegerField(
        required=False, min_value=0, max_value=100, help_text="With “set the rollout” alone; a flag without rules."
    )
    reason = forms.CharField(
        required=False, max_length=200, widget=forms.TextInput({"class": "vTextField", "autocomplete": "off"})
    )
    #: The button that carries it out at once; it is sent with the time that was asked about.
    NOW = "schedule-now"
    asks_now = ""

    def clean_at(self) -> datetime:
        at: datetime = self.cleaned_data["at"]
        now, asked = timezone.now(), f"{at:%Y-%m-%d %H:%M:%S}"
        if at <= now and self.data.get(self.NOW) != asked:
            self.asks_now = asked
            raise ValidationError(f"This time is over: it is {now:%Y-%m-%d %H:%M} UTC. Shall it be done now?")
        return at


class ScheduleViews(VerbAdmin):
    """`<flag>/schedule/` plans, `<flag>/schedule/<entry>/cancel/` cancels."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        name = self._url_name
        return [
            path("<path:object_id>/schedule/", view(self.schedule_view), name=name("schedule")),
            path("<path:object_id>/schedule/<int:entry>/cancel/", view(self.cancel_view), name=name("cancel_schedule")),
            *super().get_urls(),
        ]

    def schedule_form(self, request: HttpRequest) -> ScheduleForm | None:
        """For those who may plan anything."""
        return ScheduleForm() if any(may_plan(request, action) for action in FlagSchedule.Action.values) else None

    def schedule_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        flag = self._flag(request, object_id)
        form = ScheduleForm(request.POST)
        if not may_plan(request, request.POST.get("schedule-action", "")):
            raise PermissionDenied
        if form.is_valid() and self._plan(request, flag, form):
            return HttpResponseRedirect(self.page_url("change", quote(flag.pk)))
        return self.flag_page(request, flag, schedule_form=form)  # type: ignore[attr-defined, no-any-return]

    def _plan(self, request: HttpRequest, flag: FeatureFlag, form: ScheduleForm) -> bool:
        given = dict(form.cleaned_data)
        reason = given.pop("reason")
        try:
            with transaction.atomic():
                entry = schedules.schedule(flag, **given, **who(request, reason))
                self.log_change(request, flag, f"Planned: {entry}." + because(reason))
        except ProductError as error:
            problem = error.problems[0] if isinstance(error, InvalidFlag) else None
            field = str(problem.place[0]) if problem else "reason" if error.code == "REASON_REQUIRED" else ""
            form.add_error(field if field in form.fields else None, problem.message if problem else error.message)
            return False
        self.message_user(request, f"“{flag}”: {entry}, planned.", messages.SUCCESS)
        return True

    def cancel_view(self, request: HttpRequest, object_id: str, entry: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        flag = self._flag(request, object_id)
        planned = flag.schedule.filter(pk=entry).first()
        if planned is None or not may_plan(request, planned.action):
            raise PermissionDenied
        self._forget(request, flag, planned)
        return HttpResponseRedirect(self.page_url("change", quote(flag.pk)))

    def _forget(self, request: HttpRequest, flag: FeatureFlag, planned: FlagSchedule) -> None:
        try:
            with transaction.atomic():
                is_cancelled = schedules.cancel_schedule(planned, **who(request))
                if is_cancelled:
                    self.log_change(request, flag, f"Cancelled: {planned}.")
        except ProductError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            text = "cancelled" if is_cancelled else "applied or cancelled already"
            self.message_user(request, f"“{flag}”: {planned}, {text}.")

    def _flag(self, request: HttpRequest, object_id: str) -> FeatureFlag:
        flag: FeatureFlag | None = self.get_object(request, unquote(object_id))
        if flag is None or not self.has_view_permission(request, flag):
            raise PermissionDenied
        return flag


def may_plan(request: HttpRequest, action: Any) -> bool:
    """The same permission as for doing it now."""
    switches = action in (FlagSchedule.Action.ON, FlagSchedule.Action.OFF)
    permission = "switch_featureflag" if switches else "change_featureflag"
    return request.user.has_perm(f"feature_flags.{permission}")
