import json

import pytest
from django.conf import settings as django_settings
from django.template import Engine

from notifications import registry, render
from notifications.checks import types_have_templates
from notifications.tests import kinds

SHIPPED = sorted(kind.code for kind in registry.declared_types() if not kind.code.startswith("tests."))


def rendered(code, **variables):
    kind = registry.get(code)
    with open(django_settings.BASE_DIR / "templates" / kind.folder / "sample.json") as file:
        sample = json.load(file)
    kind.context.model_validate(sample["context"])
    assert set(kind.secrets) <= set(sample["derived"])
    return render.render(kind, {**sample["context"], **sample["derived"], **variables}, language="en")


class Strict(str):
    """A variable nobody gives is a misspelt one."""

    def __contains__(self, item):
        return True

    def __mod__(self, name):
        raise AssertionError(f"no variable {name}")


@pytest.fixture
def _strict(monkeypatch):
    render._engine.cache_clear()
    make = Engine.__init__
    monkeypatch.setattr(
        Engine, "__init__", lambda self, **options: make(self, **options, string_if_invalid=Strict("%s"))
    )
    yield
    render._engine.cache_clear()


@pytest.mark.usefixtures("_strict")
@pytest.mark.parametrize("code", SHIPPED)
def test_every_type_renders_its_sample_with_no_variable_missing(code):
    mail = rendered(code)

    assert mail.subject
    assert "Hello Ada" in mail.text or "Welcome, Ada" in mail.text
    assert "Ada" in mail.html
    assert "{" not in mail.text
    assert len(mail.html) < 90_000


@pytest.mark.parametrize(
    ("code", "subject", "content"),
    [
        ("users.registration_code", "Registration Code", "472913"),
        ("users.welcome", "Welcome!", "https://app.example.org/login"),
        (
            "users.forgot_password",
            "Reset Password link",
            "https://app.example.org/forgot-password/reset?reset_token=c2FtcGxlLXRva2Vu",
        ),
    ],
)
def test_clients_know_these_mails(code, subject, content):
    mail = rendered(code)

    assert mail.subject == subject
    assert content in mail.text
    assert content in mail.html


def test_text_stays_as_typed_and_html_is_escaped():
    mail = rendered("users.welcome", first_name="D'Ada <b>& Co")

    assert "D'Ada <b>& Co" in mail.text
    assert "D&#x27;Ada &lt;b&gt;&amp; Co" in mail.html


def test_a_name_that_advertises_is_not_printed():
    mail = rendered("users.welcome", first_name="Win at www.example.net")

    assert "example.net" not in mail.text + mail.html
    assert mail.text.startswith("Welcome!\n")


@pytest.mark.parametrize("name", ["Ada", "Jean-Luc", "O'Brien", "Müller", "J. R.", "Σωκράτης", "李小龙", "  Ada  "])
def test_names_are_names(name):
    assert render.greeting_name(name) == name.strip()


@pytest.mark.parametrize(
    "name",
    [
        "Ada\nBcc: x",
        "Ada\u2028x",
        "Ada\u202ex",
        "http://x",
        "WWW.x",
        "Visit example.org now",
        "example。org",
        "ｅｘａｍｐｌｅ．ｏｒｇ",
        "a@b",
        "Call 555 123 45",
    ],
)
def test_what_a_mail_program_would_link_is_no_name(name):
    assert render.greeting_name(name) == ""


def test_a_long_name_is_cut():
    assert render.greeting_name("A" * 61) == "A" * 60


def test_a_subject_is_one_short_line(monkeypatch):
    monkeypatch.setattr(render, "_part", lambda *args: "a\r\n b" + "x" * 300)

    mail = render.render(registry.get("tests.hello"), {}, language="en")

    assert mail.subject.startswith("a bxxx")
    assert len(mail.subject) == 200


def test_a_whole_body_in_a_language_wins(settings, tmp_path):
    folder = tmp_path / "emails" / "tests" / "hello"
    folder.mkdir(parents=True)
    (folder / "body.de.txt").write_text("Hallo {{ first_name }}")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [*settings.TEMPLATES[0]["DIRS"], tmp_path]}]
    kind = registry.get("tests.hello")

    assert render.render(kind, {"first_name": "Ada"}, language="de").text == "Hallo Ada\n"
    assert render.render(kind, {"first_name": "Ada"}, language="en").text.startswith("Hello Ada")


def test_a_type_without_files_is_found_before_its_first_message(settings):
    assert types_have_templates() == []
    settings.TEMPLATES = [
        {**settings.TEMPLATES[0], "DIRS": [d for d in settings.TEMPLATES[0]["DIRS"] if d != kinds.TEMPLATES]}
    ]

    errors = types_have_templates()

    assert {error.id for error in errors} == {"notifications.E004"}
    assert errors[0].msg.startswith("tests.hello lacks emails/tests/hello/subject.txt")
