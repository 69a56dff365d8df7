"""Who gets a flag, and why: the result for a user or a context, explained, from the snapshot that readers use."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from feature_flags.context import Flat, flat
from feature_flags.engine.model import RANDOM, CompiledFlag, Result
from feature_flags.models import Segment
from feature_flags.runtime import store
from feature_flags.why import explained, find_user, reason_text
from lib.admin import may_see
from lib.admin.verbs import VerbAdmin, render_page
from lib.private import missing_object

if TYPE_CHECKING:
    from feature_flags.runtime.snapshot import Snapshot

SYNTHETIC = 1_000
#: How many people are named where several match.
SUGGESTED = 5


class WhoForm(forms.Form):
    """A GET form, so that a result can be linked."""

    use_required_attribute = False
    user = forms.CharField(
        required=False,
        max_length=254,
        label=_("User"),
        help_text=_("Any part of an address or name, or a user id."),
        widget=forms.TextInput({"class": "vTextField", "autocomplete": "off", "spellcheck": "false"}),
    )
    context = forms.CharField(
        required=False,
        max_length=5_000,
        label=_("Context"),
        help_text=_("Lines like country=IT, or a JSON object; it counts before what is known of the user."),
        widget=forms.Textarea({"class": "vLargeTextField", "rows": 4, "spellcheck": "false"}),
    )

    def clean_user(self) -> Any:
        if not (given := self.cleaned_data["user"].strip()):
            return None
        if (user := find_user(given)) is not None:
            return user
        names = matching_names(given)
        if not names:
            raise ValidationError(_("There is no such user."))
        if len(names) > 1:
            shown = ", ".join(names[:SUGGESTED]) + (", …" if len(names) > SUGGESTED else "")
            raise ValidationError(_("Several people match; did you mean %(names)s?") % {"names": shown})
        return find_user(names[0])

    def clean_context(self) -> dict[str, Any]:
        try:
            typed = read_context(self.cleaned_data["context"])
            flat(typed)
        except ValueError as error:
            raise ValidationError(str(error)) from None
        except OverflowError:
            raise ValidationError(_("A number in it is too large.")) from None
        return typed


def matching_names(given: str) -> list[str]:
    """The sign-in names of people who match a part of an address or name, where the user model can search."""
    model = get_user_model()
    search = getattr(model._default_manager, "search", None)
    keys = search(given, SUGGESTED + 1) if search else ()
    users = model._default_manager.filter(pk__in=keys)
    return sorted(users.values_list(model.USERNAME_FIELD, flat=True))


def read_context(text: str) -> dict[str, Any]:
    """`key=value` lines or a JSON object; ValueError with what is wrong."""
    text = text.strip()
    if text.startswith(("{", "[")):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError(_("This is not JSON.")) from None
        if not isinstance(found, dict):
            raise ValueError(_("A context is a JSON object."))
        return found
    context = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        field, sign, value = line.partition("=")
        if not sign or not field.strip():
            raise ValueError(_("“%(line)s” is no line like country=IT.") % {"line": line[:50]})
        context[field.strip()] = value.strip()
    return context


def share(compiled: CompiledFlag, context: Flat, snapshot: Snapshot) -> dict[str, Any]:
    """How many of a thousand ids get the flag, and which variants.

    The same context with other ids in the fields that a percentage goes by.
    """
    fields = {"userId", "sessionId"}
    for strategy in compiled.definition.feature.get("strategies") or ():
        field = (strategy.get("parameters") or {}).get("stickiness")
        if field not in (None, "default", "random"):
            fields.add(field)
    results = [
        compiled.evaluate({**context, **dict.fromkeys(fields, f"synthetic-{n}"), RANDOM: str(n)}, snapshot.flags)
        for n in range(SYNTHETIC)
    ]
    on = [result for result in results if result.enabled]
    variants = Counter(result.variant.name for result in on if result.variant.enabled)
    percent = round(100 * len(on) / SYNTHETIC, 1)
    return {"total": SYNTHETIC, "on": len(on), "percent": percent, "variants": sorted(variants.items())}


@dataclass(frozen=True, slots=True)
class Evaluation:
    pk: int
    codename: str
    result: Result

    @property
    def reason(self) -> str:
        return reason_text(self.result)


def evaluations(user: Any) -> list[Evaluation]:
    """Every flag's result for a user, in codename order; nothing is counted as use."""
    snapshot, context = store.current(), flat(user)
    if snapshot is None:
        return []
    compiled = [(entry.pk, entry.compiled) for entry in snapshot.ordered]
    return [Evaluation(pk, flag.name, flag.constant or flag.evaluate(context, snapshot.flags)) for pk, flag in compiled]


def who_view(model_admin: VerbAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """The share of all ids; the explanation once a user or a context is given."""
    flag = model_admin.get_object(request, unquote(object_id))
    if flag is None:
        return missing_object(model_admin, request, object_id)
    snapshot = store.current()
    compiled = snapshot.flags.get(flag.codename) if snapshot else None
    form = WhoForm(request.GET or None)
    if not may_see(request.user, get_user_model()):
        del form.fields["user"]
    found: dict[str, Any] = {}
    if compiled and snapshot and (form.is_valid() or not form.is_bound):
        given = form.cleaned_data if form.is_bound else {}
        user, typed = given.get("user"), given.get("context") or {}
        context = {**(flat(user) if user else {}), **flat(typed)}
        found["share"] = share(compiled, context, snapshot)
        if user or typed:
            shows_segments = may_see(request.user, Segment)
            explanation = explained(compiled, context, snapshot, shows_segments=shows_segments)
            found["value"] = json.dumps(explanation.result.value, ensure_ascii=False)
            found |= {"reason": reason_text(explanation.result)}
            found |= {"explanation": explanation, "context_lines": sorted(context.items())}
    template, title = "admin/feature_flags/featureflag/who.html", _("Who gets %(flag)s, and why") % {"flag": flag}
    is_known = compiled is not None
    return render_page(model_admin, request, template, title=title, original=flag, form=form, known=is_known, **found)
