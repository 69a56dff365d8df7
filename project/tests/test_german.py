"""Every sentence of the sources has its German, and the pages of the admin show it."""

import ast
import html
import re
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import chain

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.utils import timezone, translation
from django.utils.formats import date_format
from django.utils.translation import trans_real
from django.utils.translation.template import templatize

from lib.admin.changelist import time_cell
from project.tests import test_pages_of_others as others

scene = others.scene
MARKS = {"_", "gettext", "gettext_lazy", "gettext_noop", "ngettext", "ngettext_lazy", "translate"}
LITERAL = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
MARKED = re.compile(rf"\b(?:_|gettext|ngettext)\(\s*u?({LITERAL})", re.DOTALL)


def sources(pattern):
    rooms = ("lib", "users", "notifications", "feature_flags", "project", "templates")
    found = chain.from_iterable((settings.BASE_DIR / room).rglob(pattern) for room in rooms)
    return [path for path in found if not {"tests", "migrations", "node_modules"} & set(path.parts)]


def sentences():
    for path in sources("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_mark = isinstance(node, ast.Call) and getattr(node.func, "id", "") in MARKS and node.args
            if is_mark and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value
    for path in [*sources("*.html"), *sources("*.txt")]:
        for literal in MARKED.findall(templatize(path.read_text())):
            yield ast.literal_eval(literal)


def is_german(sentence):
    """By our catalogue, or by Django's own below it."""
    catalogue = trans_real.translation("de")._catalog
    return sentence in catalogue or (sentence, 0) in catalogue or (sentence, 1) in catalogue


def test_every_sentence_of_the_sources_is_german_too():
    found = set(sentences())

    assert len(found) > 1_000
    assert [sentence for sentence in found if not is_german(sentence)] == []


#: Words of our English that no German page holds.
ENGLISH = re.compile(
    r"\b(?:the|and|of|with|not|you|your|this|that|which|from|until|since|never|changed|created|shown?|none|any|"
    r"switch(?:ed)?|sent|failed|page|why|who|what|when|where|address|reason|history|delete|save|search|settings)\b",
    re.IGNORECASE,
)
#: What a page may say in English: code, what people typed, names of permissions.
_SILENT = re.compile(
    r"<(script|style|code|pre|select id=\"id_user_permissions\"|textarea|datalist|svg|kbd|iframe)\b.*?</(\1|select)>",
    re.DOTALL,
)
_TEXTS = re.compile(r"(?:aria-label|title|placeholder|alt|data-\w+)=\"([^\"]*)\"|>([^<]+)<")


def texts(page):
    for attribute, text in _TEXTS.findall(_SILENT.sub("", page)):
        words = html.unescape(attribute or text).strip()
        for data in others.MARKS.values():
            words = words.replace(data, "")
        words = re.sub(r"\S+@\S+", "", words)
        if " | Can " not in words:
            yield words


OWN = (
    *("/admin/language/", "/admin/second-factor/", "/admin/second-factor/app/", "/admin/reauthenticate/"),
    *("/admin/password_change/", "/admin/login/factor/", "/admin/nothing/", "/admin/users/user/add/"),
    *("/admin/feature_flags/featureflag/add/", "/admin/feature_flags/flagtoken/add/", "/admin/users/user/?q=nobody"),
    *("/admin/feature_flags/segment/add/", "/admin/notifications/suppression/add/"),
    *("/admin/notifications/templateoverride/users.welcome/de/", "/admin/notifications/announcement/add/"),
    "/admin/notifications/webhookendpoint/add/",
)


@pytest.mark.django_db
def test_no_page_of_the_admin_is_half_english(scene):
    client = others.clerk(without=())
    client.user.is_superuser = True
    client.user.save()
    found = {}

    for path in [*others.addresses(), *OWN]:
        page = client.get(path, follow=True, headers={"Accept-Language": "de"}).content.decode()
        found |= {text: path for text in texts(page) if ENGLISH.search(text)}

    assert found == {}


def test_moments_are_spelled_in_the_language_of_the_page():
    at = datetime(2026, 11, 30, 12, 50, 7, tzinfo=UTC)
    names = [name for name in vars(import_module("lib.formats.en.formats")) if name.isupper()]

    for language in settings.PAGE_LANGUAGES:
        spelled = vars(import_module(f"lib.formats.{language}.formats"))
        assert {name for name in names if name not in spelled} == set()
    with translation.override("de"):
        assert date_format(at, "DAY") == "30. Nov."
        assert date_format(at, "MOMENT_TO_THE_SECOND") == "30. Nov. 2026 12:50:07 UTC"
        yesterday = timezone.localtime() - timedelta(days=1)
        assert f">gestern {yesterday:%H:%M}<" in time_cell(yesterday)


@pytest.mark.django_db
def test_buttons_explain_themselves_in_german(scene):
    client, found, asked = others.clerk(without=()), {}, 0
    client.user.is_superuser = True
    client.user.save()

    for model, pages in admin.site._registry.items():
        row = model._default_manager.first()
        for verb in getattr(pages, "verbs", ()) if row else ():
            if verb.asks(row):
                path = pages.page_url(f"verb_{verb.slug}", quote(row.pk))
                asked += 1
                page = client.post(path, headers={"Accept-Language": "de"}).content.decode()
                found |= {text: path for text in texts(page) if ENGLISH.search(text)}

    assert asked > 5
    assert found == {}
