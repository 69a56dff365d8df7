"""A sensitive change that was asked for without a fresh proof: kept while the proof is given, then sent again."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.contrib import messages
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from users.staff_site import pages

#: Where the Django session keeps it, for how long, and how much of a form at most.
KEY, LASTS, MOST = "users.carried", timedelta(minutes=10), 32_768
_NAMED = 3


def keep(request: HttpRequest, *, action: str, objects: Sequence[models.Model], back_url: str) -> str:
    """Keep the POST in the session; return what it is in words, empty for one that is too long to be kept."""
    fields = [(name, value) for name in request.POST for value in request.POST.getlist(name)]
    fields = [(name, value) for name, value in fields if name != "csrfmiddlewaretoken"]
    if sum(len(name) + len(value) for name, value in fields) > MOST:
        return ""
    names = [f"“{each}”" for each in objects[:_NAMED]] + (["…"] if len(objects) > _NAMED else [])
    request.session[KEY] = {
        "text": " ".join([action, ", ".join(names)]).strip(),
        "url": request.get_full_path(),
        "fields": fields,
        "back_url": back_url,
        "model": objects[0]._meta.label if objects else "",
        "keys": [str(each.pk) for each in objects],
        "stamp": stamp(objects[0]._meta.label, [each.pk for each in objects]) if objects else "",
        "until": (timezone.now() + LASTS).isoformat(),
    }
    return str(request.session[KEY]["text"])


def text(request: HttpRequest) -> str:
    """What waits for the proof that this request gives, in words."""
    kept = request.session.get(KEY)
    return str(kept["text"]) if kept and pages.next_url(request) == reverse("admin:carry_on") else ""


def stamp(label: str, keys: Sequence[Any]) -> str:
    """Changes when a row of these changes, or what it is tied to."""
    model = apps.get_model(label)
    rows = model._base_manager.filter(pk__in=keys).order_by("pk")
    found: list[Any] = list(rows.values_list())
    for tie in model._meta.many_to_many if len(keys) == 1 else ():
        found += rows.order_by(tie.name).values_list(tie.name)
    return hashlib.sha256(repr(found).encode()).hexdigest()


def carry_on(request: HttpRequest) -> HttpResponse:
    """The change as one button, which a script presses; where the object has changed meanwhile, back to it."""
    kept = request.session.pop(KEY, None)
    if kept is None or datetime.fromisoformat(kept["until"]) < timezone.now():
        messages.info(request, _("There is nothing left to carry out: press the button again."))
        return HttpResponseRedirect(kept["back_url"] if kept else reverse("admin:index"))
    if not pages.is_fresh(request):
        return HttpResponseRedirect(kept["back_url"])
    if kept["keys"] and stamp(kept["model"], kept["keys"]) != kept["stamp"]:
        messages.warning(request, _("It has changed meanwhile: look at it, then do it again: %s.") % kept["text"])
        return HttpResponseRedirect(kept["back_url"])
    return pages.page(request, "carry_on", _("Thank you"), **kept)
