"""Staff change a mail's words as paragraphs: through the page, to what is rendered in both parts."""

import re
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client

from lib.actors import Actor
from notifications import registry
from notifications.admin.common import POLICY
from notifications.models import Message, TemplateOverride
from notifications.rendering import engines, render, words
from notifications.rendering.words import Words
from notifications.services import delivery, overrides
from notifications.tests import kinds
from notifications.tests.staff import faults, told
from users.models import AuditEvent
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
COMMAND = Actor.command("tests")
EVERY = [
    (kind.code, language)
    for kind in registry.declared_types()
    if registry.EMAIL in kind.channels and not kind.code.startswith("tests.")
    for language in engines.languages()
]
WELCOME, CODE, RESET, SIGN_IN = "users.welcome", "users.registration_code", "users.forgot_password", "users.new_sign_in"


def page_of(code, language="en"):
    return f"/admin/notifications/templateoverride/of/{code}/{language}/"


def typed(client, page, **changes):
    form = client.get(page).context["words_form"]
    return {name: form.initial.get(name, "") for name in form.fields} | {"note": "Nicer"} | changes


def save(client, page, **changes):
    return client.post(page, typed(client, page, **changes), follow=True)


def sent(code, language="en", **values):
    kind = registry.get(code)
    return render.render(kind, {**engines.sample(kind), **values}, language=language)


def seen(html):
    """What a person reads of the HTML, without what is hidden."""
    shown = re.sub(r"<(head|style|div style=\"display:none)\b.*?</(head|style|div)>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", shown))


def refused(client, page, field="words", **changes):
    response = save(client, page, **changes)
    assert response.status_code == 200
    assert not TemplateOverride.objects.exists()
    assert not LogEntry.objects.exists()
    return " ".join(response.context["words_form"].errors.get(field, []))


# --- To words and back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "language"), EVERY)
def test_a_mail_starts_with_the_words_of_its_file_and_keeps_them(staff_client, code, language):
    page = page_of(code, language)
    response = staff_client.get(page)

    first = response.context["words_form"].initial
    assert first["subject"]
    assert first["words"]
    assert not faults(response)
    same = save(staff_client, page)
    assert told(same)[0].endswith("nothing changed.")
    assert not TemplateOverride.objects.exists()


@pytest.mark.parametrize(("code", "language"), EVERY)
def test_one_save_changes_both_parts_and_comes_back_as_it_was_typed(staff_client, code, language):
    page = page_of(code, language)
    old = staff_client.get(page).context["words_form"].initial
    body, subject = f"{old['words']}\n\nMit Gruß, 100 % & “Ihr” <Team>", f"{old['subject']} (neu)"

    response = save(staff_client, page, words=body, subject=subject)

    assert told(response)[0].endswith("Subject, Text, HTML saved.")
    mail, text = sent(code, language), "Mit Gruß, 100 % & “Ihr” <Team>"
    assert mail.source.startswith("override:")
    assert mail.source.count(",") == 2
    assert mail.subject.endswith("(neu)")
    assert text in mail.text
    assert text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in mail.html
    again = response.context["words_form"].initial
    assert (again["subject"], again["words"]) == (subject, body)


def test_one_save_is_one_version_one_reason_and_one_event(staff_client, superuser):
    save(staff_client, page_of(WELCOME), subject="Hi", words="Hi {{ first_name }}!", note="Shorter")

    rows = TemplateOverride.objects.all()
    assert {row.part for row in rows} == set(overrides.PARTS)
    assert len({row.created_at for row in rows}) == 1
    assert {(row.note, row.edited_by) for row in rows} == {("Shorter", superuser)}
    event = AuditEvent.objects.get(event="template.saved")
    assert event.data["changed"] == ["subject", "text", "html"]
    assert event.data["reason"] == "Shorter"
    assert len(staff_client.get(page_of(WELCOME)).context["history"]) == 1


def test_a_link_alone_is_a_button_and_a_line(staff_client):
    save(staff_client, page_of(RESET), words='Hello\n\n[Go "on" \\ 5% it\'s <now>]({{reset_url}})')

    mail, url = sent(RESET), engines.sample(registry.get(RESET))["reset_url"]
    assert f"Hello\n\n{url}\n" in mail.text
    link = re.search(r'<a href="([^"]*)" style="[^"]*">([^<]*)</a>', mail.html)
    assert unescape(link[1]) == url
    assert unescape(link[2]) == 'Go "on" \\ 5% it\'s <now>'
    assert "[Go" not in mail.html + mail.text
    again = staff_client.get(page_of(RESET)).context["words_form"].initial["words"]
    assert again == 'Hello\n\n[Go "on" \\ 5% it\'s <now>]({{ reset_url }})'


@pytest.mark.parametrize(("language", "label"), [("en", "Continue"), ("de", "Weiter")])
def test_a_button_without_words_says_continue_in_the_language_of_the_mail(staff_client, language, label):
    save(staff_client, page_of(WELCOME, language), words="Hi\n\n{{ login_url }}\n\nhttps://example.org/?a=1&b=2")

    mail = sent(WELCOME, language)
    assert mail.html.count(f">{label}</a>") == 2
    assert 'href="https://example.org/?a=1&amp;b=2"' in mail.html
    assert "https://example.org/?a=1&b=2\n" in mail.text
    again = staff_client.get(page_of(WELCOME, language)).context["words_form"].initial["words"]
    assert again == f"Hi\n\n[{label}]({{{{ login_url }}}})\n\n[{label}](https://example.org/?a=1&b=2)"


def test_a_code_alone_is_a_box_and_a_line(staff_client):
    save(staff_client, page_of(CODE), words="Your code:\n\n{{ registration_code }}\n\nBye")

    mail = sent(CODE)
    assert mail.text.startswith("Your code:\n\n472913\n\nBye\n")
    assert re.search(r'<p class="code ink"[^>]*>472913</p>', mail.html)


def test_lines_of_a_paragraph_stay_lines(staff_client):
    save(staff_client, page_of(WELCOME), words="One\r\n  two\r\n\r\n\r\n \r\nthree ")

    mail = sent(WELCOME)
    assert mail.text.startswith("One\ntwo\n\nthree\n")
    assert "One<br>\ntwo</p>" in mail.html


def test_what_is_empty_leaves_no_gap(staff_client):
    save(staff_client, page_of(SIGN_IN))
    old = staff_client.get(page_of(SIGN_IN)).context["words_form"].initial["words"]
    save(staff_client, page_of(SIGN_IN), words=f"{old}\n\n{{{{ program }}}}\n\nBye, {{{{ first_name }}}}.")

    bare = sent(SIGN_IN, first_name="", program="", ip="")
    for text in (re.sub(r"\s+", " ", bare.text), seen(bare.html)):
        assert "Hello, " in text
        assert "Bye." in text
        assert "Program" not in text
        assert "IP address" not in text
    assert "<br>" not in bare.html
    whole = sent(SIGN_IN)
    assert "Program: Firefox on Linux\nIP address: 203.0.113.7\n" in whole.text
    assert "Program: Firefox on Linux<br>\nIP address: 203.0.113.7</p>" in whole.html
    assert "Hello Ada," in whole.text


# --- Nothing typed is run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "{% now 'Y' %} {{ registration_code }}",
        "{{ registration_code|lower }}",
        "{# a #} {{ registration_code }}",
        "{{ registration_code }} {{ first_name",
        "{{{ registration_code }}}",
        "{{ registration_code }} {",
        "{{ registration_code }} }}",
        "{{ _x }} {{ registration_code }}",
        "{{ first_name.upper }} {{ registration_code }}",
    ],
)
def test_tags_and_filters_are_refused_with_a_sentence(staff_client, body):
    assert "Braces stand only around a name" in refused(staff_client, page_of(CODE), words=body)
    assert "Braces stand only around a name" in refused(staff_client, page_of(WELCOME), "subject", subject=body)


@pytest.mark.parametrize(
    ("code", "changes", "field", "sentence"),
    [
        (CODE, {"words": "Hello"}, "words", "It must hold registration_code."),
        (RESET, {"words": "Hello {{ first_name }}"}, "words", "It must hold reset_url."),
        (CODE, {"words": "{{ nickname }} {{ registration_code }}"}, "words", "There is no variable nickname"),
        (CODE, {"subject": "{{ nickname }}"}, "subject", "There is no variable nickname"),
        (CODE, {"subject": "{{ registration_code }}"}, "subject", "must not tell registration_code"),
        (RESET, {"words": "https://evil.example/{{ reset_url }}"}, "words", "stands as it is"),
        (RESET, {"words": "Go [here]({{ reset_url }}) now"}, "words", "A button stands alone"),
        (RESET, {"words": "[{{ first_name }}]({{ reset_url }})"}, "words", "A button stands alone"),
        (CODE, {"words": "{{\nregistration_code }}"}, "words", "Braces stand only"),
        (WELCOME, {"words": " \n"}, "words", "must not be empty"),
        (WELCOME, {"words": "a\x00"}, "words", "Null characters"),
        (WELCOME, {"words": "x" * 100_001}, "words", "larger than 100 kB"),
        (WELCOME, {"words": "New", "note": ""}, "note", "Say why."),
    ],
)
def test_what_breaks_a_rule_is_told_once_at_its_field(staff_client, code, changes, field, sentence):
    found = refused(staff_client, page_of(code), field, **changes)

    assert found.count(sentence) == 1


@pytest.mark.parametrize("name", ["<b>&", "{{ product_name }}", "{% debug %}", "{# x #}"])
def test_a_persons_name_stays_text(staff_client, name):
    save(staff_client, page_of(WELCOME), words="Hi {{ first_name }}!")

    mail = sent(WELCOME, first_name=name)

    assert mail.text.startswith(f"Hi {name}!\n")
    assert f"Hi {name}!</p>" in mail.html.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert "<b>" not in mail.html


def test_words_equal_to_a_sentence_of_ours_are_not_translated(staff_client):
    save(staff_client, page_of(WELCOME, "de"), words="You need do nothing.\n\n[Sign in]({{ login_url }})")

    mail = sent(WELCOME, "de")
    assert "You need do nothing." in mail.text
    assert "You need do nothing.</p>" in mail.html
    assert ">Sign in</a>" in mail.html


# --- Source, and what was there before --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bodies",
    [
        {"text": "Hi {{ first_name|upper }} {{ login_url }}"},
        {"html": "<p>Hi</p>"},
        {"subject": "{% if first_name %}Hi {{ first_name }}{% else %}Hello{% endif %}"},
    ],
)
def test_what_was_written_as_source_says_so_and_stays_editable(staff_client, bodies):
    kind, page = registry.get(WELCOME), page_of(WELCOME)
    overrides.save(kind, language="en", bodies=bodies, actor=COMMAND)

    response = staff_client.get(page)
    content = response.content.decode()
    assert response.context["words_form"] is None
    assert "cannot be shown as paragraphs" in content
    assert re.search(r'<details [^>]*id="advanced" open>', content)
    assert not faults(response)

    source = response.context["form"]
    staff_client.post(page, {**source.initial, "subject": "Moin", "note": "Shorter"})
    assert sent(WELCOME).subject == "Moin"

    staff_client.post(f"{page}use/all/file/", {"note": "Start again"})
    response = staff_client.get(page)
    assert response.context["words_form"]
    assert 'id="advanced">' in response.content.decode()


def test_source_that_is_what_words_make_is_words_again(staff_client):
    kind = registry.get(WELCOME)
    bodies = words.templates(kind, "en", Words("Hi", "Hello {{ first_name }}"))
    overrides.save(kind, language="en", bodies=bodies, actor=COMMAND)

    assert staff_client.get(page_of(WELCOME)).context["words_form"].initial["words"] == "Hello {{ first_name }}"


def test_an_older_version_comes_back_whole(staff_client):
    page = page_of(WELCOME)
    save(staff_client, page, subject="One", words="The first words, {{ first_name }}.\n\nBye")
    save(staff_client, page, subject="Two", words="The second words, {{ first_name }}.\n\nBye")
    history = staff_client.get(page).context["history"]
    assert [row["version"].is_in_use for row in history] == [True, False]
    content = staff_client.get(page).content.decode()
    assert '<del class="diff-gone">first</del><ins class="diff-new">second</ins> words, {{ first_name }}.' in content

    question = staff_client.get(history[1]["url"])
    assert '<del class="diff-gone">second</del><ins class="diff-new">first</ins>' in question.content.decode()
    assert sent(WELCOME).subject == "Two"
    back = staff_client.post(history[1]["url"], {"note": "It was better"}, follow=True)

    assert "Subject, Text, HTML are the version of" in told(back)[0]
    assert sent(WELCOME).subject == "One"
    assert "The first words, Ada." in sent(WELCOME).text
    assert "The first words, Ada." in sent(WELCOME).html
    assert AuditEvent.objects.get(event="template.restored").data["changed"] == ["subject", "text", "html"]
    assert "already" in told(staff_client.post(history[1]["url"], {"note": "Again"}, follow=True))[0]
    assert AuditEvent.objects.filter(event="template.restored").count() == 1


def test_a_version_is_the_whole_mail_whatever_of_it_changed(staff_client):
    page = page_of(WELCOME)
    save(staff_client, page, words="The first words")
    save(staff_client, page, subject="Mine")
    save(staff_client, page, words="The last words")

    def use(n):
        staff_client.post(staff_client.get(page).context["history"][n]["url"], {"note": "Back"})
        in_use = [row["version"].is_in_use for row in staff_client.get(page).context["history"]]
        assert in_use == [each == n for each in range(3)]
        return sent(WELCOME)

    assert use(1).subject == "Mine"
    assert "The first words" in use(1).html
    assert use(2).subject == "Welcome!"
    assert "The first words" in use(2).text
    assert (use(0).subject, use(0).text[:14]) == ("Mine", "The last words")
    assert overrides.changed_parts().count() == 5


def test_a_version_is_held_to_the_rules_with_the_files_it_brings(staff_client):
    kind, page = registry.get(WELCOME), page_of(WELCOME)
    overrides.save(kind, language="en", bodies={"text": "Hi {{ login_url }}"}, actor=COMMAND)
    link = "https://example.org/new"
    overrides.save(kind, language="en", bodies={"text": f"Hi {link}", "html": f"<a href={link}>x</a>"}, actor=COMMAND)

    staff_client.post(staff_client.get(page).context["history"][1]["url"], {"note": "Back"})

    assert sent(WELCOME).text == "Hi https://app.example.org/login\n"
    assert link not in sent(WELCOME).html


def test_a_version_of_another_mail_is_not_found(staff_client):
    save(staff_client, page_of(WELCOME), words="Hello")
    row = TemplateOverride.objects.first()

    assert staff_client.get(f"{page_of(WELCOME)}use/all/{row.pk}/").status_code == 200
    for page in (page_of(CODE), page_of(WELCOME, "de")):
        assert staff_client.get(f"{page}use/all/{row.pk}/").status_code == 404


def test_nobody_undoes_a_colleague_unseen(staff_client):
    page = page_of(WELCOME)
    stale = typed(staff_client, page, words="Mine")
    save(staff_client, page, words="Theirs")

    response = staff_client.post(page, stale)

    content = response.content.decode()
    assert "It was changed in the meantime." in content
    assert response.context["words_form"]["words"].value() == "Mine"
    assert "Theirs" in sent(WELCOME).text


@pytest.mark.parametrize(
    ("code", "offered"),
    [
        (CODE, ["registration_code", "first_name"]),
        (RESET, ["reset_url", "first_name"]),
        (SIGN_IN, ["first_name", "program", "ip", "at"]),
        ("users.password_changed", ["first_name", "at"]),
        ("tests.hello", ["code", "first_name", "number"]),
    ],
)
def test_the_page_offers_the_names_that_people_can_read(staff_client, code, offered):
    names = staff_client.get(page_of(code)).context["names"]

    always = ["app_url", "forgot_password_url", "login_url", "product_name"]
    assert [name["written"] for name in names][: len(offered) + 4] == [f"{{{{ {name} }}}}" for name in offered + always]
    assert [name["written"] for name in names if name["is_needed"]] == [
        f"{{{{ {name} }}}}" for name in registry.get(code).secrets
    ]


def test_where_the_file_depends_on_facts_the_page_warns(staff_client):
    assert staff_client.get(page_of(RESET)).context["conditions"] == ["is_first"]
    assert "by change, kind." in staff_client.get(page_of("users.factor_changed")).content.decode()
    assert staff_client.get(page_of(SIGN_IN)).context["conditions"] == []


# --- Preview and test -------------------------------------------------------------------------------------------------


def test_a_draft_is_shown_in_both_parts_and_not_kept(staff_client):
    page = page_of(CODE)
    draft = typed(staff_client, page, words="New words <b>\n\n{{ registration_code }}")

    html = staff_client.post(f"{page}frame/", {**draft, "part": "html"})
    text = staff_client.post(f"{page}frame/", {**draft, "part": "text"})
    wrong = staff_client.post(f"{page}frame/", {**draft, "words": "{% now %}"})
    empty = staff_client.post(f"{page}frame/", {**draft, "words": ""})

    assert "New words &lt;b&gt;</p>" in html.content.decode()
    assert text.content.decode().startswith("Registration Code\n\nNew words <b>\n\n472913\n")
    assert wrong.status_code == empty.status_code == 400
    assert wrong.content.decode().startswith("Text: Braces stand only around a name")
    assert empty.content.decode() == "Text: It must not be empty."
    assert {each["Content-Security-Policy"] for each in (html, text, wrong, empty)} == {POLICY}
    assert not TemplateOverride.objects.exists()


def test_a_draft_for_a_chosen_person_shows_dots_for_the_code(staff_client):
    person = UserFactory.create(first_name="<i>Grace</i>")
    page = page_of(CODE)
    draft = typed(staff_client, page, words="Dear {{ first_name }}:\n\n{{ registration_code }}")

    html = staff_client.post(f"{page}frame/", {**draft, "for": person.email}).content.decode()

    assert "Dear &lt;i&gt;Grace&lt;/i&gt;:</p>" in html
    assert registry.MASK in html
    assert "472913" not in html
    assert staff_client.post(f"{page}frame/", {**draft, "for": "nobody@example.org"}).status_code == 400


def test_a_test_says_that_nothing_in_it_works(staff_client, superuser, mailoutbox):
    save(staff_client, page_of(RESET, "de"), words="Neu <b>\n\n{{ reset_url }}")

    staff_client.post(f"{page_of(RESET, 'de')}test/")
    delivery.QueueWorker().deliver_due()

    mail = mailoutbox[0]
    html, note = mail.alternatives[0][0], "Dies ist ein Test mit erfundenen Werten: Kein Code oder Link darin gilt."
    assert mail.to == [superuser.email]
    assert mail.body.startswith(f"{note}\n\nNeu <b>\n\n")
    assert f"<p>{note}</p>" in html
    assert html.index("<body") < html.index(note)
    assert Message.objects.get().context == {"about": RESET}


# --- Who may ----------------------------------------------------------------------------------------------------------


def clerk(*codenames):
    user = UserFactory.create(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def test_who_may_only_look_reads_the_words_and_changes_nothing():
    client, page = clerk("view_templateoverride"), page_of(WELCOME)
    draft = typed(client, page, words="Mine")

    content = client.get(page).content.decode()
    assert "Your address is confirmed" in content
    assert "Send a test to me" not in content
    assert "As it reads for" not in content
    for path in (page, f"{page}frame/", f"{page}use/all/file/"):
        assert client.post(path, draft).status_code == 403
    assert not TemplateOverride.objects.exists()


def test_who_may_not_see_people_previews_no_person():
    client, page = clerk("view_templateoverride", "change_templateoverride"), page_of(WELCOME)
    draft = typed(client, page, words="Mine")

    assert client.post(f"{page}frame/", draft).status_code == 200
    assert client.post(f"{page}frame/", {**draft, "for": "root@example.org"}).status_code == 403


def test_only_superusers_write_words_around_a_code():
    client = clerk("view_templateoverride", "change_templateoverride")

    assert client.post(page_of(CODE), typed(client, page_of(CODE), words="{{ registration_code }}")).status_code == 403
    assert client.post(page_of(WELCOME), typed(client, page_of(WELCOME), words="Mine")).status_code == 302


def test_a_page_with_a_long_history_asks_few_questions(staff_client, django_assert_max_num_queries):
    page = page_of(WELCOME)
    for n in range(20):
        save(staff_client, page, subject=f"Nr {n}", words=f"Words {n}, {{{{ first_name }}}}")

    with django_assert_max_num_queries(6):
        response = staff_client.get(page)

    assert len(response.context["history"]) == 17
    assert "Only the newest 50 are shown." in response.content.decode()


def test_a_mail_of_the_deployments_own_has_words_too(staff_client):
    page = page_of("tests.hello")
    assert typed(staff_client, page)["words"] == "Hello {{ first_name }}, {{ number }}: {{ code }}"

    save(staff_client, page, words="No. {{ number }}\n\n{{ code }}")

    assert (
        sent("tests.hello").text == f"No. 1\n\n{kinds.CODE}\n" + sent("tests.hello").text.partition(kinds.CODE)[2][1:]
    )
    assert "No. 1</p>" in sent("tests.hello").html
    assert "No. 0" in sent("tests.hello", number=0).text


def test_staff_who_read_german_are_told_in_german_and_the_log_keeps_one_language(staff_client):
    page, german = page_of(WELCOME, "de"), {"accept-language": "de"}
    body = typed(staff_client, page, words="Hallo!")

    saved = staff_client.post(page, body, follow=True, headers=german)
    back = staff_client.post(f"{page}use/all/file/", {"note": "Zurück"}, follow=True, headers=german)
    refused = staff_client.post(page, {**body, "words": "{% now %}"}, headers=german).content.decode()

    assert told(saved) == ["“Willkommen, Deutsch”: Text, HTML gespeichert."]
    assert told(back) == ["“Willkommen, Deutsch”: Text, HTML: wieder die Datei."]
    assert "Geschweifte Klammern stehen nur um einen Namen" in refused
    assert "Was vorher da war" in refused
    assert LogEntry.objects.first().get_change_message() == "Back to the file: html. Reason: Zurück"
