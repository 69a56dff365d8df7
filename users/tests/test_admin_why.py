"""Why a person did or did not get a flag or a mail, asked on their page."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags

from feature_flags.runtime import store
from feature_flags.services import editing, segments
from feature_flags.tests.factories import COMMAND
from notifications.models import Preference, ProviderState, Suppression
from notifications.tests.factories import MessageFactory
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
ANNOUNCEMENT, WELCOME = "notifications.announcement", "users.welcome"


@pytest.fixture
def ada():
    return UserFactory.create(email="ada@example.org")


def clerk(*permissions):
    user = UserFactory.create(staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def why(client, person, **query):
    store.put(None)
    return client.get(f"/admin/users/user/{person.pk}/why/", query)


def words(response):
    assert response.status_code == 200
    return " ".join(strip_tags(response.content.decode()).split())


def flag_sentence(client, person, name="FF_A"):
    return why(client, person, flag=name).context["flag_answer"].sentence


def mail_sentence(client, person, kind=ANNOUNCEMENT):
    return why(client, person, mail=kind).context["mail_answer"].sentence


def constraint(field, *values):
    return {"field": field, "operator": "IN", "values": list(values)}


# --- Flags ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"is_active": False}, "Off: the flag is switched off."),
        ({}, "On for everybody."),
        (
            {"rules": [{"constraints": [constraint("emailDomain", "shop.example")]}]},
            "Off: rule 1 is not met: emailDomain is one of shop.example, and theirs is example.org.",
        ),
        (
            {"rules": [{"constraints": [constraint("country", "IT")]}]},
            "Off: rule 1 is not met: country is one of IT (The context has no country).",
        ),
        (
            {
                "rules": [
                    {"constraints": [constraint("country", "IT"), constraint("plan", "pro")]},
                    {"constraints": [constraint("emailDomain", "shop.example")]},
                ]
            },
            "Off: none of 2 rules is met; nearest is rule 2: "
            "emailDomain is one of shop.example, and theirs is example.org.",
        ),
        (
            {"rules": [{"rollout_percent": 0}]},
            "Off: rule 1 is not met: 0 % by userId, else sessionId, else drawn at random (0 % lets no one in).",
        ),
        (
            {"prerequisites": [{"parent": "FF_PARENT"}]},
            "Off: it needs that FF_PARENT is on, and that is off.",
        ),
    ],
)
def test_the_answer_about_a_flag_is_a_sentence_with_what_failed(staff_client, ada, members, sentence):
    editing.create("FF_PARENT", **COMMAND)
    editing.create("FF_A", **{"is_active": True, **members}, **COMMAND)

    assert flag_sentence(staff_client, ada).replace("Rule", "rule") == sentence


def test_a_percentage_says_where_the_person_stands(staff_client):
    editing.create("FF_A", is_active=True, rules=[{"rollout_percent": 1}], **COMMAND)

    said = [flag_sentence(staff_client, UserFactory.create()) for _ in range(5)]

    assert any("puts them outside (place " in sentence for sentence in said)


def test_the_steps_follow_and_lead_to_the_flag(staff_client, ada):
    flag = editing.create("FF_A", is_active=True, rules=[{"constraints": [constraint("country", "IT")]}], **COMMAND)

    page = why(staff_client, ada, flag="ff_a")

    assert "✓ met: The flag is switched on" in words(page)
    assert "✗ not met: country is one of IT" in words(page)
    assert f'href="/admin/feature_flags/featureflag/{flag.pk}/change/"' in page.content.decode()


def test_a_part_of_a_name_is_enough_where_one_flag_has_it(staff_client, ada):
    editing.create("FF_CHECKOUT_A", is_active=True, **COMMAND)
    editing.create("FF_CHECKOUT_B", **COMMAND)
    archived = editing.create("FF_OLD", **COMMAND)
    editing.archive(archived, **COMMAND)

    assert flag_sentence(staff_client, ada, "checkout_a") == "On for everybody."
    alike = why(staff_client, ada, flag="checkout")
    assert "Several flags are called alike." in words(alike)
    assert "?flag=FF_CHECKOUT_B" in alike.content.decode()
    assert flag_sentence(staff_client, ada, "FF_NONE") == "There is no such flag."
    assert flag_sentence(staff_client, ada, "ff_old").startswith("Off: the flag is archived")


def test_what_is_in_a_segment_is_for_those_who_may_see_segments(ada):
    segments.create_segment("Invited", constraints=[constraint("emailDomain", "shop.example")], **COMMAND)
    editing.create("FF_A", is_active=True, rules=[{"segments": ["Invited"]}], **COMMAND)

    some = why(clerk("view_user", "view_featureflag"), ada, flag="FF_A")
    all_of_it = why(clerk("view_user", "view_featureflag", "view_segment"), ada, flag="FF_A")

    assert "segment Invited does not match" in words(some)
    assert "shop.example" not in words(some)
    assert "emailDomain is one of shop.example, and theirs is example.org" in words(all_of_it)


# --- Mail -------------------------------------------------------------------------------------------------------------


def test_a_mail_that_was_never_queued(staff_client, ada):
    assert mail_sentence(staff_client, ada) == (
        "No such mail has been queued for this person; nothing stands in its way."
    )


def test_what_stands_in_the_way_is_the_sentence(staff_client, ada, settings):
    Preference.objects.create(user=ada, category="announcement", channel="email", enabled=False)
    assert mail_sentence(staff_client, ada) == "Not sent: this person has switched “Announcements” off."
    # What is part of an account is sent all the same.
    assert mail_sentence(staff_client, ada, WELCOME).startswith("No such mail has been queued")

    Suppression.objects.create(address=ada.email, scope="all", reason="bounce")
    assert "the address is on the list of suppressions since" in mail_sentence(staff_client, ada, WELCOME)
    assert "The address does not exist." in mail_sentence(staff_client, ada)

    settings.NOTIFICATIONS_ALLOW_TO = ["*@ours.example"]
    assert "NOTIFICATIONS_ALLOW_TO" in mail_sentence(staff_client, ada)


def test_a_pause_is_told_and_its_reason_to_some(staff_client, ada, settings):
    settings.NOTIFICATIONS_ENGINE = "inline"
    ProviderState.objects.create(alias="email", paused=True, paused_by="command:x", reason="their invoice is unpaid")

    assert mail_sentence(staff_client, ada) == "Not sent: mail is paused: their invoice is unpaid."
    assert mail_sentence(clerk("view_user", "view_message"), ada) == "Not sent: mail is paused."


def test_the_last_message_says_what_became_of_it(staff_client, ada):
    MessageFactory.create(
        user=ada, to_address=ada.email, type=WELCOME, state="sent", due_at=None, finished_at=timezone.now()
    )
    sent = mail_sentence(staff_client, ada, WELCOME)
    failed = MessageFactory.create(
        to_address=ada.email, type=WELCOME, state="failed", due_at=None, finished_at=timezone.now(), last_code="550"
    )

    page = why(staff_client, ada, mail=WELCOME)

    assert sent.startswith("Sent at ")
    assert page.context["mail_answer"].sentence.startswith("Failed: ")
    assert len(page.context["mail_answer"].messages) == 2
    assert f'href="/admin/notifications/message/{failed.pk}/change/"' in page.content.decode()


def test_steps_of_other_models_are_for_those_who_may_see_them(ada):
    Suppression.objects.create(address=ada.email, scope="all", reason="complaint")
    Preference.objects.create(user=ada, category="announcement", channel="email", enabled=False)

    page = words(why(clerk("view_user", "view_message"), ada, mail=ANNOUNCEMENT))

    assert "suppressions" not in page
    assert "switched" not in page


# --- The page ---------------------------------------------------------------------------------------------------------


def test_the_person_s_page_asks(staff_client, ada):
    page = staff_client.get(f"/admin/users/user/{ada.pk}/change/").content.decode()

    assert f'<form method="get" id="why" action="/admin/users/user/{ada.pk}/why/">' in page
    assert '<option value="FF_ENABLE_REGISTRATION">' in page
    assert '<option value="users.welcome">' in page


def test_each_part_is_for_those_who_may_see_it(ada):
    editing.create("FF_A", **COMMAND)

    assert why(clerk("view_featureflag", "view_message"), ada, flag="FF_A").status_code == 403
    nothing = why(clerk("view_user"), ada, flag="FF_A", mail=WELCOME)
    assert "flag_answer" not in nothing.context
    assert "mail_answer" not in nothing.context
    assert 'id="why"' not in clerk("view_user").get(f"/admin/users/user/{ada.pk}/change/").content.decode()


def test_what_is_no_kind_or_no_person_is_said(staff_client, ada):
    assert "There is no such kind of mail." in words(why(staff_client, ada, mail="no.such"))
    assert staff_client.get("/admin/users/user/not-an-id/why/").status_code == 302
    assert staff_client.get(f"/admin/users/user/{ada.pk}/why/", {"flag": "a\x00"}).status_code == 400


def test_an_answer_asks_the_database_few_times(staff_client, ada, queries):
    editing.create("FF_A", is_active=True, **COMMAND)
    for _ in range(8):
        MessageFactory.create(user=ada, to_address=ada.email, type=WELCOME)
    why(staff_client, ada, flag="FF_A")

    for query in ({"flag": "FF_A"}, {"mail": WELCOME}, {"mail": "users.registration_code"}):
        with queries() as made:
            staff_client.get(f"/admin/users/user/{ada.pk}/why/", query)
        assert made() <= 12, query
