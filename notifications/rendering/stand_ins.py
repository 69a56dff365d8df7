"""A template of staff is filled with random stand-ins, so that no tag or filter ever sees a secret. What it makes is
parsed as a mail program parses it (HTML Standard, 13.2); only where a stand-in is text of its own or the whole `href`
of a link to us does the secret take its place."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.html import escape
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from notifications.registry import MASK

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser


class Misplaced(Exception):
    """A secret would stand where others could read it; the text is a sentence for staff."""


# All that a mail with a secret is made of, tags and attributes: nothing here fetches, posts or frames anything.
# Text goes on through the last; all other elements end a word.
_ELEMENTS, _ATTRIBUTES, _INLINE = (
    frozenset(names.split())
    for names in (
        "html head meta title style body div p span a b strong i em u s small big sub sup font br hr wbr h1 h2 h3 h4 h5"
        " h6 ul ol li dl dt dd blockquote pre code center section article header footer main"
        " table caption colgroup col thead tbody tfoot tr td th img",
        "class id style lang dir title role align valign width height bgcolor color face size border cellpadding"
        " cellspacing colspan rowspan span scope start type alt name content charset href src target rel hidden xmlns",
        "a b strong i em u s small big sub sup font span code wbr img",
    )
)
#: Text in these is shown by no mail program, or not as text; a form sends it where it likes.
_SILENT = frozenset({"title", "style", "script", "textarea", "option"})
#: What makes a style sheet fetch something; an escape could spell any of it.
_FETCHES = re.compile(r"\\|url|@import|@font-face|image|src|expression|behavior|binding", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


class StandIns:
    """The stand-ins of one part, `by_name`, and what they stand for. `encloses` tells where remote content is out."""

    def __init__(self, values: Mapping[str, str], *, required: frozenset[str]) -> None:
        self._core = secrets.token_hex(16)
        # In two cases and with a colon: a filter that changes anything leaves its trace.
        self.by_name = {name: f"Zq:{self._core}{n}:qZ" for n, name in enumerate(values)}
        self._values = {self.by_name[name]: value for name, value in values.items()}
        self._required = {name: self.by_name[name] for name in required}

    def reveal(self, made: str, part: str) -> str:
        """The part with the secrets in place. Raises Misplaced."""
        if not self._values:
            return made
        if part == "subject":
            if self._traces(made):
                raise Misplaced(_("A subject must not tell a code or a link of this mail."))
            return made
        if part == "html":
            # 1.8 MiB, needed only for mails of one's own that hold a secret.
            from selectolax.lexbor import LexborHTMLParser

            tree = LexborHTMLParser(made)
            text = self._checked(tree)
            made = tree.html or ""
        else:
            text = made
        self._refuse_joined(text)
        if lost := sorted(name for name, stand_in in self._required.items() if stand_in not in made):
            raise Misplaced(format_lazy(_("It must show {names}."), names=", ".join(lost)))
        for stand_in, value in self._values.items():
            made = made.replace(stand_in, escape(value) if part == "html" else value)
        return made

    def _traces(self, text: str) -> int:
        return text.lower().count(self._core)

    def _refuse_joined(self, text: str) -> None:
        """Mail programs make a link of all that stands together, in angle brackets over lines (RFC 3986, C)."""
        apart = 0
        for stand_in in self._values:
            for found in re.finditer(rf"(?:\A|[ \t\r\n])\(?{stand_in}(?=[.,;:!?)]*(?:[ \t\r\n]|\Z))", text):
                apart += text.rfind("<", 0, found.end()) <= text.rfind(">", 0, found.end())
        if apart < self._traces(text):
            raise Misplaced(
                _(
                    "A code or link stands as it is, with a blank or the end of a line on both sides: "
                    "no filter, no part of a longer address."
                )
            )

    def _checked(self, tree: LexborHTMLParser) -> str:
        """The text people read, one line for each block."""
        pieces: list[str] = []
        for node in _walk(tree):
            if isinstance(node, str):
                pieces.append(node)
            elif node.is_text_node:
                text = node.text(deep=False)
                if node.parent is not None and node.parent.tag in _SILENT:
                    self._refuse_silent(text, node.parent.tag)
                else:
                    pieces.append(text)
            elif node.is_element_node:
                self._refuse_element(node)
            elif node.is_comment_node and self._required:
                raise Misplaced(_("A mail with a code or link takes no comments: some programs read them as content."))
            elif node.is_comment_node:
                self._refuse_silent(node.html or "", "a comment")
        return "".join(pieces)

    def _refuse_silent(self, text: str, where: str) -> None:
        if self._traces(text):
            raise Misplaced(format_lazy(_("A code or link must not stand in {where}."), where=where))
        if where == "style" and self._required:
            _refuse_fetching(text)

    def _refuse_element(self, node: Any) -> None:
        tag = node.tag or ""
        if self._required and tag not in _ELEMENTS:
            raise Misplaced(format_lazy(_("A mail with a code or link takes no <{tag}>."), tag=tag[:40]))
        for name, given in node.attributes.items():
            value = given or ""
            if self._traces(value) or self._traces(name):
                if (tag, name) != ("a", "href") or value not in self._values:
                    text = _('In a tag a code or link stands only as the whole of <a href="…">, not in {name}.')
                    raise Misplaced(format_lazy(text, name=name[:40]))
                ours = tuple(f"{base}/" for base in (settings.APP_URL, settings.BASE_URL) if base)
                if self._values[value] != MASK and not self._values[value].startswith(ours):
                    raise Misplaced(_("Only a link to APP_URL or BASE_URL stands in href."))
            elif self._required:
                _refuse_remote(tag, name, value)


def _refuse_remote(tag: str, name: str, value: str) -> None:
    if name not in _ATTRIBUTES or (name == "href" and tag != "a"):
        raise Misplaced(
            format_lazy(_("A mail with a code or link takes no {name} in <{tag}>."), name=name[:40], tag=tag)
        )
    if name == "src" and not (tag == "img" and value.lower().startswith("data:image/")):
        raise Misplaced(_("A mail with a code or link takes no remote image."))
    if name == "style":
        _refuse_fetching(value)


def _refuse_fetching(style: str) -> None:
    # Some mail programs read on behind a comment as if it were not there.
    if found := _FETCHES.search(style) or _FETCHES.search(_COMMENT.sub("", style)):
        raise Misplaced(format_lazy(_("The styles of a mail with a code or link take no {style}."), style=found[0]))


def _walk(tree: LexborHTMLParser) -> Iterator[Any]:
    """Every node in its order, and a line end around each block. Without recursion: tags nest as deep as staff like."""
    stack: list[Any] = [tree.root.parent] if tree.root is not None else []
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, str):
            continue
        inner: list[Any] = []
        child = node.first_child
        while child is not None:
            inner.append(child)
            child = child.next
        if node.is_element_node and node.tag not in _INLINE:
            yield "\n"
            stack.append("\n")
        stack += reversed(inner)
