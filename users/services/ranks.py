"""Which member of staff may act on whose account: nobody reaches above themselves."""

from __future__ import annotations

from lib.errors import ProductError
from users.models import User
from users.services.callers import Actor

#: The group whose members act on other members of staff; the name is what carries it.
ADMINS = "Admin"


def require(user: User, *, by: Actor) -> None:
    """SUPERUSERS_ONLY, ADMINS_ONLY (403). Commands and the person themselves may; what they may is asked elsewhere."""
    if by.user is None:
        return
    row = User.objects.only("is_staff", "is_superuser").get(pk=user.pk)
    if not reaches(by.user, row):
        code, who = ("SUPERUSERS_ONLY", "superusers") if row.is_superuser else ("ADMINS_ONLY", "administrators")
        whom = "superusers" if row.is_superuser else "staff"
        raise ProductError(code, f"Only {who} act on accounts of {whom}.", status=403)


def require_superuser(by: Actor) -> None:
    """Whoever could give rights away could give them to themselves; SUPERUSERS_ONLY (403)."""
    if by.user is not None and not by.user.is_superuser:
        raise ProductError("SUPERUSERS_ONLY", "Only superusers give and take rights.", status=403)


def reaches(actor: User, user: User) -> bool:
    """Superusers reach everybody, the group *Admin* everybody but superusers, other staff whoever is not staff."""
    if actor.is_superuser or actor.pk == user.pk or not (user.is_staff or user.is_superuser):
        return True
    return not user.is_superuser and _is_admin(actor)


def _is_admin(actor: User) -> bool:
    """Asked once in the life of the object, which is that of a request: a list asks for each of its rows."""
    if not hasattr(actor, "_is_admin"):
        actor._is_admin = actor.groups.filter(name=ADMINS).exists()  # type: ignore[attr-defined]
    return bool(actor._is_admin)  # type: ignore[attr-defined]
