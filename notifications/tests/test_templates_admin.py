import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client

from lib.actors import Actor
from notifications import registry
from notifications.admin.common import POLICY
from notifications.models import Message, TemplateOverride
from notifications.rendering import engines
from notifications.services import delivery, overrides
from notifications.tests import kinds
from users.tests.factories import UserFactory

COMMAND = Actor.command("tests")

pytestmark = pytest.mark.django_db
LIST = "/admin/notifications/templateoverride/"
PAGE = f"{LIST}of/tests.hello/en/"
SHIPPED = sorted(kind.code for kind in registry.declared_types() if not kind.code.startswith("tests."))
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=")


@pytest.fixture
def staff(staff_client):
    return staff_client


def somebody(*codenames):
    user = UserFactory.create(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def text(response):
    return response.content.decode()


def typed(client, page=PAGE, **changes):
    """What the page's form would send, with these changes."""
    form = client.get(page).context["form"]
    return {name: form.initial.get(name, "") for name in form.fields} | {"note": "Nicer"} | changes


def told(response):
    return [str(message) for message in response.context["messages"]]


def save(client, page=PAGE, **changes):
    return client.post(page, typed(client, page, **changes), follow=True)


def test_the_list_shows_every_mail_in_every_language_and_whose_words_it_has(staff, django_assert_max_num_queries):
    overrides.save(registry.get("users.welcome"), language="de", bodies={"subject": "Hallo!"}, actor=COMMAND)
    save(staff, text="Hi {{ code }}")
    TemplateOverride.objects.filter(part="text").update(body="Hi {{ nickname }} {{ code }}")

    with django_assert_max_num_queries(6):
        page = text(staff.get(LIST))

    for code in SHIPPED:
        assert f"{LIST}of/{code}/en/" in page
        assert f"{LIST}of/{code}/de/" in page
    assert "Subject: changed" in page
    assert "Text: broken" in page
    assert "no variable nickname" in page
    assert not INLINE.search(page)


@pytest.mark.parametrize("code", SHIPPED)
def test_the_page_of_a_mail_shows_its_sample(staff, code):
    response = staff.get(f"{LIST}of/{code}/de/")

    page = text(response)
    assert response.context["preview"].subject
    assert '<iframe class="mail-frame" name="preview" title="HTML" sandbox src="' in page
    assert "srcdoc" not in page
    assert not INLINE.search(page)
    assert "English" in page


def test_staff_save_try_and_go_back(staff, superuser):
    first = save(staff, text="Hi {{ code }}", note="Shorter")
    assert told(first) == ["“tests.hello, English”: Text saved."]
    assert "Hi 481516" in text(first)
    second = save(staff, text="Hey {{ code }}")
    page = text(second)
    assert "Shorter" in page
    assert '<span class="diff-new">+Hey {{ code }}</span>' in page

    question = staff.get(f"{PAGE}use/text/1/")
    assert '<span class="diff-gone">-Hey {{ code }}</span>' in text(question)
    assert TemplateOverride.objects.get(active=True).version == 2
    again = staff.post(f"{PAGE}use/text/1/", {"note": "Too jolly"}, follow=True)
    assert told(again) == ["“tests.hello, English”: Text is version 1 again."]
    once_more = staff.post(f"{PAGE}use/text/1/", {"note": "Sure"}, follow=True)
    assert told(once_more) == ["“tests.hello, English”: Text is version 1 already."]

    assert "Hello {{ first_name }}" in text(staff.get(f"{PAGE}use/text/file/"))
    back = staff.post(f"{PAGE}use/text/file/", {"note": "Enough"}, follow=True)
    assert told(back) == ["“tests.hello, English”: Text is the file again."]
    assert not TemplateOverride.objects.filter(active=True).exists()

    entries = LogEntry.objects.order_by("pk")
    assert [entry.get_change_message() for entry in entries] == [
        "Saved: text. Reason: Shorter",
        "Saved: text. Reason: Nicer",
        "Back to version 1: text. Reason: Too jolly",
        "Back to the file: text. Reason: Enough",
    ]
    assert {entry.user for entry in entries} == {superuser}
    assert TemplateOverride.objects.first().edited_by == superuser
    leads = staff.get(f"/admin/{entries[0].get_admin_url().removeprefix('/admin/')}")
    assert leads["Location"] == PAGE


def test_what_is_wrong_stands_at_its_field_and_nothing_typed_is_lost(staff):
    response = save(staff, text="<b>{% load x %}{{ code }}", html="{{ code }}{{ nobody }}")

    page = text(response)
    assert "Invalid block tag on line 1: &#x27;load&#x27;" in page
    assert "There is no variable nobody" in page
    assert "&lt;b&gt;{% load x %}{{ code }}" in page
    assert not INLINE.search(page)
    assert not TemplateOverride.objects.exists()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    "changes", [{"text": "a\x00{{ code }}"}, {"seen": "x"}, {"seen": "[]"}, {"seen": "{}"}, {"note": "x" * 201}]
)
def test_bad_input_is_told(staff, changes):
    response = save(staff, **{"text": "Hi {{ code }}", **changes})

    assert response.status_code == 200
    assert "errorlist" in text(response)
    assert not TemplateOverride.objects.exists()


def test_a_stale_page_undoes_no_colleague(staff):
    stale = typed(staff, text="Mine {{ code }}")
    save(staff, text="Theirs {{ code }}")

    response = staff.post(PAGE, stale)

    page = text(response)
    assert "It was changed in the meantime." in page
    assert "Mine {{ code }}" in page
    assert TemplateOverride.objects.get(active=True).body == "Theirs {{ code }}"
    seen = re.search(r'name="seen" value="([^"]*)"', page)[1].replace("&quot;", '"')
    staff.post(PAGE, {**stale, "seen": seen})
    assert TemplateOverride.objects.get(active=True).body == "Mine {{ code }}"


def test_the_frame_can_do_nothing(staff):
    response = staff.get(f"{PAGE}frame/")

    assert response["Content-Security-Policy"] == POLICY
    assert "sandbox" in POLICY
    assert response["X-Frame-Options"] == "SAMEORIGIN"
    assert kinds.CODE in text(response)
    assert 'style="' in text(response)


def test_a_draft_is_shown_and_not_kept(staff):
    draft = typed(staff, html="<p>New {{ code }}</p>", text="New text {{ code }}")

    shown = staff.post(f"{PAGE}frame/", {**draft, "part": "html"})
    plain = staff.post(f"{PAGE}frame/", {**draft, "part": "text"})
    wrong = staff.post(f"{PAGE}frame/", {**draft, "html": "{{ nobody }}"})
    empty = staff.post(f"{PAGE}frame/", {**draft, "html": ""})

    assert f"<p>New {kinds.CODE}</p>" in text(shown)
    assert plain["Content-Type"].startswith("text/plain")
    assert f"New text {kinds.CODE}" in text(plain)
    assert wrong.status_code == empty.status_code == 400
    assert "HTML: There is no variable nobody" in text(wrong)
    assert "HTML" in text(empty)
    assert {response["Content-Security-Policy"] for response in (shown, plain, wrong, empty)} == {POLICY}
    assert not TemplateOverride.objects.exists()


def test_for_a_chosen_user_codes_and_links_are_dots(staff):
    person = UserFactory.create(email="a&b@example.org", first_name="Grace")

    page = staff.get(PAGE, {"for": "A&B@example.org"})
    frame = staff.get(f"{PAGE}frame/", {"for": person.email})

    assert page.context["preview"].text.startswith("Hello Grace, 1: ••••••")
    assert "frame/?for=A%26B%40example.org" in text(page)
    assert "••••••" in text(frame)
    assert kinds.CODE not in text(frame)


@pytest.mark.parametrize("address", ["nobody@example.org", "x" * 300, "é", "'\"<script>"])
def test_somebody_unknown_is_told(staff, address):
    page = staff.get(PAGE, {"for": address})
    frame = staff.get(f"{PAGE}frame/", {"for": address})

    assert told(page) == ["There is no user with this address."]
    assert frame.status_code == 400
    assert "<script>" not in text(page).replace("<script src", "")


def test_a_test_goes_to_whoever_asks(staff, superuser, mailoutbox):
    response = staff.post(f"{PAGE}test/", follow=True)
    delivery.QueueWorker().deliver_due()

    assert told(response) == [f"A test is on its way to {superuser.email}."]
    assert Message.objects.get().type == engines.TEST
    assert mailoutbox[0].to == [superuser.email]
    assert mailoutbox[0].subject == "[Test] Hello from Switchboard"
    assert staff.get(f"{PAGE}test/").status_code == 405


def test_a_test_nobody_may_be_sent_says_why(staff, settings):
    settings.NOTIFICATIONS_ALLOW_TO = ["*@elsewhere.example"]

    response = staff.post(f"{PAGE}test/", follow=True)

    assert told(response) == ["Nothing is sent to root@example.org: not_allowed."]


def test_who_may_only_look_changes_nothing():
    client = somebody("view_templateoverride")
    whole = typed(client, text="Hi {{ code }}")

    page = text(client.get(PAGE))
    assert "Send test to me" not in page
    assert "As it reads for" not in page
    assert client.get(LIST).status_code == client.get(f"{PAGE}frame/").status_code == 200
    for path, body in ((PAGE, whole), (f"{PAGE}test/", {}), (f"{PAGE}use/text/file/", {})):
        assert client.post(path, body).status_code == 403
    assert client.get(f"{PAGE}use/text/file/").status_code == 403
    assert client.get(PAGE, {"for": "root@example.org"}).status_code == 403
    assert not TemplateOverride.objects.exists()
    assert not Message.objects.exists()


def test_who_may_not_look_sees_nothing():
    client = somebody("view_message")

    for path in (LIST, PAGE, f"{PAGE}frame/", f"{PAGE}use/text/file/"):
        assert client.get(path).status_code == 403
    assert client.post(f"{PAGE}test/").status_code == 403
    assert Client().get(PAGE).status_code == 302


@pytest.mark.parametrize(
    "end",
    [
        "of/nobody.x/en/",
        "of/tests.hello/fr/",
        "of/tests.hello/en/use/text/7/",
        "of/tests.hello/en/use/text/99999999999999999999/",
        "of/tests.hello/en/use/text/²/",
        "of/tests.hello/en/use/body/file/",
        "of/tests.hello%00/en/",
        "12345/change/",
    ],
)
def test_what_is_not_there_is_not_found(staff, end):
    assert staff.get(LIST + end).status_code == 404


def test_rows_are_neither_added_nor_deleted_by_form(staff):
    save(staff, text="Hi {{ code }}")
    row = TemplateOverride.objects.get()

    assert staff.get(f"{LIST}add/").status_code == 403
    assert staff.post(f"{LIST}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert staff.get(f"{LIST}{row.pk}/history/").status_code == 200


def test_a_long_html_is_saved_with_a_warning(staff):
    response = save(staff, html="{{ code }} " + "x" * 91_000)

    assert told(response)[0] == "“tests.hello, English”: HTML saved."
    assert "91 kB" in told(response)[1]
