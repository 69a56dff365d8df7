"""Ways to look at a million accounts, each answered by an index: the filters of the list."""

import uuid
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lib.admin.changelist import CUT
from lib.admin.lists import TableFilter
from users.models import MfaDevice, User, UserSearch
from users.services import rate_limits


def without_factor() -> Q:
    """Active staff who sign in with a password alone; service accounts never sign in."""
    confirmed = MfaDevice.objects.filter(user=OuterRef("pk"), confirmed_at__isnull=False)
    return Q(is_staff=True, is_active=True, service_account=None) & ~Q(Exists(confirmed))


#: Of how many of the newest accounts a filter looks whose column changes with every sign-in, and so has no index.
WINDOW = 50_000


def _never_signed_in(users: QuerySet[User]) -> QuerySet[User]:
    newest = User.objects.order_by("-created_at").values_list("created_at", flat=True)
    begin = newest[WINDOW : WINDOW + 1].first()
    return users.filter(last_login=None, **({} if begin is None else {"created_at__gte": begin}))


def found_people(request: HttpRequest, text: str, limit: int) -> list[uuid.UUID]:
    """The keys of people by any part of a name or address; where more match, the page says so and no CSV is made."""
    keys = UserSearch.objects.find(text, limit + 1)
    if len(keys) > limit:
        setattr(request, CUT, True)
        said = _("More than %(count)d people match; these were added last. Type more of a name or address.")
        messages.info(request, said % {"count": limit}, fail_silently=True)  # the API has none
    return keys[:limit]


class GroupFilter(admin.SimpleListFilter):
    """Not Django's, which joins and makes all rows distinct: this reads the list in its order until a page is full."""

    title = _("groups")
    parameter_name = "groups__id__exact"
    _NONE = "none"

    def __init__(self, request: HttpRequest, params: dict[str, Any], *more: Any) -> None:
        # As views were saved when the filter was Django's.
        if params.pop("groups__isnull", None):
            params[self.parameter_name] = [self._NONE]
        super().__init__(request, params, *more)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        groups = Group.objects.order_by("name").values_list("pk", "name")
        return [*((str(pk), name) for pk, name in groups), (self._NONE, _("none"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        if (value := self.value()) not in dict(self.lookup_choices):
            return queryset
        members = User.groups.through.objects.filter(user=OuterRef("pk"))
        return queryset.filter(~Exists(members) if value == self._NONE else Exists(members.filter(group=int(value))))


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
