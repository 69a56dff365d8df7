"""Why this person did or did not get a flag or a mail: a page of one question, linked from theirs."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from feature_flags.admin import why as flag_why
from feature_flags.models import FeatureFlag
from feature_flags.runtime import store
from lib.admin import may_see
from lib.admin.verbs import VerbAdmin, render_page
from notifications import registry
from notifications.admin import why as mail_why
from notifications.models import Message
from users.models import User

#: Up to so many flags are offered by name while one types.
OFFERED = 200


def questions(request: HttpRequest) -> dict[str, Any]:
    """What the form of the question offers this reader."""
    found: dict[str, Any] = {}
    if may_see(request.user, FeatureFlag):
        snapshot = store.current()
        names = [entry.compiled.name for entry in snapshot.ordered] if snapshot else []
        found |= {"asks_flags": True, "flag_names": names if len(names) <= OFFERED else ()}
    if may_see(request.user, Message):
        found["mail_kinds"] = [(kind.code, kind.label) for kind in registry.declared_types()]
    return found


def why_page(model_admin: VerbAdmin, request: HttpRequest, user: User) -> HttpResponse:
    """`?flag=` or `?mail=`; a link that one can send on."""
    flag, mail = request.GET.get("flag", "").strip()[:100], request.GET.get("mail", "").strip()
    context: dict[str, Any] = {"flag": flag, "mail": mail, **questions(request)}
    if flag and may_see(request.user, FeatureFlag):
        context["flag_answer"] = flag_why.answer(request, user, flag)
    if mail and may_see(request.user, Message):
        kind = registry.find(mail)
        context["mail_kind"] = kind
        context["mail_answer"] = mail_why.answer(request, user, kind) if kind else None
        context["note"] = "" if kind else _("There is no such kind of mail.")
    return render_page(
        model_admin,
        request,
        "admin/users/user/why.html",
        title=_("%(person)s: why (not)?") % {"person": user},
        original=user,
        back_url=reverse("admin:users_user_change", args=[user.pk]),
        **context,
    )
