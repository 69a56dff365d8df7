"""Every sentence of the sources has its German, and the pages of the admin show it."""

import ast
import re
from itertools import chain

from django.conf import settings
from django.utils.translation import trans_real
from django.utils.translation.template import templatize

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
