"""What the first page begins with: what needs attention, and a week of sign-ins and mail in pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, cast

from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from feature_flags import inspection
from feature_flags.models import FeatureFlag, FlagToken
from feature_flags.runtime import store
from lib import hourly
from lib.admin.charts import Chart, Series, hour_labels
from lib.admin.lists import capped_counts, count_label
from notifications.models import Message, MessageCount, WebhookEndpoint
from notifications.services.health import paused_providers
from project.agents.api import decidable
from users.admin.filters import without_factor
from users.models import Proposal, SignInCount, User

#: How long before its end a token is named, and how far back failed mail is.
EXPIRES_IN, FAILED_IN = timedelta(days=14), timedelta(days=1)
#: An endpoint of webhooks may fail now and then.
FAILING_FOR = timedelta(hours=1)
State = Message.State

#: By name: what it is called, the permission, the list it leads to and its query, and the rows.
_Need = tuple[Any, str, str, str, Callable[[], "QuerySet[Any]"]]


def needs_of(request: HttpRequest) -> dict[str, _Need]:
    """What this reader may see."""
    now = timezone.now()
    flags, tokens = FeatureFlag.objects.filter(archived_at=None), FlagToken.objects.filter(revoked_at=None)
    needs: dict[str, _Need] = {
        "failed": (
            _("Mails that failed in the last 24 hours"),
            "notifications.view_message",
            "notifications_message",
            "state__exact=failed",
            lambda: Message.objects.filter(state=State.FAILED, finished_at__gt=now - FAILED_IN),
        ),
        "unknown": (
            _("Mails that may or may not have arrived"),
            "notifications.view_message",
            "notifications_message",
            "state__exact=unknown",
            lambda: Message.objects.filter(state=State.UNKNOWN),
        ),
        "paused": (
            _("Ways out that are paused"),
            "notifications.view_providerstate",
            "notifications_providerstate",
            "",
            lambda: paused_providers().filter(alias__in=Message.Channel.values),
        ),
        "webhooks": (
            _("Webhook endpoints that are paused, or fail since an hour"),
            "notifications.view_webhookendpoint",
            "notifications_webhookendpoint",
            "",
            lambda: WebhookEndpoint.objects.filter(Q(paused_at__isnull=False) | Q(failing_since__lt=now - FAILING_FOR)),
        ),
        "stale": (
            _("Flags that have outlived their purpose"),
            "feature_flags.view_featureflag",
            "feature_flags_featureflag",
            "stale=yes",
            lambda: flags.filter(inspection.stale(now)),
        ),
        "protected": (
            _("Protected flags among them"),
            "feature_flags.view_featureflag",
            "feature_flags_featureflag",
            "stale=yes&is_protected__exact=1",
            lambda: flags.filter(inspection.stale(now), is_protected=True),
        ),
        "tokens": (
            _("Flag tokens that expire within two weeks"),
            "feature_flags.view_flagtoken",
            "feature_flags_flagtoken",
            "",
            lambda: tokens.filter(expires_at__gt=now, expires_at__lt=now + EXPIRES_IN),
        ),
        "proposals": (
            _("Proposals of agents that wait for a yes or no"),
            "users.decide_proposal",
            "users_proposal",
            "state=pending",
            lambda: Proposal.objects.pending(now).filter(operation__in=decidable(cast(User, request.user))),
        ),
        "factors": (
            _("Staff without a second factor"),
            "users.view_user",
            "users_user",
            "look=no-factor",
            lambda: User.objects.filter(without_factor()),
        ),
    }
    return {f"need-{name}": need for name, need in needs.items() if request.user.has_perm(need[1])}


def attention(
    request: HttpRequest, needs: Mapping[str, _Need], counts: Mapping[str, int] | None
) -> list[dict[str, Any]]:
    """What needs attention, from the counts of another part of the page, else by one statement; flags that cannot be
    read among it."""
    if counts is None:
        counts = capped_counts({name: need[4]() for name, need in needs.items()}) if needs else {}
    found = [
        {"label": need[0], "count": count_label(counts[name]), "url": _list(need[2], need[3])}
        for name, need in needs.items()
        if counts[name]
    ]
    snapshot = store.current()
    if snapshot and request.user.has_perm("feature_flags.view_featureflag"):
        broken = [flag for flag in snapshot.flags.values() if flag.error]
        if broken:
            url = _list("feature_flags_featureflag", f"q={broken[0].name}" if len(broken) == 1 else "")
            found.insert(0, {"label": _("Flags that cannot be read"), "count": len(broken), "url": url})
    return found


def _list(name: str, query: str) -> str:
    url = reverse(f"admin:{name}_changelist")
    return f"{url}?{query}" if query else url


def charts(request: HttpRequest) -> list[Chart]:
    """A week of sign-ins and of mail, from counters, by one statement."""
    drawn: list[tuple[type[Model], Any, list[tuple[str, Any, str]]]] = []
    if request.user.has_perm("users.view_auditevent"):
        kinds: list[tuple[str, Any, str]] = [
            ("login.ok", _("Sign-ins"), "chart-1"),
            ("login.failed", _("Failures"), "chart-bad"),
            ("login.paused", _("Refused during a pause"), "chart-4"),
        ]
        drawn.append((SignInCount, _("Sign-ins by the hour, last seven days"), kinds))
    if request.user.has_perm("notifications.view_message"):
        states = (
            (State.SENT, "chart-2"),
            (State.FAILED, "chart-bad"),
            (State.UNKNOWN, "chart-3"),
            (State.SUPPRESSED, "chart-5"),
            (State.EXPIRED, "chart-4"),
        )
        of_states: list[tuple[str, Any, str]] = [(state.value, state.label, css) for state, css in states]
        drawn.append((MessageCount, _("Mail by the hour, last seven days"), of_states))
    if not drawn:
        return []
    wanted = [(model, [kind for kind, _label, _css in kinds]) for model, _title, kinds in drawn]
    hours, counts = hourly.last_week(wanted, timezone.now())
    labels = hour_labels(hours)
    return [
        Chart(str(title), [Series(str(label), counts[kind], css) for kind, label, css in kinds], labels)
        for _model, title, kinds in drawn
    ]
