"""Why a person did or did not get a kind of mail: one sentence, then what was checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from lib.addresses import normal_email
from notifications import registry
from notifications.admin.common import may_see_providers
from notifications.admin.messages import explainer
from notifications.models import Message, Preference, ProviderState, Suppression
from notifications.registry import EMAIL, NotificationType
from notifications.services import recipients
from notifications.services.health import at

if TYPE_CHECKING:
    from users.models import User

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that mail depends on; shown as the steps of a flag are."""

    label: str
    passed: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class MailAnswer:
    sentence: str
    steps: Sequence[Step]
    #: The newest of this kind to this person, each with what became of it.
    messages: Sequence[tuple[Message, str]]


def answer(request: HttpRequest, user: User, kind: NotificationType) -> MailAnswer:
    """By a fixed number of queries; of each model only what the reader of the request may see."""
    steps = list(_steps(request, user, kind))
    # Two conditions, each with its index.
    mine = Q(user=user) | Q(to_address=normal_email(user.email))
    newest = list(Message.objects.filter(mine, type=kind.code).order_by("-created_at", "-pk")[:SHOWN])
    state_text = explainer(shows_providers=may_see_providers(request)) if newest else None
    found = [(message, state_text(message)) for message in newest if state_text]
    return MailAnswer(_sentence(found, [step for step in steps if not step.passed]), steps, found)


def _sentence(found: Sequence[tuple[Message, str]], missed: Sequence[Step]) -> str:
    if found and found[0][0].state != Message.State.SENT:
        return found[0][1]
    if missed:
        return _("Not sent: %(what)s") % {"what": missed[0].note}
    if found:
        return found[0][1]
    return _("No such mail has been queued for this person; nothing stands in its way.")


def _steps(request: HttpRequest, user: User, kind: NotificationType) -> Iterator[Step]:
    if EMAIL not in kind.channels:
        note = _("It is read inside the product, and never mailed.")
        yield Step(_("It is sent by mail"), False, note)
        return
    allowed = recipients.is_allowed(user.email)
    note = "" if allowed else _("This installation writes to the addresses of NOTIFICATIONS_ALLOW_TO alone.")
    yield Step(_("This installation may write to the address"), allowed, note)
    if request.user.has_perm("notifications.view_suppression"):
        yield _suppression(user, kind)
    if request.user.has_perm("notifications.view_preference"):
        yield _preference(user, kind)
    if kind.throttle:
        is_full = recipients.is_throttled(kind, normal_email(user.email))
        note = _("the address had as many of these as it may have for now.") if is_full else ""
        yield Step(_("The address has not had too many of these"), not is_full, note)
    yield _way_out(request)


def _suppression(user: User, kind: NotificationType) -> Step:
    lasts = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    listed = Suppression.objects.filter(lasts, address=normal_email(user.email), channel=EMAIL)
    row = listed.filter(scope__in=recipients.barring_scopes(kind)).order_by("created_at").first()
    label = _("The address is not on the list of suppressions")
    if row is None:
        return Step(label, True)
    values = {"reason": row.get_reason_display(), "time": at(row.created_at), "until": ""}
    if row.expires_at:
        values["until"] = _(" until %(time)s") % {"time": at(row.expires_at)}
    note = _("the address is on the list of suppressions since %(time)s%(until)s: %(reason)s.") % values
    return Step(label, False, note)


def _preference(user: User, kind: NotificationType) -> Step:
    category = {"category": registry.category(kind.category).label}
    if kind.required:
        return Step(_("“%(category)s” can be switched off by no one") % category, True)
    off = Preference.objects.filter(user=user, category=kind.category, channel=EMAIL, enabled=False).first()
    note = _("this person has switched “%(category)s” off.") % category if off else ""
    return Step(_("“%(category)s” is wanted") % category, off is None, note)


def _way_out(request: HttpRequest) -> Step:
    label = _("Mail leaves")
    if settings.NOTIFICATIONS_ENGINE == "off":
        return Step(label, False, _("nothing is sent: NOTIFICATIONS_ENGINE is off."))
    provider = ProviderState.objects.filter(alias=EMAIL).first()
    if provider is None or not provider.is_paused(timezone.now()):
        return Step(label, True)
    because = f": {provider.reason}" if provider.reason and may_see_providers(request) else ""
    return Step(label, False, _("mail is paused%(because)s.") % {"because": because})
