"""Mails on the word of staff: the limits and ranks of everybody."""

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from notifications.models import Message, Suppression
from notifications.tests.factories import MessageFactory
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
#: The verb and the type it sends.
BUTTONS = {"send-reset": "users.forgot_password", "send-code": "users.registration_code"}
WORDS = "/admin/notifications/templateoverride/of/users.welcome/en/test/"


def press(client, user, verb):
    return client.post(f"/admin/users/user/{user.pk}/{verb}/", follow=True)


def told(response):
    return [str(message) for message in response.context["messages"]]


@pytest.mark.parametrize("verb", BUTTONS)
def test_one_address_gets_three_a_minute_of_what_staff_send(staff_client, verb):
    user = UserFactory.create(email_verified_at=None) if verb == "send-code" else UserFactory.create()

    answers = [press(staff_client, user, verb) for _ in range(5)]

    assert Message.objects.filter(type=BUTTONS[verb]).count() == 3
    assert told(answers[-1]) == [f"“{user.email}”: Too many requests; try again later."]


def test_staff_and_strangers_count_together(staff_client, api, user):
    for _ in range(2):
        api.call("POST", "/auth/forgot-password", {"email": user.email})

    for _ in range(3):
        press(staff_client, user, "send-reset")

    assert Message.objects.count() == 3


def test_one_member_of_staff_sends_no_more_than_one_caller(staff_client):
    people = UserFactory.create_batch(35)
    body = {"action": "send-reset", "_selected_action": [user.pk for user in people], "index": "0"}

    staff_client.post("/admin/users/user/", body)

    assert Message.objects.count() == 30


def test_a_test_to_oneself_is_no_flood(staff_client):
    answers = [staff_client.post(WORDS, follow=True) for _ in range(5)]

    assert Message.objects.exclude(state="suppressed").count() == 3
    assert "throttled" in told(answers[-1])[0]


def test_a_message_is_resent_three_times_a_minute(staff_client):
    message = MessageFactory.create(type="users.welcome", context={"first_name": "Ada"}, finished=True)

    for _ in range(5):
        staff_client.post(f"/admin/notifications/message/{message.pk}/resend/", {"reason": ""})

    assert Message.objects.count() == 3


def clerk(group):
    user = UserFactory.create(staff=True)
    user.groups.set(Group.objects.filter(name=group))
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="notifications"))
    client = Client()
    client.force_login(user)
    return client, user


RANKS = [("Support", {"superuser": True}), ("Support", {"staff": True}), ("Admin", {"superuser": True})]


@pytest.mark.parametrize("verb", ["retry", "cancel", "resend", "suppress"])
@pytest.mark.parametrize(("group", "whom"), RANKS)
@pytest.mark.parametrize("is_theirs", [True, False], ids=["their account", "their address"])
def test_a_message_is_its_recipients(verb, group, whom, is_theirs):
    boss = UserFactory.create(**whom)
    state = {"retry": {"finished": True, "state": "failed"}, "cancel": {}}.get(verb, {"finished": True})
    to = {"user": boss, "to_address": "old@example.org"} if is_theirs else {"to_address": boss.email}
    message = MessageFactory.create(type="users.welcome", context={"first_name": "Ada"}, **to, **state)
    client, _ = clerk(group)

    page = client.post(
        f"/admin/notifications/message/{message.pk}/{verb}/",
        {"reason": "coup", "scope": "all", "days": ""},
        follow=True,
    )

    before = message.state
    message.refresh_from_db()
    assert (message.state, Message.objects.count(), Suppression.objects.count()) == (before, 1, 0)
    assert "act on the mail of" in told(page)[0]


def test_the_mail_of_a_superuser_is_not_stopped_by_form_either():
    boss = UserFactory.create(superuser=True)
    client, _ = clerk("Admin")
    body = {"address": boss.email, "scope": "all", "days": "", "reason": "coup"}

    page = client.post("/admin/notifications/suppression/add/", body)

    assert "Only superusers act on the mail of" in page.content.decode()
    assert not Suppression.objects.exists()


@pytest.mark.parametrize("verb", ["retry", "cancel", "resend"])
def test_a_message_is_its_recipients_over_rest(api, settings, verb):
    settings.USERS_STAFF_MFA = "optional"
    boss = UserFactory.create(superuser=True)
    _, user = clerk("Admin")
    api.sign_in(user)
    state = {"retry": {"finished": True, "state": "failed"}, "cancel": {}, "resend": {"finished": True}}[verb]
    message = MessageFactory.create(type="users.welcome", context={"first_name": "Ada"}, to_address=boss.email, **state)

    answer = api.call("POST", f"/staff/messages/{message.uid}/{verb}")

    assert answer.status_code == 403
    assert answer.json()["code"] == "superusers_only"
    assert not message.copies.exists()


def test_one_address_gets_three_a_minute_over_rest(api, settings, superuser):
    settings.USERS_STAFF_MFA = "optional"
    api.sign_in(superuser)
    body = {"type": "users.welcome", "to": "ada@example.org", "context": {"first_name": "Ada"}}

    statuses = [api.call("POST", "/staff/messages", body).status_code for _ in range(5)]

    assert statuses == [202, 202, 202, 429, 429]
