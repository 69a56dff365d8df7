"""The finder: people, flags, segments, groups, messages, templates, pages and buttons by name, in the admin.

`/admin/find/?q=` is a page; `admin/finder.js` asks the same address for JSON. It only leads somewhere: a button is
pressed on the page it stands on.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import CharField, F, Q, Value
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from feature_flags.models import FeatureFlag, Segment
from lib.addresses import normal_email
from lib.admin import address_of, may_see
from lib.admin.lists import starts_with
from lib.admin.verbs import Verb
from lib.folding import folded
from lib.text import is_storable
from notifications import registry
from notifications.admin.common import CHANGE_PROVIDER, type_label
from notifications.admin.messages import RETRY
from notifications.models import Message
from notifications.registry import EMAIL
from notifications.rendering import engines
from users.models import User, UserSearch

#: Results of one kind; what is looked for has so many characters, and messages are looked for from so many on.
EACH, LONGEST, ADDRESS_FROM = 8, 100, 3


@dataclass(frozen=True)
class Result:
    text: str
    url: str
    note: str = ""


@dataclass(frozen=True)
class Section:
    label: str
    results: list[Result]


def view(request: HttpRequest) -> HttpResponse:
    """What is found, as a page or with `as=json` for the dialog; the query stays out of every log."""
    text = request.GET.get("q", "").strip()
    sections: list[Section] = []
    note = ""
    if len(text) > LONGEST:
        note = _("Look for at most {count} characters.").format(count=LONGEST)
    elif not is_storable(text):
        note = _("A name cannot hold NUL or half characters.")
    elif not (sections := find(request, text)) and text:
        note = _("Nothing here is called “{text}”.").format(text=text)
    if request.GET.get("as") == "json":
        return JsonResponse({"note": note, "kinds": [asdict(section) for section in sections]})
    request.current_app = admin.site.name
    context = {"title": _("Find"), "query": text[:LONGEST], "note": note, "kinds": sections, "longest": LONGEST}
    return TemplateResponse(request, "admin/find.html", {**admin.site.each_context(request), **context})


def find(request: HttpRequest, text: str) -> list[Section]:
    """Each kind that the user may see, those first of which something begins with the text; without a text, pages."""
    verbs, rest = _verbs_named(text, _permitted_verbs(request))
    people, flags = _people(request, rest, verbs), _flags(request, rest)
    people_found = [Result(user.email, address_of(User, user.pk), user.get_full_name()) for user in people]
    flags_found = []
    for flag in flags:
        state = _("archived") if flag.is_archived else _("on") if flag.is_active else _("off")
        note = f"{flag.label}, {state}" if flag.label else state
        flags_found.append(Result(flag.codename, address_of(FeatureFlag, flag.pk), note))
    buttons = []
    for model, verb in verbs:
        pages: Any = admin.site.get_model_admin(model)
        for obj in people if model is User else flags:
            if verb.applies(obj) and pages.has_verb_permission(request, verb, obj):
                buttons.append(Result(f"{verb.label}: {obj}", address_of(model, obj.pk), _("on its page")))
    sections = [
        Section(_("Buttons"), [*buttons, *_starts(request, text)][:EACH]),
        Section(_("People"), people_found),
        Section(_("Flags"), flags_found),
        *_named(request, rest),
        Section(_("Messages"), _messages(request, text)),
        Section(_("Mail templates"), _templates(request, text)),
        Section(_("Pages"), _pages(request, text)),
    ]
    begins = folded(text)
    return sorted(
        (section for section in sections if section.results),
        key=lambda section: not (text and any(folded(result.text).startswith(begins) for result in section.results)),
    )


def _matches(name: Any, text: str) -> bool:
    """Whether each word of the text begins a word of the name."""
    words = folded(str(name)).split()
    return all(any(word.startswith(part) for word in words) for part in folded(text).split())


# --- Objects ----------------------------------------------------------------------------------------------------------


def _people(request: HttpRequest, text: str, verbs: list[tuple[type, Verb]]) -> list[User]:
    if len(text) < 2 or not request.user.has_perm("users.view_user"):
        return []
    keys = UserSearch.objects.find(text, EACH)
    if not keys:
        return []
    # What its buttons ask of a person is read for all together.
    pages: Any = admin.site.get_model_admin(User)
    asks = any(model is User for model, _verb in verbs)
    rows = pages.get_queryset(request) if asks else User.objects.all()
    by_key = {user.pk: user for user in rows.filter(pk__in=keys)}
    people = [by_key[key] for key in keys if key in by_key]
    if asks:
        pages.prepare_rows(request, people)
    # A whole address first, of which the search only knows that it is among them.
    return sorted(people, key=lambda user: user.email != normal_email(text))


def _flags(request: HttpRequest, text: str) -> list[FeatureFlag]:
    if not text or not request.user.has_perm("feature_flags.view_featureflag"):
        return []
    named = Q(codename__icontains=text) | Q(codename__icontains="_".join(text.split())) | Q(label__icontains=text)
    found = FeatureFlag.objects.filter(named)
    return list(found.order_by(F("archived_at").asc(nulls_first=True), "codename")[:EACH])


def _named(request: HttpRequest, text: str) -> Iterator[Section]:
    """Segments and groups, by one query: both are few."""
    models = {"segment": (Segment, _("Segments")), "group": (Group, _("Groups"))}
    asked = [
        model._default_manager.filter(name__icontains=text)
        .order_by()
        .values_list(Cast(Value(name), CharField()), "pk", "name")
        for name, (model, _label) in models.items()
        if text and may_see(request.user, model)
    ]
    if not asked:
        return
    rows = list(asked[0].union(*asked[1:], all=True).order_by("name")[: EACH * 4])
    for name, (model, label) in models.items():
        yield Section(label, [Result(row[2], address_of(model, row[1])) for row in rows if row[0] == name][:EACH])


def _messages(request: HttpRequest, text: str) -> list[Result]:
    """By id, by Message-ID, or by the recipient's address, of which the newest come first where it is whole."""
    if len(text) < ADDRESS_FROM or not request.user.has_perm("notifications.view_message"):
        return []
    rows = Message.objects.only("uid", "type", "to_address", "state", "created_at")
    try:
        found = list(rows.filter(uid=uuid.UUID(text)))
    except ValueError:
        if text.startswith("<"):
            found = list(rows.filter(message_id=text)[:EACH])
        else:
            found = (
                list(rows.filter(to_address=normal_email(text)).order_by("-created_at")[:EACH]) if "@" in text else []
            )
            # In the order of the index: any other would sort all that begin so.
            found = found or list(rows.filter(starts_with("to_address", normal_email(text)))[:EACH])
    return [
        Result(
            _("{kind} to {address}").format(kind=type_label(row.type), address=row.to_address or _("forgotten")),
            address_of(Message, row.pk),
            f"{row.get_state_display()}, {row.created_at:%Y-%m-%d %H:%M} UTC",
        )
        for row in found
    ]


def _templates(request: HttpRequest, text: str) -> list[Result]:
    if not text or not request.user.has_perm("notifications.view_templateoverride"):
        return []
    return [
        Result(
            f"{kind.label} ({language})",
            reverse("admin:notifications_templateoverride_edit", args=[kind.code, language]),
            kind.code,
        )
        for kind in registry.declared_types()
        if EMAIL in kind.channels and (_matches(kind.label, text) or text.lower() in kind.code.partition(".")[2])
        for language in engines.languages()
    ][:EACH]


# --- Pages and buttons ------------------------------------------------------------------------------------------------


def _pages(request: HttpRequest, text: str) -> list[Result]:
    own = [
        (_("Overview"), "admin:index"),
        (_("Second factor"), "admin:second_factor"),
        (_("Change password"), "admin:password_change"),
    ]
    found = [Result(name, reverse(url)) for name, url in own if _matches(name, text)]
    for app in admin.site.get_app_list(request):
        for model in app["models"]:
            name = f"{model['name']} {app['name']}"
            if model["admin_url"] and _matches(name, text):
                found.append(Result(capfirst(str(model["name"])), model["admin_url"], str(app["name"])))
    if not text:
        return found
    return sorted(found, key=lambda result: not folded(result.text).startswith(folded(text)))[:EACH]


def _starts(request: HttpRequest, text: str) -> Iterator[Result]:
    """What begins something, or concerns no single object."""
    if not text:
        return
    for app in admin.site.get_app_list(request):
        for model in app["models"]:
            if not model["add_url"]:
                continue
            name = _("Add {name}").format(name=model["model"]._meta.verbose_name)
            if _matches(name, text):
                yield Result(name, model["add_url"])
    overview = f"{reverse('admin:index')}#mail-overview"
    for name, permission in (
        (_("Pause mail"), CHANGE_PROVIDER),
        (_("Resume mail"), CHANGE_PROVIDER),
        (_("Retry what the connection lost"), RETRY.permission),
    ):
        if _matches(name, text) and request.user.has_perms([permission, "notifications.view_message"]):
            yield Result(name, overview, _("on the overview"))


def _permitted_verbs(request: HttpRequest) -> list[tuple[type, Verb]]:
    found: list[tuple[type, Verb]] = []
    for model in (User, FeatureFlag):
        pages: Any = admin.site.get_model_admin(model)
        # What destroys is found where one looks at what goes.
        found += [(model, verb) for verb in pages.permitted_verbs(request) if not verb.deletes]
    return found


def _verbs_named(text: str, verbs: list[tuple[type, Verb]]) -> tuple[list[tuple[type, Verb]], str]:
    """The buttons that the text begins to name, and what it says beside them: `switch FF_X off`.

    Without a button or anything beside it, the whole text.
    """
    named: list[tuple[type, Verb]] = []
    best, rest, words = 0, text, text.split()
    for model, verb in verbs:
        label = folded(str(verb.label)).split()
        # A word of the label, or the beginning of one from three letters on.
        used = [
            word
            for word in words
            if any(part == folded(word) or (len(folded(word)) > 2 and part.startswith(folded(word))) for part in label)
        ]
        if not used or used[0] != words[0] or not label[0].startswith(folded(words[0])) or len(used) == len(words):
            continue
        if len(used) > best:
            best, named = len(used), []
            rest = " ".join(word for word in words if word not in used)
        if len(used) == best:
            named.append((model, verb))
    return named, rest
