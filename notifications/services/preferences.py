"""Which categories users want to get, over which channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lib.addresses import normal_email
from lib.errors import ProductError
from notifications import registry
from notifications.models import Preference, Suppression
from notifications.registry import CHANNELS, EMAIL

if TYPE_CHECKING:
    from users.models import User

_ALWAYS = _("Part of having an account: always sent.")
_BLOCKED = _("Mail of this kind to your address is blocked; our support can lift that.")


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether a user gets a category over a channel; `why` it cannot be changed, if it cannot."""

    enabled: bool
    why: Any = ""

    @property
    def is_fixed(self) -> bool:
        return bool(self.why)


#: By category, then channel.
Choices = dict[str, dict[str, Choice]]


def choices(user: User) -> Choices:
    """Every category with the channels that its types use."""
    chosen = {(row.category, row.channel): row.enabled for row in Preference.objects.filter(user=user)}
    listed = _listed(user.email)
    found: Choices = {}
    for category, channels in _offered().items():
        found[category] = {}
        for channel, is_fixed in channels.items():
            wanted = chosen.get((category, channel), True)
            found[category][channel] = (
                Choice(True, _ALWAYS)
                if is_fixed
                else _by_mail(wanted, listed, category)
                if channel == EMAIL
                else Choice(wanted)
            )
    return found


@transaction.atomic
def choose(user: User, wanted: Mapping[tuple[str, str], bool]) -> Choices:
    """Write what is wanted of each (category, channel), all or nothing. Switching mail on ends an unsubscription.

    ProductError `PREFERENCE_UNKNOWN`, `PREFERENCE_FIXED`.
    """
    offered = {(category, name): choice for category, of in choices(user).items() for name, choice in of.items()}
    for key in wanted:
        if key not in offered:
            raise ProductError("PREFERENCE_UNKNOWN", "There is no such category, or it does not use this channel.")
        if offered[key].is_fixed:
            raise ProductError("PREFERENCE_FIXED", "This cannot be switched.")
    rows = [
        # Sorted, so that two of these at once do not deadlock.
        Preference(user=user, category=category, channel=channel, enabled=enabled)
        for (category, channel), enabled in sorted(wanted.items())
    ]
    Preference.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["user", "category", "channel"], update_fields=["enabled"]
    )
    switched_on = [category for (category, channel), enabled in wanted.items() if enabled and channel == EMAIL]
    Suppression.objects.filter(
        channel=EMAIL,
        address=normal_email(user.email),
        scope__in=switched_on,
        reason=Suppression.Reason.UNSUBSCRIBE,
    ).delete()
    return choices(user)


def is_off(address: str, category: str) -> bool:
    """Whether the user with this address has switched mail of the category off."""
    off = Preference.objects.filter(category=category, channel=EMAIL, enabled=False)
    return off.filter(user__email=normal_email(address)).exists()


def set_by_address(address: str, category: str, *, enabled: bool) -> None:
    """Switch mail of a category on or off for the user with this address, if there is one."""
    if (user := get_user_model()._default_manager.filter(email=normal_email(address)).first()) is not None:
        Preference.objects.update_or_create(user=user, category=category, channel=EMAIL, defaults={"enabled": enabled})


def _offered() -> dict[str, dict[str, bool]]:
    """The channels of each category that a type uses, and whether they are fixed: no type there may be switched off."""
    found: dict[str, dict[str, bool]] = {}
    for category in registry.categories():
        kinds = [kind for kind in registry.declared_types() if kind.category == category.code]
        used = [channel for channel in CHANNELS if any(channel in kind.channels for kind in kinds)]
        if category.is_fixed and not used:
            used = [EMAIL]
        if used:
            found[category.code] = {
                channel: all(kind.required for kind in kinds if channel in kind.channels) for channel in used
            }
    return found


def _listed(address: str) -> dict[str, set[str]]:
    """What the list holds against optional mail to this address: scope → reasons."""
    lasts = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    rows = Suppression.objects.filter(lasts, channel=EMAIL, address=normal_email(address))
    found: dict[str, set[str]] = {}
    for scope, reason in rows.exclude(scope=Suppression.ALL).values_list("scope", "reason"):
        found.setdefault(scope, set()).add(reason)
    return found


def _by_mail(wanted: bool, listed: dict[str, set[str]], category: str) -> Choice:
    """An unsubscription is as good as a switch; what others put on the list only staff take off."""
    reasons = listed.get(category, set())
    if Suppression.OPTIONAL in listed or reasons - {Suppression.Reason.UNSUBSCRIBE}:
        return Choice(False, _BLOCKED)
    return Choice(wanted and not reasons)
