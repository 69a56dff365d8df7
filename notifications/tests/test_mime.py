"""The bytes of a mail say the same as those of Python's email package, which took ten times as long."""

from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage

import pytest
from django.utils import timezone

from notifications import registry
from notifications.models import Message
from notifications.providers import smtp
from notifications.rendering import engines
from notifications.rendering.render import MailPolicy, compose, fill

NAMES = ["", "Ada", "Ada, Countess", 'Ada "the first"', "Jürgen Müller", "李小龍", "Ж" * 60, "a" * 120, "=?utf-8?q?x?="]
WORDS = ["", "Grüße\r\nund\rmehr", ".\n..dots\nFrom here", "long " * 300, "ü" * 1200, "\u2028 \x0b \x85", " trailing "]


def mail(kind, language, *, name="", word=""):
    message = Message(type=kind.code, category=kind.category, language=language, message_id="<1@example.org>")
    message.to_name, message.to_address = name, "ada@bücher.example"
    return compose(message, fill(kind, engines.sample(kind), language=language, overrides={}), date=timezone.now())


def said(data):
    """What a mail program reads: the headers, decoded, and each part with its type and its text."""
    read = message_from_bytes(data, policy=policy.default)
    headers = sorted((name, " ".join(value.split())) for name, value in read.items())
    parts = [(part.get_content_type(), part.get_content_charset(), part.get_content()) for part in read.iter_parts()]
    return headers, [(kind, charset, text.replace("\r\n", "\n").rstrip("\n")) for kind, charset, text in parts]


def both(made):
    return smtp._written(made, "=b="), smtp._generated(made, "=b=")


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("kind", registry.declared_types(), ids=lambda kind: kind.code)
def test_each_type_is_written_without_the_package_and_says_the_same(kind, language, settings):
    settings.NOTIFICATIONS_REPLY_TO = "Hilfe für alle <help@example.org>"

    written, generated = both(mail(kind, language, name="Jürgen Müller"))

    assert written is not None
    assert said(written) == said(generated)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("word", WORDS)
def test_awkward_names_and_words_arrive_as_they_would(name, word):
    made = mail(registry.get("notifications.announcement"), "de", name=name)
    made.subject = f"Grüße {word}".strip().replace("\n", " ").replace("\r", " ")
    made.body, html = f"{word}\n{made.body}", f"<p>{word}</p>\n"
    made.alternatives[0] = type(made.alternatives[0])(html, "text/html")

    written, generated = both(made)

    assert written is None or said(written) == said(generated)
    assert max(map(len, (written or generated).split(b"\r\n"))) <= 998
    assert b"\r" not in (written or generated).replace(b"\r\n", b"")


@pytest.mark.parametrize("subject", ["one\ntwo", "one\r\nBcc: all@example.org", "\x00"])
def test_a_line_break_in_a_header_is_left_to_the_package_to_refuse(subject):
    made = mail(registry.get("notifications.announcement"), "en")
    made.subject = subject

    assert smtp._written(made, "=b=") is None


# Python 3.12.1 loses the blank before "Müller", 3.13.0 writes two encoded words without a blank between them.
@pytest.mark.parametrize(
    "subject",
    [
        "Übersicht neuen neuen für der %) neuen GmbH Müller bei für",
        "(Größe: Ihre Ihre %) das Übersicht a.b? Übersicht %)",
    ],
)
def test_a_long_subject_keeps_its_blanks_in_every_version_of_python(subject):
    made = EmailMessage(policy=MailPolicy())
    made["Subject"] = subject

    header = made.as_bytes().decode("ascii").partition("Subject: ")[2].rstrip("\n")

    assert str(make_header(decode_header(header))) == subject
    assert "?==?" not in header
    assert max(map(len, header.split("\n"))) <= 76
