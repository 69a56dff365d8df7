"""Who an announcement can go to: the audiences of announcements, registered by the apps that know them.

Pure but for those at the end, which need nothing but users and groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from notifications.models import Announcement
    from users.models import User

#: Says of each of the people whether they belong.
Test = Callable[["User"], bool]
Choices = Sequence[tuple[str, "str | Promise"]]
#: Choices of one audience that are offered.
OFFERED = 2_000


class Gone(LookupError):
    """What an audience was made of does not exist any more; its message is a sentence for staff."""


class Audience:
    """A kind of audience, with the choices that it offers: `among` narrows all people by the database, `test` says of
    each one left whether they belong. Both raise Gone."""

    name: str
    label: str | Promise
    #: What staff need to be offered its choices, and to see what was chosen.
    permission: str = ""

    def choices(self) -> Choices:
        """Value and label, for a form; one that needs no choice has a single empty one."""
        return [("", self.label)]

    def describe(self, announcement: Announcement) -> str:
        """The audience in a few words."""
        return str(dict(self.choices())[announcement.choice])

    def among(self, people: QuerySet[User], announcement: Announcement) -> QuerySet[User]:
        return people

    def test(self, announcement: Announcement) -> Test:
        return lambda person: True


_audiences: dict[str, Audience] = {}


def register(audience: Audience) -> None:
    _audiences[audience.name] = audience


def get(name: str) -> Audience:
    """Raises Gone for one that no app registers any more."""
    if (found := _audiences.get(name)) is None:
        raise Gone(_("This version of the product does not know this audience."))
    return found


def is_visible_to(user: Any, name: str) -> bool:
    """Whether this member of staff may know who is in such an audience."""
    audience = _audiences.get(name)
    return audience is not None and (not audience.permission or user.has_perm(audience.permission))


def offered(user: Any) -> list[tuple[Audience, Choices, bool]]:
    """The audiences that this member of staff may choose, each with its first choices, and whether there are more."""
    found = []
    for audience in _audiences.values():
        if is_visible_to(user, audience.name):
            try:
                choices = audience.choices()
            except Gone:
                continue
            found.append((audience, choices[:OFFERED], len(choices) > OFFERED))
    return found


class _Everybody(Audience):
    name, label = "everybody", _("Everybody")


class _Group(Audience):
    name, label, permission = "group", _("Group"), "auth.view_group"

    def choices(self) -> Choices:
        from django.contrib.auth.models import Group

        return [(str(pk), name) for pk, name in Group.objects.order_by("name").values_list("pk", "name")]

    def describe(self, announcement: Announcement) -> str:
        return str(format_lazy("{} {}", self.label, self._name(announcement)))

    def among(self, people: QuerySet[User], announcement: Announcement) -> QuerySet[User]:
        self._name(announcement)
        return people.filter(groups=int(announcement.choice))

    def _name(self, announcement: Announcement) -> str:
        from django.contrib.auth.models import Group

        if (name := Group.objects.filter(pk=announcement.choice).values_list("name", flat=True).first()) is None:
            raise Gone(_("The group does not exist any more."))
        return name


class _People(Audience):
    name, label = "people", _("People named below")

    def describe(self, announcement: Announcement) -> str:
        count = announcement.people.count()
        return str(_("1 person by address") if count == 1 else _("%d people by address") % count)

    def among(self, people: QuerySet[User], announcement: Announcement) -> QuerySet[User]:
        chosen = announcement.people.through._default_manager.filter(announcement=announcement)
        return people.filter(pk__in=chosen.values("user"))


PEOPLE = _People.name
for _audience in (_Everybody(), _Group(), _People()):
    register(_audience)
