"""Ways to look at a million accounts, each answered by an index: filters of the list, figures of the first page."""

from datetime import timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from lib.admin.lists import TableFilter, capped_counts, count_label
from users.models import AuditEvent, MfaDevice, User
from users.services import audit, rate_limits


def without_factor() -> Q:
    """Active staff who sign in with a password alone."""
    confirmed = MfaDevice.objects.filter(user=OuterRef("pk"), confirmed_at__isnull=False)
    return Q(is_staff=True, is_active=True) & ~Q(Exists(confirmed))


#: Of how many of the newest accounts a filter looks whose column changes with every sign-in, and so has no index.
WINDOW = 50_000


def _never_signed_in(users: QuerySet[User]) -> QuerySet[User]:
    newest = User.objects.order_by("-created_at").values_list("created_at", flat=True)
    begin = newest[WINDOW : WINDOW + 1].first()
    return users.filter(last_login=None, **({} if begin is None else {"created_at__gte": begin}))


class WaitingFilter(TableFilter):
    title = _("waiting for")
    parameter_name = "waiting"
    options = {
        "verification": (_("Verification"), lambda users: users.filter(email_verified_at=None)),
        "verification-7": (
            _("Verification for over 7 days"),
            lambda users: users.filter(email_verified_at=None, created_at__lt=timezone.now() - timedelta(days=7)),
        ),
        "reset": (_("A new password"), lambda users: users.filter(must_reset=True)),
        "sign-in": (_("The first sign-in"), _never_signed_in),
        # The first sign-in renews the hash that came along; `last_login` came along, too.
        "first-here": (
            _("The first sign-in after the import"),
            lambda users: users.filter(password__startswith="bcrypt$"),
        ),
        "deletion": (_("Deletion"), lambda users: users.filter(delete_after_at__isnull=False)),
    }


class CareFilter(TableFilter):
    title = _("needs a look")
    parameter_name = "look"
    options = {
        "paused": (_("Paused now"), lambda users: users.filter(pk__in=rate_limits.paused_accounts())),
        "no-factor": (_("Staff without second factor"), lambda users: users.filter(without_factor())),
    }


_COUNTED = (
    ("login.ok", _("Sign-ins"), "active"),
    ("login.failed", _("Failures"), "off"),
    ("login.paused", _("Pauses"), "paused"),
)


def overview(request: HttpRequest) -> dict[str, Any] | None:
    """How signing in is doing, by four statements: each part for those who may see where it leads; None for no part."""
    found: dict[str, Any] = {}
    if request.user.has_perm("users.view_auditevent"):
        since = timezone.now() - timedelta(hours=24)
        begin = timezone.localtime(since).strftime("%Y-%m-%dT%H:%M")
        lately = AuditEvent.objects.filter(at__gte=since, pk__gt=audit.first_id(since))
        counts = capped_counts({event: lately.filter(event=event) for event, _label, _chip in _COUNTED})
        found["events"] = [
            {
                "label": label,
                "chip": chip,
                "count": count_label(counts[event]),
                "url": f"{reverse('admin:users_auditevent_changelist')}?{urlencode({'event': event, 'since': begin})}",
            }
            for event, label, chip in _COUNTED
        ]
    if request.user.has_perm("users.view_user"):
        bare = User.objects.filter(without_factor())
        found["bare_staff"] = count_label(capped_counts({"bare": bare})["bare"])
        found["bare_url"] = f"{reverse('admin:users_user_changelist')}?look=no-factor"
    return found or None
