"""Views of the admin's lists that staff keep under a name: what a list was asked, for themselves or for all."""

from django.db import transaction
from django.db.models import Case, Q, When
from django.utils.translation import gettext as _

from lib.actors import Actor
from lib.errors import ProductError
from lib.text import is_storable
from users.models import SavedView, User

#: How many one person may keep of one list, how many of others' a list offers, and how long a query may be.
LIMIT, OFFERED, LONGEST = 20, 20, 500


def offered(user: User, label: str) -> list[SavedView]:
    """The views of a list that this user sees, by name: all of their own, and of those that others share the newest."""
    views = SavedView.objects.filter(Q(user=user) | Q(is_shared=True), label=label).select_related("user")
    is_own = Case(When(user=user, then=0), default=1)
    return sorted(views.order_by(is_own, "-pk")[: LIMIT + OFFERED], key=lambda view: (view.name.casefold(), view.pk))


@transaction.atomic
def save(user: User, label: str, *, name: str, query: str, is_shared: bool, actor: Actor) -> SavedView:
    """Keep what a list is asked under a name; a view of theirs by that name is replaced.

    What others see is on record: a view that is shared, and one that is so no more.

    Raises:
        VIEW_INVALID (422): no name, one over 60 characters, a query over 500, or the user has 20 of this list.
    """
    name = " ".join(name.split())
    if not (0 < len(name) <= 60 and name.isprintable()):
        raise ProductError("VIEW_INVALID", _("Give the view a name of at most 60 characters."), status=422)
    if len(query) > LONGEST or not is_storable(query):
        raise ProductError("VIEW_INVALID", _("This list is asked too much to be kept as a view."), status=422)
    others = SavedView.objects.filter(user=user, label=label).exclude(name=name)
    if others[LIMIT - 1 : LIMIT].exists():
        raise ProductError(
            "VIEW_INVALID", _("You keep %(limit)s views of this list: remove one first.") % {"limit": LIMIT}, status=422
        )
    was_shared = SavedView.objects.filter(user=user, label=label, name=name, is_shared=True).exists()
    values = {"query": query, "is_shared": is_shared}
    view, _is_new = SavedView.objects.update_or_create(user=user, label=label, name=name, defaults=values)
    if is_shared or was_shared:
        actor.note("view.shared" if is_shared else "view.removed", name=name, scope=label)
    return view


@transaction.atomic
def remove(view: SavedView, *, by: User, actor: Actor) -> None:
    """Of one that others see, it is on record.

    Raises:
        VIEW_OF_ANOTHER (403): it belongs to another person, and `by` is no superuser.
    """
    if view.user_id != by.pk and not by.is_superuser:
        raise ProductError("VIEW_OF_ANOTHER", _("This view belongs to another person."), status=403)
    view.delete()
    if view.is_shared:
        actor.note("view.removed", name=view.name, scope=view.label)
