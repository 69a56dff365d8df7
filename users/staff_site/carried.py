"""A sensitive change that was asked for without a fresh proof: kept while the proof is given, then sent again."""

import hashlib
import secrets
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

#: Where the Django session keeps it, for how long, how much of a form at most, and how many presses.
KEY, LASTS, MOST, PRESSES = "users.carried", timedelta(minutes=10), 32_768, 4


def keep(request: HttpRequest, *, action: str, objects: Sequence[models.Model], back_url: str) -> str:
    """Keep the POST in the session; return where it goes on after the proof, empty for one too long to be kept.

    The address names this press: another one, in another window, neither replaces it nor is carried out for it.
    """
    fields = [(name, value) for name in request.POST for value in request.POST.getlist(name)]
    fields = [(name, value) for name, value in fields if name != "csrfmiddlewaretoken"]
    if sum(len(name) + len(value) for name, value in fields) > MOST:
        return ""
    nonce = secrets.token_urlsafe(12)
    kept = {
        "text": action,
        "url": request.get_full_path(),
        "fields": fields,
        "back_url": back_url,
        "model": objects[0]._meta.label if objects else "",
        "keys": [str(each.pk) for each in objects],
        "stamp": stamp(objects[0]._meta.label, [each.pk for each in objects]) if objects else "",
        "until": (timezone.now() + LASTS).isoformat(),
    }
    others = list(request.session.get(KEY, {}).items())[1 - PRESSES :]
    request.session[KEY] = {**dict(others), nonce: kept}
    return reverse("admin:carry_on", args=[nonce])


def text(request: HttpRequest) -> str:
    """What waits for the proof that this request gives, in words."""
    wanted = pages.next_url(request)
    presses = request.session.get(KEY, {})
    found = (kept["text"] for nonce, kept in presses.items() if wanted == reverse("admin:carry_on", args=[nonce]))
    return str(next(found, ""))


def stamp(label: str, keys: Sequence[Any]) -> str:
    """Changes when a row of these changes, or what it is tied to; not by when it was last seen, used or well."""
    model = apps.get_model(label)
    rows = model._base_manager.filter(pk__in=keys).order_by("pk")
    names = [field.attname for field in model._meta.concrete_fields if not field.name.startswith("last_")]
    found: list[Any] = list(rows.values_list(*names))
    for tie in model._meta.many_to_many if len(keys) == 1 else ():
        found += rows.order_by(tie.name).values_list(tie.name)
    return hashlib.sha256(repr(found).encode()).hexdigest()


def carry_on(request: HttpRequest, nonce: str) -> HttpResponse:
    """The change as one button, which a script presses; where the object has changed meanwhile, back to it."""
    presses = dict(request.session.get(KEY, {}))
    kept = presses.pop(nonce, None)
    request.session[KEY] = presses
    if kept is None or datetime.fromisoformat(kept["until"]) < timezone.now():
        messages.info(request, _("There is nothing left to carry out: press the button again."))
        return HttpResponseRedirect(kept["back_url"] if kept else reverse("admin:index"))
    if not pages.is_fresh(request):
        return HttpResponseRedirect(kept["back_url"])
    if kept["keys"] and stamp(kept["model"], kept["keys"]) != kept["stamp"]:
        messages.warning(request, _("It has changed meanwhile: look at it, then do it again: %s.") % kept["text"])
        return HttpResponseRedirect(kept["back_url"])
    return pages.page(request, "carry_on", _("Thank you"), **kept)
