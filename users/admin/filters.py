"""Ways to look at a million accounts, each answered by an index: filters of the list, figures of the first page."""

from datetime import timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from lib.admin.lists import TableFilter, capped_counts, count_label
from lib.db import batches
from users.models import AuditEvent, MfaDevice, User
from users.services import rate_limits

#: No pause is longer.
LONGEST_PAUSE = timedelta(minutes=64)
#: How many paused accounts the filter tells apart at most, and for how many it asks at once.
_MOST_PAUSED, _AT_ONCE = 1_000, 200
#: Ids come in the order of time but for transactions that ran side by side.
_DISORDER = timedelta(minutes=5)


def first_id(since: Any) -> int:
    """An id that no event since then falls below: a range of the primary key where a column has no index."""
    earlier = AuditEvent.objects.filter(at__lt=since - _DISORDER).order_by("-at").values_list("pk", flat=True)
    return earlier.first() or 0


def paused_accounts() -> list[Any]:
    """Ids of the accounts whose sign-in is paused now, the last ones paused first.

    Counters know accounts only by a MAC, so those are asked about whose wrong passwords or codes the trail has noted
    within the longest pause.
    """
    since = timezone.now() - LONGEST_PAUSE
    noted = AuditEvent.objects.filter(
        event__in=("login.failed", "login.paused", "mfa.failed"), pk__gt=first_id(since), user_id__isnull=False
    )
    ids: list[Any] = list(dict.fromkeys(noted.order_by("-id").values_list("user_id", flat=True)[: 10 * _MOST_PAUSED]))
    by_email = dict(User.objects.filter(pk__in=ids[:_MOST_PAUSED]).values_list("email", "pk"))
    emails = list(by_email)
    found: set[str] = set()
    for some in batches(emails, _AT_ONCE):
        found |= rate_limits.paused(some)
    return [by_email[email] for email in found]


def without_factor() -> Q:
    """Active staff who sign in with a password alone."""
    confirmed = MfaDevice.objects.filter(user=OuterRef("pk"), confirmed_at__isnull=False)
    return Q(is_staff=True, is_active=True) & ~Q(Exists(confirmed))


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
        "sign-in": (_("The first sign-in"), lambda users: users.filter(last_login=None)),
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
        "paused": (_("Paused now"), lambda users: users.filter(pk__in=paused_accounts())),
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
        lately = AuditEvent.objects.filter(at__gte=since, pk__gt=first_id(since))
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
