import threading
import time

import pytest
from django.db import connection

from lib.actors import Actor
from lib.errors import ProductError
from notifications import registry
from notifications.models import Message, TemplateOverride
from notifications.rendering import engines, overriding, render
from notifications.services import delivery, outbox, overrides
from notifications.services.staff_actions import send_test
from notifications.tests import kinds
from notifications.tests.factories import MessageFactory

COMMAND = Actor.command("tests")

pytestmark = pytest.mark.django_db
CODE, LANGUAGE = "users.registration_code", "en"
TEXT = "Hi {{ first_name|upper }}: {{ registration_code }}"
HTML = '{% extends "emails/_base.html" %}{% block content %}<p class="x">{{ registration_code }}</p>{% endblock %}'
EVERY = [
    (kind.code, language)
    for kind in registry.declared_types()
    if registry.EMAIL in kind.channels and not kind.code.startswith("tests.")
    for language in ("en", "de")
]


@pytest.fixture
def kind():
    return registry.get(CODE)


def save(kind, note="", seen=None, language=LANGUAGE, **bodies):
    return overrides.save(kind, language=language, bodies=bodies, actor=COMMAND, note=note, seen=seen)


def put_back(kind, **parts):
    return overrides.put_back(kind, language=LANGUAGE, parts=parts, actor=COMMAND)


def sent(kind, language=LANGUAGE, **variables):
    return render.render(kind, {**engines.sample(kind), **variables}, language=language)


def refused(kind, **bodies):
    with pytest.raises(overrides.InvalidTemplate) as error:
        save(kind, **bodies)
    assert not TemplateOverride.objects.exists()
    return error.value.problems


def test_what_staff_write_is_the_next_mail_in_its_language_alone(kind):
    assert save(kind, text=TEXT, note="Shorter") == ["text"]

    row = TemplateOverride.objects.get()
    mail = sent(kind)
    assert mail.text == "Hi ADA: 472913\n"
    assert mail.source == f"override:{row.pk}"
    assert (row.version, row.active, row.edited_by_label, row.note) == (1, True, "command:tests", "Shorter")
    assert "type this code" in mail.html
    assert "Hi ADA" not in sent(kind, "de").text


def test_each_save_is_a_version_and_any_of_them_comes_back(kind):
    save(kind, text=TEXT)
    save(kind, text=f"{TEXT}!")
    first, second = TemplateOverride.objects.order_by("version")
    assert sent(kind).text == "Hi ADA: 472913!\n"

    assert put_back(kind, text=first)
    assert sent(kind).text == "Hi ADA: 472913\n"
    assert not put_back(kind, text=first)

    assert put_back(kind, text=None)
    assert not put_back(kind, text=None)
    assert sent(kind).source.startswith("file:")

    save(kind, text=f"{TEXT}?")
    assert [row.version for row in TemplateOverride.objects.order_by("pk")] == [1, 2, 3]


def test_what_is_there_already_makes_no_version_and_the_files_own_words_are_the_file(kind):
    file = {part: engines.source(kind, part, LANGUAGE) for part in overrides.PARTS}
    assert save(kind, **file) == []
    assert save(kind, text=TEXT) == ["text"]
    assert save(kind, text=TEXT.replace("\n", "\r\n")) == []

    assert save(kind, **file) == ["text"]

    assert TemplateOverride.objects.count() == 1
    assert not TemplateOverride.objects.filter(active=True).exists()


@pytest.mark.parametrize(("code", "language"), EVERY)
def test_every_file_keeps_the_rules_of_staff(code, language):
    """So that whoever changes one word of it can save it."""
    kind = registry.get(code)
    bodies = {part: f"{engines.source(kind, part, language)} ." for part in overrides.PARTS}

    assert save(kind, language=language, **bodies) == ["subject", "text", "html"]

    assert sent(kind, language).source.startswith("override:")
    assert overrides.trouble(kind, language, overriding.active(kind, language)) == {}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "must not be empty"),
        (" \n", "must not be empty"),
        ("a\x00 {{ registration_code }}", "NUL"),
        ("\ud800 {{ registration_code }}", "lone surrogates"),
        ("ä" * 50_001 + "{{ registration_code }}", "larger than 100 kB"),
        ("{% load i18n %}{{ registration_code }}", "'load'; allowed are if, for"),
        ("{% csrf_token %}{{ registration_code }}", "'csrf_token'; allowed are"),
        ("{% autoescape off %}{{ registration_code }}{% endautoescape %}", "'autoescape'; allowed are"),
        ("{{ registration_code|safe }}", "Invalid filter: 'safe'; allowed are"),
        ("{{ registration_code|ljust:'999999999' }}", "Invalid filter: 'ljust'"),
        ("{% if registration_code %}", "Unclosed tag"),
        ("{{ registration_code", "must hold registration_code"),
        ("{{ registration_code }}{{ first_nam }}", "no variable first_nam"),
        ("{{ registration_code }}{{ settings.SECRET_KEY }}", "no variable settings"),
        ("{{ registration_code }}{{ registration_code._x }}", "Variables and attributes may not begin"),
        ("{{ registration_code }}{% if first_name and nobody == 1 %}{% endif %}", "no variable nobody"),
        ("{{ registration_code }}{% for a in many %}{{ a }}{% endfor %}", "no variable many"),
        ("{{ registration_code }}{{ first_name|default:other }}", "no variable other"),
        ("{{ registration_code }}{% blocktranslate %}{{ thing }}{% endblocktranslate %}", "no variable thing"),
        ("{{ registration_code }}{% blocktranslate with a=b %}{{ a }}{% endblocktranslate %}", "no variable b"),
        ("{{ registration_code }}{% with a=b %}{{ a }}{% endwith %}", "no variable b"),
        ("{{ registration_code }}{% include 'emails/_parts/p.html' with text=c only %}", "no variable c"),
        ("{{ registration_code }}{% include 'admin/base.html' %}", "begins with"),
        ("{{ registration_code }}{% include 'emails/../admin/base.html' %}", "begins with"),
        ("{{ registration_code }}{% include first_name %}", "begins with"),
        ("{% extends first_name %}{% block content %}{{ registration_code }}{% endblock %}", "begins with"),
        ("{{ registration_code }}{% include 'emails/absent.html' %}", "cannot be filled: emails/absent.html"),
        (
            "{{ registration_code }}{% blocktranslate count n=first_name %}a{% plural %}b{% endblocktranslate %}",
            "must be",
        ),
        ("Hello {{ first_name }}", "must hold registration_code"),
        ("{% if not first_name %}{{ registration_code }}{% endif %} Hello", "must show registration_code"),
        ("{{ registration_code }}" + "{% if first_name %}" * 3000 + "{% endif %}" * 3000, "nested too deeply"),
        (
            "{{ registration_code }}" + "{% for a in reason %}" * 6 + "x" + "{% endfor %}" * 6,
            "too much text",
        ),
        (
            "{{ registration_code }}"
            + "{% blocktranslate asvar a %}{{ a }}{{ a }}{{ reason }}{% endblocktranslate %}" * 60
            + "{{ a }}",
            "too much text",
        ),
        ("{{ registration_code }}{% include './x.html' %}", "begins with"),
        ("{% extends '../x.html' %}{{ registration_code }}", "points outside"),
        ("{{ registration_code }}" + "{% with a=first_name %}" * 300 + "{% endwith %}" * 300, "nested too deeply"),
        ("{{ registration_code }}{% if " + "1 and " * 9000 + "1 %}x{% endif %}", "nested too deeply"),
        ("{{ registration_code }}{% include 'emails/' %}", "cannot be filled: "),
        # One step each, and each would fill the memory.
        ("{{ registration_code|join:reason }}", "Invalid filter: 'join'"),
        ("{{ registration_code|floatformat:'99999999' }}", "Invalid filter: 'floatformat'"),
    ],
)
@pytest.mark.parametrize("part", ["text", "html"])
def test_what_breaks_a_rule_is_told_at_its_field(kind, part, body, told):
    problems = refused(kind, **{part: body})

    assert list(problems) == [part]
    assert told in " ".join(problems[part])


@pytest.mark.parametrize(
    ("part", "body", "told"),
    [
        ("text", "{% for a in '" + "a" * 30_000 + "' %}{% for b in a %}{% endfor %}{% endfor %}", "too many steps"),
        ("text", "{{ '" + "é" * 20_000 + "'" + "|urlencode" * 5000 + " }}", "too much text"),
        ("text", "{% for a in reason %}{{ a" + "|lower" * 10_000 + " }}{% endfor %}", "too many steps"),
        ("html", "<style>" + "*{a:b}" * 4000 + "</style>" + "<p>" * 8000, "too many styles"),
    ],
    ids=["loops around nothing", "a filter that grows", "filters in a loop", "styles"],
)
def test_a_template_keeps_nobody_busy(kind, part, body, told):
    began = time.thread_time()

    problems = refused(kind, **{part: "{{ registration_code }}" + body})

    assert told in " ".join(problems[part])
    assert time.thread_time() - began < 3


def test_while_developing_a_broken_template_says_what_is_wrong(kind, settings):
    settings.DEBUG = True

    problems = refused(kind, text="{{ registration_code }}{% include 'emails/absent.html' %}")

    assert "cannot be filled: emails/absent.html" in problems["text"][0]


def test_a_template_that_gets_too_long_is_refused(kind):
    body = "{{ registration_code }}" + ("x" * 900 + "{{ reason }}") * 105

    assert "larger than 100 kB" in refused(kind, text=body)["text"][0]


def test_a_subject_tells_no_code(kind):
    assert "must not tell registration_code" in refused(kind, subject="{{ registration_code }}")["subject"][0]


def test_the_text_holds_every_link_of_the_html(kind):
    link = '<a href="https://example.org/?a=1&amp;b=2">x</a>'

    problems = refused(kind, html=f"{link} {{{{ registration_code }}}}")
    assert "The text lacks a link of the HTML: https://example.org/?a=1&b=2." in problems["html"]
    assert save(kind, html=f"{link} {{{{ registration_code }}}}", text=f"{TEXT} https://example.org/?a=1&b=2")


def test_what_people_typed_is_escaped_in_the_words_of_staff_too():
    kind = registry.get("users.welcome")
    save(kind, html="{% translate 'Hello,' as hi %}{{ hi }} {{ first_name|default:'you' }}", text="{{ first_name }}")

    mail = sent(kind, first_name="<b>&")

    assert "&lt;b&gt;&amp;" in mail.html
    assert mail.text == "<b>&\n"


def test_styles_move_into_the_elements_and_nothing_is_fetched(settings, tmp_path):
    kind = registry.get("users.welcome")
    sheet = tmp_path / "sheet.css"
    sheet.write_text("p {color: blue}")
    style = f'<link rel="stylesheet" href="{sheet}"><style>.x {{color: red}} @media print {{p {{margin: 0}}}}</style>'
    save(kind, html=f'{style}<p class="x">Hello</p>')

    assert 'style="color: red;"' in sent(kind).html
    assert "@media print" in sent(kind).html
    assert "blue" not in sent(kind).html
    settings.NOTIFICATIONS_INLINE_CSS = "off"
    assert 'style="color: red;"' not in sent(kind).html


def test_an_override_whose_variable_went_away_gives_way_to_the_file(kind, caplog):
    save(kind, text=TEXT, subject="Your code")
    TemplateOverride.objects.filter(part="text").update(body="Hi {{ nickname }} {{ registration_code }}")
    subject = TemplateOverride.objects.get(part="subject")

    mail = sent(kind)

    assert "type this code" in mail.text
    assert mail.subject == "Your code"
    assert mail.source == f"override:{subject.pk}"
    assert "no variable nickname" in overrides.trouble(kind, LANGUAGE, overriding.active(kind, LANGUAGE))["text"]
    assert "broken override" in caplog.text
    assert "472913" not in caplog.text


def test_an_older_version_that_breaks_todays_rules_stays_away(kind):
    save(kind, text=TEXT)
    put_back(kind, text=None)
    TemplateOverride.objects.update(body="{{ nickname }} {{ registration_code }}")

    with pytest.raises(overrides.InvalidTemplate, match="nickname"):
        put_back(kind, text=TemplateOverride.objects.get())
    assert sent(kind).source.startswith("file:")


def test_nobody_undoes_a_colleague_unseen(kind):
    seen = dict.fromkeys(overrides.PARTS)
    save(kind, text=TEXT, seen=seen)

    with pytest.raises(ProductError, match="in the meantime") as error:
        save(kind, text=f"{TEXT}!", seen=seen)

    assert error.value.status == 409
    assert sent(kind).text == "Hi ADA: 472913\n"


@pytest.mark.django_db(transaction=True)
def test_two_who_save_at_once_leave_one_version_in_use(kind):
    barrier, told = threading.Barrier(2), []

    def write(body):
        barrier.wait()
        try:
            told.append(save(kind, text=body, seen=dict.fromkeys(overrides.PARTS)))
        except ProductError as error:
            told.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(f"{TEXT} {n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(map(str, told)) == ["TEMPLATE_CHANGED", "['text']"]
    assert TemplateOverride.objects.filter(active=True).count() == 1


@pytest.mark.parametrize("note", ["x" * 201, "a\x00", "\udfff"])
def test_a_note_that_cannot_be_kept_is_refused(kind, note):
    with pytest.raises(ProductError, match="note"):
        save(kind, text=TEXT, note=note)


def test_a_language_no_mail_is_written_in_is_refused(kind):
    with pytest.raises(ProductError, match="en, de"):
        save(kind, text=TEXT, language="fr")


def test_another_process_sends_it_with_its_next_mail(mailoutbox):
    kind = registry.get("tests.hello")
    MessageFactory.create()
    delivery.QueueWorker().deliver_due()
    save(kind, text="New words: {{ code }}")
    MessageFactory.create()

    delivery.QueueWorker().deliver_due()

    assert [mail.body.splitlines()[0] for mail in mailoutbox] == ["Hello Ada, 1: 481516", "New words: 481516"]


def test_a_test_mail_shows_the_sample_and_no_live_secret(user, mailoutbox):
    message = send_test(registry.get("tests.hello"), user=user, language="de")
    delivery.QueueWorker().deliver_due()

    assert (message.type, message.context, message.to_address) == (engines.TEST, {"about": "tests.hello"}, user.email)
    assert mailoutbox[0].subject == "[Test] Hello from Switchboard"
    assert kinds.CODE in mailoutbox[0].body
    assert Message.objects.get().state == "sent"


def test_a_test_mail_about_nothing_says_that_mail_works(user, mailoutbox):
    outbox.queue(engines.TEST, to=user.email, context={}, user=user, language="de")

    delivery.QueueWorker().deliver_due()

    assert mailoutbox[0].subject == "Testnachricht von Switchboard"
