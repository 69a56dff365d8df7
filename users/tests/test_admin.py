import re
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from lib.actors import Actor, RequestInfo
from lib.errors import ProductError
from lib.middleware import PAGE_POLICY
from notifications.models import Message
from users.models import User, UserSession
from users.services import rate_limits, sessions, sign_in, staff
from users.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db
LOGIN, LOGOUT, INDEX, LIST = "/admin/login/", "/admin/logout/", "/admin/", "/admin/users/user/"
PAUSED = "signing in is paused"

#: name, what makes it apply, needed permission, whether it asks why, what it says, what it says to a repeat
VERBS = [
    ("activate", {"inactive": True}, "activate_user", False, "activated.", "active already"),
    ("unlock", {"paused": True}, "activate_user", False, "pause lifted.", "not paused."),
    ("deactivate", {}, "deactivate_user", True, "deactivated and signed out.", "inactive already."),
    ("mark-verified", {"unverified": True}, "verify_user", True, "address taken as verified.", "verified already."),
    ("send-reset", {}, "send_reset_user", False, "reset link on its way.", None),
    ("sign-out", {"signed_in": True}, "sign_out_user", False, "1 session ended.", "not signed in anywhere."),
]
LABELS = {
    "activate": "Activate",
    "unlock": "Unlock",
    "deactivate": "Deactivate",
    "mark-verified": "Mark verified",
    "send-reset": "Send password reset",
    "sign-out": "Sign out everywhere",
}
IN_ROW = {"activate", "unlock"}
each_verb = pytest.mark.parametrize(("name", "traits", "permission", "asks", "done", "already"), VERBS)


@pytest.fixture(autouse=True)
def a_password_is_enough(settings):
    """The second step has tests of its own: test_staff_sign_in.py."""
    settings.USERS_STAFF_MFA = "optional"


def person(*, paused=False, signed_in=False, **fields):
    user = UserFactory.create(**fields)
    if paused:
        pause(user)
    if signed_in:
        sessions.new_session(user, RequestInfo(), UserSession.Kind.API, timezone.now())
    return user


def pause(user, address="203.0.113.7"):
    for _ in range(rate_limits.LOGIN.max_count):
        rate_limits.reserve(sign_in.login_bucket(user.email, RequestInfo(address)))


def make_staff(*permissions, email="clerk@example.org"):
    user = UserFactory.create(staff=True, email=email)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="users", codename__in=permissions))
    return user


def client_of(user):
    client = Client()
    client.force_login(user)
    return client


def page(user, end="change"):
    return f"{LIST}{user.pk}/{end}/"


def log_in(client, email, password=PASSWORD):
    return client.post(LOGIN, {"username": email, "password": password, "next": INDEX})


def is_signed_in(client):
    return client.get(INDEX).status_code == 200


def told(response):
    return [str(message) for message in response.context["messages"]]


def emails(response):
    return [user.email for user in response.context["cl"].result_list]


def state(user):
    """Everything a press could change, as it is in the database."""
    fresh = User.objects.values().get(pk=user.pk)
    sessions = list(UserSession.objects.filter(user=user).order_by("pk").values_list("pk", "revoked_at"))
    mails = Message.objects.filter(to_address=user.email).count()
    return fresh, sessions, rate_limits.is_paused(user.email), mails


# --- Signing in -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["root@example.org", "ROOT@Example.ORG", "  Root@example.org "])
def test_staff_sign_in_by_address_in_any_letter_case(client, superuser, typed):
    response = log_in(client, typed)

    assert (response.status_code, response.headers["Location"]) == (302, INDEX)
    assert is_signed_in(client)
    session = UserSession.objects.get()
    assert (session.user, session.kind, session.revoked_at) == (superuser, "admin", None)


@pytest.mark.parametrize(
    ("typed", "password"),
    [
        ("root@example.org", "wrong"),
        ("root@example.org", "nul\x00"),
        ("nul\x00@example.org", PASSWORD),
        ("nobody@example.org", PASSWORD),
    ],
)
def test_whatever_is_wrong_looks_the_same(client, superuser, typed, password):
    response = log_in(client, typed, password)

    assert response.status_code == 200
    assert response.context["form"].errors
    assert not is_signed_in(client)
    assert not UserSession.objects.exists()


@pytest.mark.parametrize("who", [{}, {"staff": True, "inactive": True}, {"staff": True, "unverified": True}])
def test_only_active_verified_staff_come_in(client, who):
    user = UserFactory.create(**who)

    response = log_in(client, user.email)

    assert b"is not an active staff account" in response.content
    assert not is_signed_in(client)
    assert not UserSession.objects.exists()


def test_five_wrong_passwords_pause_even_the_right_one(client, superuser):
    for _ in range(5):
        assert "Retry-After" not in log_in(client, superuser.email, "wrong").headers

    for password in (PASSWORD, "wrong"):
        response = log_in(client, superuser.email.upper(), password)
        assert PAUSED in response.content.decode()
        assert 0 < int(response.headers["Retry-After"]) <= 60
    assert not is_signed_in(client)


def test_an_unknown_address_is_paused_alike(client):
    for _ in range(5):
        log_in(client, "nobody@example.org", "wrong")

    response = log_in(client, "nobody@example.org", "wrong")

    assert PAUSED in response.content.decode()
    assert int(response.headers["Retry-After"]) > 0


def test_the_pages_own_form_carries_what_signing_in_needs(superuser):
    client = Client(enforce_csrf_checks=True)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(LOGIN).content.decode())[1]

    assert log_in(client, superuser.email).status_code == 403
    answer = client.post(LOGIN, {"username": superuser.email, "password": PASSWORD, "csrfmiddlewaretoken": token})

    assert answer.status_code == 302


def test_signing_in_never_leads_to_another_site(client, superuser):
    response = client.post(
        LOGIN, {"username": superuser.email, "password": PASSWORD, "next": "https://evil.example/admin/"}
    )

    assert response.headers["Location"] == INDEX


# --- Staying signed in, and not ---------------------------------------------------------------------------------------


def test_a_revoked_session_is_out_at_the_next_click(staff_client, superuser):
    assert is_signed_in(staff_client)

    sessions.end_all_sessions(superuser.pk, reason="staff")

    response = staff_client.get(LIST)
    assert response.headers["Location"].startswith(LOGIN)
    assert staff_client.post(page(superuser, "sign-out")).status_code == 302
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(("minutes", "stays"), [(29, True), (31, False)])
def test_half_an_hour_of_silence_signs_out(staff_client, minutes, stays):
    UserSession.objects.update(last_seen_at=timezone.now() - timedelta(minutes=minutes))

    assert is_signed_in(staff_client) is stays
    assert UserSession.objects.live(timezone.now()).exists() is stays


def test_twelve_hours_end_the_busiest_session(staff_client):
    session = UserSession.objects.get()
    assert timedelta(hours=11) < session.expires_at - session.created_at <= timedelta(hours=12)

    UserSession.objects.update(expires_at=timezone.now())

    assert not is_signed_in(staff_client)


def test_clicking_keeps_the_session_awake(staff_client):
    UserSession.objects.update(last_seen_at=timezone.now() - timedelta(minutes=29))

    staff_client.get(INDEX)

    assert timezone.now() - UserSession.objects.get().last_seen_at < timedelta(minutes=1)


def test_another_persons_session_does_not_pass(staff_client, user):
    UserSession.objects.update(user=user)

    assert not is_signed_in(staff_client)


def test_logging_out_ends_the_session(staff_client):
    assert staff_client.get(LOGOUT).status_code == 405

    response = staff_client.post(LOGOUT)

    assert response.status_code == 200
    session = UserSession.objects.get()
    assert (session.revoked_at is not None, session.revoked_reason) == (True, "logout")
    assert not is_signed_in(staff_client)


def test_somebody_who_loses_the_staff_mark_is_out_at_once(staff_client, superuser):
    User.objects.filter(pk=superuser.pk).update(is_staff=False)

    assert not is_signed_in(staff_client)


# --- Changing one's own password --------------------------------------------------------------------------------------


def change_password(client, old=PASSWORD, new="Another-Horse-8"):
    fields = {"old_password": old, "new_password1": new, "new_password2": new}
    return client.post("/admin/password_change/", fields)


def test_a_new_password_ends_every_session_but_this_seat(staff_client, superuser):
    elsewhere = client_of(superuser)

    response = change_password(staff_client)

    assert response.headers["Location"] == "/admin/password_change/done/"
    assert is_signed_in(staff_client)
    assert not is_signed_in(elsewhere)
    superuser.refresh_from_db()
    assert superuser.password_changed_at is not None
    assert superuser.updated_by == superuser.pk.hex
    assert log_in(Client(), superuser.email, "Another-Horse-8").status_code == 302


@pytest.mark.parametrize(
    ("new", "rule"),
    [
        ("short", "The password is too short."),
        ("Password1!", "The password is too common."),
        ("nodigitsorcaps", "The password needs an upper-case letter."),
        ("A-Good-One-\x00-7", "Null characters are not allowed."),
    ],
)
def test_the_policy_holds_for_staff_too(staff_client, superuser, new, rule):
    response = change_password(staff_client, new=new)

    assert rule in response.content.decode()
    superuser.refresh_from_db()
    assert superuser.check_password(PASSWORD)


def test_guessing_the_old_password_is_paused_like_signing_in(staff_client, superuser):
    for _ in range(5):
        assert b"Your old password was entered incorrectly" in change_password(staff_client, old="wrong").content

    response = change_password(staff_client)

    assert PAUSED in response.content.decode()
    superuser.refresh_from_db()
    assert superuser.check_password(PASSWORD)


# --- The buttons ------------------------------------------------------------------------------------------------------


@each_verb
def test_a_press_on_the_page(staff_client, superuser, name, traits, permission, asks, done, already):
    user = person(**traits)
    before = state(user)

    response = staff_client.get(page(user))
    assert f'action="{page(user, name)}"' in response.content.decode()
    if asks:
        response = staff_client.post(page(user, name))
        assert b'name="reason"' in response.content
        assert state(user) == before
        response = staff_client.post(page(user, name), {"reason": "   "})
        assert b"Say why." in response.content
        assert state(user) == before
    response = staff_client.post(page(user, name), {"reason": "asked by phone"} if asks else {}, follow=True)

    assert response.redirect_chain == [(page(user), 302)]
    assert told(response) == [f"“{user.email}”: {done}"]
    assert state(user) != before
    entry = LogEntry.objects.get()
    reason = " Reason: asked by phone" if asks else ""
    assert (entry.user, entry.object_id, entry.object_repr) == (superuser, str(user.pk), user.email)
    assert entry.change_message == f"{LABELS[name]}: {done}{reason}"


@each_verb
def test_a_press_for_a_selection(staff_client, superuser, name, traits, permission, asks, done, already):
    chosen, other = [person(**traits), person(**traits)], person(**traits)
    before = state(other)
    data = {"action": name, "_selected_action": [user.pk for user in chosen], "index": "0"}

    html = staff_client.get(LIST).content.decode()
    assert f'<option value="{name}">{LABELS[name]}</option>' in html
    if asks:
        asked = staff_client.post(LIST, data).content.decode()
        assert all(user.email in asked for user in chosen)
        assert not LogEntry.objects.exists()
        data["reason"] = "spring cleaning"
    response = staff_client.post(LIST, data, follow=True)

    assert len(told(response)) == 1
    assert told(response)[0].startswith("2 users: ")
    assert state(other) == before
    assert set(LogEntry.objects.values_list("object_id", flat=True)) == {str(user.pk) for user in chosen}
    assert all(entry.user == superuser for entry in LogEntry.objects.all())
    if asks:
        assert all("spring cleaning" in entry.change_message for entry in LogEntry.objects.all())


@each_verb
def test_a_repeat_changes_nothing_and_is_not_logged(staff_client, name, traits, permission, asks, done, already):
    user = person(**traits)
    data = {"reason": "twice"} if asks else {}
    staff_client.post(page(user, name), data)
    before = state(user)

    response = staff_client.post(page(user, name), data, follow=True)

    if already is None:
        assert LogEntry.objects.count() == 2  # each mail is an act of its own
    else:
        assert told(response)[-1].startswith(f"“{user.email}”: {already}")
        assert state(user) == before
        assert LogEntry.objects.count() == 1


@each_verb
def test_looking_never_presses(staff_client, name, traits, permission, asks, done, already):
    user = person(**traits)
    before = state(user)

    for method in (staff_client.get, staff_client.head, staff_client.put, staff_client.delete):
        response = method(page(user, name))
        assert (response.status_code, response.headers["Allow"]) == (405, "POST")

    assert state(user) == before
    assert not LogEntry.objects.exists()


@each_verb
def test_without_the_permission_there_is_no_button_and_no_way_round(name, traits, permission, asks, done, already):
    user = person(**traits)
    others = {entry[2] for entry in VERBS} - {permission}
    client = client_of(make_staff("view_user", "change_user", *others))
    before = state(user)

    for address in (LIST, page(user)):
        html = client.get(address).content.decode()
        assert f"/{name}/" not in html
        assert f'value="{name}"' not in html
    assert client.post(page(user, name), {"reason": "forged"}).status_code == 403
    data = {"action": name, "_selected_action": user.pk, "reason": "forged", "index": "0"}
    assert client.post(LIST, data).status_code == 403

    assert state(user) == before
    assert not LogEntry.objects.exists()


@each_verb
def test_the_one_permission_is_enough(name, traits, permission, asks, done, already):
    user = person(**traits)
    clerk = make_staff("view_user", permission)

    response = client_of(clerk).post(page(user, name), {"reason": "why not"} if asks else {}, follow=True)

    assert told(response) == [f"“{user.email}”: {done}"]
    assert LogEntry.objects.get().user == clerk


@each_verb
def test_a_press_without_csrf_token_is_refused(superuser, name, traits, permission, asks, done, already):
    user = person(**traits)
    client = Client(enforce_csrf_checks=True)
    client.force_login(superuser)
    before = state(user)

    assert client.post(page(user, name), {"reason": "forged"}).status_code == 403
    assert state(user) == before


@pytest.mark.parametrize(("name", "traits"), [(v[0], v[1]) for v in VERBS if v[0] in IN_ROW])
def test_the_row_has_the_button_that_makes_sense(staff_client, name, traits):
    user, fine = person(**traits), person()

    html = staff_client.get(LIST, {"q": "person"}).content.decode()
    assert f'formaction="{user.pk}/{name}/"' in html
    assert f'formaction="{fine.pk}/{name}/"' not in html
    assert 'name="_changelist_filters" value="q=person"' in html

    response = staff_client.post(page(user, name), {"_from": "list", "_changelist_filters": "q=person"})

    assert response.headers["Location"] == f"{LIST}?q=person"
    assert LogEntry.objects.get().object_id == str(user.pk)
    assert "formaction" not in staff_client.get(LIST).content.decode()


def test_the_page_of_a_person_asks_the_database_twelve_times_at_most(staff_client, django_assert_max_num_queries):
    user = person()

    with django_assert_max_num_queries(12):
        html = staff_client.get(page(user)).content.decode()

    assert 'name="user_permissions"' not in html, "a hundred boxes that only staff need"
    user.is_staff = True
    user.save()
    assert 'name="user_permissions"' in staff_client.get(page(user)).content.decode()


def test_deactivation_stands_in_sight_at_the_head_of_the_page(staff_client):
    html = staff_client.get(page(person())).content.decode()

    in_sight, _more, under_more = html.partition('<details class="more">')
    assert "verb-send-reset primary" in in_sight
    assert "verb-deactivate" in in_sight
    assert "verb-export" in under_more


def test_only_quick_verbs_stand_in_rows(staff_client):
    person()

    html = staff_client.get(LIST).content.decode()

    assert "formaction" not in html


def test_buttons_show_only_where_they_make_sense(staff_client):
    html = staff_client.get(page(person(unverified=True))).content.decode()
    assert set(re.findall(r'class="verb verb-([\w-]+)(?: \w+)?"', html)) == {
        "deactivate",
        "export",
        "mark-verified",
        "send-code",
        "send-reset",
        "sign-out",
    }

    html = staff_client.get(page(person(inactive=True))).content.decode()
    assert set(re.findall(r'class="verb verb-([\w-]+)(?: \w+)?"', html)) == {"activate", "export", "sign-out"}


def test_activation_lets_in_again_and_does_not_verify(staff_client, api):
    user = person(inactive=True, unverified=True)

    staff_client.post(page(user, "activate"))

    user.refresh_from_db()
    assert (user.is_active, user.is_verified, user.deactivated_at, user.deactivated_reason) == (True, False, None, "")


def test_deactivation_keeps_reason_and_ends_sessions(staff_client, superuser):
    user = person(signed_in=True)

    staff_client.post(page(user, "deactivate"), {"reason": "left & <b>gone</b>"})

    user.refresh_from_db()
    assert (user.is_active, user.deactivated_reason, user.updated_by) == (
        False,
        "left & <b>gone</b>",
        superuser.pk.hex,
    )
    assert not UserSession.objects.live(timezone.now()).filter(user=user).exists()
    html = staff_client.get(page(user)).content.decode()
    assert "left &amp; &lt;b&gt;gone&lt;/b&gt;" in html
    history = staff_client.get(page(user, "history")).content.decode()
    assert "left &amp; &lt;b&gt;gone&lt;/b&gt;" in history
    assert superuser.email in history


@pytest.mark.parametrize("reason", ["x" * 201, "nul\x00", ""])
def test_a_bad_reason_is_asked_for_again(staff_client, reason):
    user = person()

    response = staff_client.post(page(user, "deactivate"), {"reason": reason})

    assert response.status_code == 200
    assert b"errorlist" in response.content
    user.refresh_from_db()
    assert user.is_active


def test_marking_verified_welcomes(staff_client):
    user = person(unverified=True)

    staff_client.post(page(user, "mark-verified"), {"reason": "showed a passport"})

    user.refresh_from_db()
    assert user.is_verified
    assert Message.objects.get(to_address=user.email).type == "users.welcome"


def test_unlocking_lets_the_right_password_in_again(staff_client, client):
    user = person(staff=True)
    for _ in range(5):
        log_in(client, user.email, "wrong")
    assert PAUSED in log_in(client, user.email).content.decode()

    staff_client.post(page(user, "unlock"))

    assert log_in(client, user.email).status_code == 302


def test_a_reset_is_mailed_and_only_to_active_people(staff_client):
    user, gone = person(), person(inactive=True)

    staff_client.post(page(user, "send-reset"))
    response = staff_client.post(page(gone, "send-reset"), follow=True)

    assert told(response)[-1] == f"“{gone.email}”: The account is deactivated; activate it first."
    assert Message.objects.get().to_address == user.email
    assert LogEntry.objects.get().object_id == str(user.pk)


def test_signing_out_everywhere_counts_the_sessions(staff_client, api):
    user = person(signed_in=True)
    api.sign_in(user)

    response = staff_client.post(page(user, "sign-out"), follow=True)

    assert told(response) == [f"“{user.email}”: 2 sessions ended."]
    assert api.call("GET", "/users/user").status_code == 401


@pytest.mark.parametrize("way", ["page", "selection"])
def test_nobody_deactivates_themselves(staff_client, superuser, way):
    UserFactory.create(superuser=True)
    data = {"action": "deactivate", "_selected_action": superuser.pk, "reason": "tired", "index": "0"}

    address = page(superuser, "deactivate") if way == "page" else LIST
    response = staff_client.post(address, data, follow=True)

    assert told(response) == ["“root@example.org”: You cannot deactivate yourself."]
    superuser.refresh_from_db()
    assert superuser.is_active
    assert not LogEntry.objects.exists()


def test_the_last_active_superuser_stays(superuser):
    UserFactory.create(superuser=True, inactive=True)
    client = client_of(make_staff("view_user", "deactivate_user"))

    response = client.post(page(superuser, "deactivate"), {"reason": "coup"})

    assert response.status_code == 403
    with pytest.raises(ProductError, match="last active superuser"):
        staff.deactivate(superuser, actor=Actor.command("deactivate_user"), reason="coup")
    superuser.refresh_from_db()
    assert superuser.is_active


def test_a_refusal_in_a_selection_does_not_stop_the_others(staff_client, superuser):
    user = person()
    data = {"action": "deactivate", "_selected_action": [user.pk, superuser.pk], "reason": "all", "index": "0"}

    response = staff_client.post(LIST, data, follow=True)

    user.refresh_from_db()
    assert not user.is_active
    assert sorted(told(response)) == [
        "1 user: deactivated and signed out.",
        "“root@example.org”: You cannot deactivate yourself.",
    ]


@pytest.mark.parametrize("pk", ["5f1d1d4e-0000-4000-8000-000000000000", "not-a-uuid", "1"])
def test_a_press_of_somebody_unknown_leads_home_with_a_message(staff_client, pk):
    response = staff_client.post(f"{LIST}{pk}/activate/", follow=True)

    assert "doesn’t exist" in told(response)[0]


# --- The form ---------------------------------------------------------------------------------------------------------

FORGED = {
    "is_active": "",
    "email": "other@example.org",
    "email_verified_at_0": "2020-01-01",
    "email_verified_at_1": "00:00",
    "email_verified_at": "2020-01-01",
    "password": "!",
    "must_reset": "on",
    "deactivated_reason": "forged",
    "created_by": "forged",
}


def test_saving_the_form_edits_names_and_forged_fields_change_nothing(staff_client, superuser):
    user = person(unverified=True)
    before = User.objects.values().get(pk=user.pk)

    response = staff_client.post(page(user), {"first_name": "Grace", "last_name": "Hopper", **FORGED})

    assert response.status_code == 302
    after = User.objects.values().get(pk=user.pk)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"first_name", "last_name", "updated_by", "updated_at"}
    assert (after["first_name"], after["last_name"], after["updated_by"]) == ("Grace", "Hopper", superuser.pk.hex)
    assert "First name" in LogEntry.objects.get().get_change_message()


def test_only_superusers_give_rights(superuser):
    clerk, user, group = make_staff("view_user", "change_user"), person(), Group.objects.create(name="Bosses")
    rights = {
        "is_staff": "on",
        "is_superuser": "on",
        "groups": group.pk,
        "user_permissions": Permission.objects.first().pk,
    }

    for target in (user, clerk):
        client_of(clerk).post(page(target), {"first_name": "Grace", "last_name": "H", **FORGED, **rights})

        target.refresh_from_db()
        assert (target.first_name, target.is_superuser, target.groups.count()) == ("Grace", False, 0)
    assert not user.is_staff
    assert user.user_permissions.count() == 0
    assert clerk.user_permissions.count() == 2


def test_a_superuser_gives_rights(staff_client):
    user, group = person(), Group.objects.create(name="Bosses")

    staff_client.post(page(user), {"first_name": "Ada", "is_staff": "on", "groups": group.pk})

    user.refresh_from_db()
    assert (user.is_staff, user.is_superuser, list(user.groups.all())) == (True, False, [group])


def test_nobody_takes_their_own_rights_away(staff_client, superuser):
    UserFactory.create(superuser=True)

    response = staff_client.post(page(superuser), {"first_name": "Ada", "is_staff": "on"}, follow=True)

    assert told(response) == ["You cannot take your own rights away."]
    superuser.refresh_from_db()
    assert superuser.is_superuser


def test_viewers_change_nothing():
    user = person()
    client = client_of(make_staff("view_user"))

    assert client.get(page(user)).status_code == 200
    assert client.post(page(user), {"first_name": "Grace"}).status_code == 403
    user.refresh_from_db()
    assert user.first_name == "Ada"


def test_staff_without_permission_see_no_users():
    client, user = client_of(make_staff()), person()

    for address in (LIST, page(user), f"{LIST}add/"):
        assert client.get(address).status_code == 403
    assert client.get(INDEX).status_code == 200


def test_saving_nothing_writes_nothing(staff_client):
    user = person()
    before = User.objects.values().get(pk=user.pk)

    staff_client.post(page(user), {"first_name": user.first_name, "last_name": user.last_name})

    assert User.objects.values().get(pk=user.pk) == before


def test_a_session_that_ends_meanwhile_does_not_break_saving(staff_client):
    user = person(signed_in=True)
    html = staff_client.get(page(user)).content.decode()
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', html))
    staff.sign_out(user, actor=Actor("command", label="test"))

    response = staff_client.post(page(user), {**hidden, "first_name": "Grace", "last_name": ""})

    assert response.status_code == 302
    user.refresh_from_db()
    assert user.first_name == "Grace"


@pytest.mark.parametrize("field", ["first_name", "last_name"])
@pytest.mark.parametrize("value", ["nul\x00", "x" * 151])
def test_a_name_that_cannot_be_kept_is_a_form_error(staff_client, field, value):
    user = person()

    response = staff_client.post(page(user), {"first_name": "A", "last_name": "B", field: value})

    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors


def test_accounts_cannot_be_deleted(staff_client):
    user = person()

    assert staff_client.post(page(user, "delete"), {"post": "yes"}).status_code == 403
    assert staff_client.post(LIST, {"action": "delete_selected", "_selected_action": user.pk}).status_code != 500
    assert User.objects.filter(pk=user.pk).exists()


# --- Adding -----------------------------------------------------------------------------------------------------------


def add(client, **fields):
    return client.post(f"{LIST}add/", {"email": "new@example.org", "first_name": "", "last_name": "", **fields})


def test_adding_makes_an_account_without_a_password(staff_client, superuser):
    response = add(staff_client, email="New@Example.ORG", first_name="Grace", is_superuser="on", password="forged")

    user = User.objects.get(email="new@example.org")
    assert response.headers["Location"] == page(user)
    assert (user.first_name, user.is_active, user.is_verified, user.is_staff) == ("Grace", True, False, False)
    assert not user.is_superuser
    assert not user.has_usable_password()
    assert user.created_by == superuser.pk.hex
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr, entry.user) == (str(user.pk), "new@example.org", superuser)
    shown = staff_client.get(page(user)).content.decode()
    assert "None yet; a reset link sets one." in shown
    assert ", root@example.org" in shown


@pytest.mark.parametrize("email", ["ada@example.org", "ADA@Example.org", " ada@example.org "])
def test_an_address_is_taken_in_any_letter_case(staff_client, email):
    person(email="ada@example.org")

    response = add(staff_client, email=email)

    assert response.context["errors"] == [["A user with this address exists."]]
    assert User.objects.filter(email__startswith="ada").count() == 1


@pytest.mark.parametrize(
    "email", ["", "no-address", "nul\x00@example.org", "İ@example.org", "x" * 250 + "@example.org", "a@b\n@c.org"]
)
def test_a_bad_address_is_a_form_error(staff_client, email):
    response = add(staff_client, email=email)

    assert response.status_code == 200
    assert "email" in response.context["adminform"].form.errors
    assert User.objects.count() == 1


def test_an_address_taken_between_check_and_write_becomes_a_message(staff_client, monkeypatch):
    create = staff.create

    def late(**fields):
        UserFactory.create(email=fields["email"])
        return create(**fields)

    monkeypatch.setattr(staff, "create", late)
    response = add(staff_client)
    monkeypatch.undo()

    assert response.status_code == 302
    assert told(staff_client.get(LIST)) == ["A user with this address exists."]


# --- The list ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("ada", {"ada@example.org", "countess@example.org"}),
        ("ADA@", {"ada@example.org"}),
        ("ada@EXAMPLE.org", {"ada@example.org"}),
        ("  lovel", {"countess@example.org"}),
        ("Ada Love", {"countess@example.org"}),
        ("da@example.org", {"ada@example.org"}),
        ("ovela", {"countess@example.org"}),
        ("lovelace ada", {"countess@example.org"}),
        ("lovelace countess@ ad", {"countess@example.org"}),
        ("lovelace zz", set()),
        ("muller", {"okafor6@example.net"}),
        ("MÜLLER", {"okafor6@example.net"}),
        ("øre strasse", {"okafor6@example.net"}),
        ("afor6", {"okafor6@example.net"}),
        ("example.net", {"okafor6@example.net"}),
        ('"ada', set()),
        ("a%a", set()),
        ("%", {"100%_a@example.org"}),
        ("_", {"_b@example.org"}),
        ("100%_", {"100%_a@example.org"}),
        ("100_", set()),
        ("\\", set()),
        ("'; drop table users_user; --", set()),
    ],
)
def test_searching_finds_any_part_of_a_name_or_address(superuser, staff_client, term, found):
    User.objects.filter(pk=superuser.pk).update(first_name="Zed", last_name="Zed")
    person(email="ada@example.org", first_name="Zoe", last_name="Zoe")
    person(email="countess@example.org", first_name="Ada", last_name="Lovelace")
    person(email="_b@example.org", first_name="B", last_name="B")
    person(email="okafor6@example.net", first_name="Ore Straße", last_name="Müller")
    percent = person(email="c@example.org", first_name="%", last_name="C")
    User.objects.filter(pk=percent.pk).update(email="100%_a@example.org")

    response = staff_client.get(LIST, {"q": term})

    assert response.status_code == 200
    assert set(emails(response)) == found


def test_a_search_nobody_can_type_is_told_and_ignored(staff_client):
    response = staff_client.get(LIST, {"q": "nul\x00"})

    assert told(response) == ["Null characters are not allowed."]
    assert staff_client.get(LIST, {"q": ""}).status_code == 200


def test_choosing_a_person_elsewhere_survives_it_too(superuser):
    term = "nul\x00"

    found, _ = admin.site.get_model_admin(User).get_search_results(None, User.objects.all(), term)

    assert not found.exists()


def test_an_empty_list_says_so_and_leads_back(staff_client):
    html = staff_client.get(LIST, {"q": "nobody at all"}).content.decode()

    assert "No users match “nobody at all”." in html
    assert "Show all users" in html


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"is_active__exact": "0"}, {"off@example.org"}),
        ({"waiting": "verification"}, {"old@example.org", "fresh@example.org"}),
        ({"waiting": "verification-7"}, {"old@example.org"}),
        ({"waiting": "reset"}, {"imported@example.org"}),
        ({"is_superuser__exact": "1"}, {"root@example.org"}),
        ({"waiting": "nonsense", "is_staff__exact": "1"}, {"root@example.org"}),
    ],
)
def test_filters(staff_client, query, found):
    UserFactory.create(email="off@example.org", inactive=True)
    UserFactory.create(email="fresh@example.org", unverified=True)
    UserFactory.create(email="old@example.org", unverified=True, created_at=timezone.now() - timedelta(days=8))
    UserFactory.create(email="imported@example.org", must_reset=True)

    assert set(emails(staff_client.get(LIST, query))) == found


def test_the_filter_for_those_who_never_came(staff_client):
    seen = person(last_login=timezone.now())
    never = person()

    found = emails(staff_client.get(LIST, {"waiting": "sign-in"}))

    assert never.email in found
    assert seen.email not in found


@pytest.mark.parametrize(
    "query",
    [
        {"is_active__exact": "\x00"},
        {"groups__id__exact": "\x00"},
        {"waiting": "\x00"},
        {"p": "999999"},
        {"o": "99.-1"},
        {"password__startswith": "argon2"},
        {"q": "x" * 5000},
    ],
)
def test_nonsense_in_the_address_is_no_error_page(staff_client, query):
    response = staff_client.get(LIST, query)

    assert response.status_code in (200, 302, 400)


def test_the_chips_tell_the_state(staff_client):
    person(email="a@example.org", inactive=True, unverified=True, paused=True, must_reset=True, staff=True)

    for address in (f"{LIST}?q=a@example.org", page(User.objects.get(email="a@example.org"))):
        chips = re.findall(r'<span class="chip chip-(\w+)">([^<]+)</span>', staff_client.get(address).content.decode())
        assert chips == [
            ("staff", "deactivated"),
            ("waiting", "unverified"),
            ("waiting", "must reset"),
            ("paused", "paused"),
            ("staff", "staff"),
        ]


def cost(client, address):
    with CaptureQueriesContext(connection) as made:
        assert client.get(address).status_code == 200
    return len(made)


def test_the_list_costs_the_same_however_long_it_is(staff_client):
    staff_client.get(LIST)  # content types and permissions are remembered after the first time
    for _ in range(2):
        person(paused=True)
    few = cost(staff_client, LIST)

    for number in range(27):
        person(inactive=number % 2 == 0, unverified=number % 3 == 0, paused=number % 5 == 0)

    assert User.objects.count() == 30
    assert cost(staff_client, LIST) == few
    assert few <= 9


def test_the_page_costs_the_same_however_much_there_is(staff_client):
    user = person(signed_in=True)
    staff_client.post(page(user, "send-reset"))
    staff_client.get(page(user))
    few = cost(staff_client, page(user))

    for _ in range(10):
        sessions.new_session(user, RequestInfo(), UserSession.Kind.API, timezone.now())
        staff_client.post(page(user, "send-reset"))
    staff_client.get(page(user))

    assert cost(staff_client, page(user)) == few <= 25


# --- What pages hold --------------------------------------------------------------------------------------------------


def test_what_people_typed_is_escaped(staff_client):
    evil = '"><script>alert(1)</script>'
    user = person(email="a&b@example.org", first_name=evil, last_name="<i>", inactive=True, deactivated_reason=evil)
    agent = 'Evil"><script>/1'
    sessions.new_session(user, RequestInfo("203.0.113.7", agent), UserSession.Kind.API, timezone.now())
    Group.objects.create(name=evil)

    pages = [LIST, page(user), page(user, "history"), INDEX, f"{LIST}?q={evil}"]
    staff_client.post(page(user, "activate"), {"_from": "list"})
    for address in pages:
        html = staff_client.get(address).content.decode()
        assert "<script>alert" not in html
        assert "<i>" not in html
        assert "a&b@" not in html
    asked = staff_client.post(page(user, "deactivate"), {"_from": evil}).content.decode()
    assert "a&amp;b@example.org" in asked
    assert "<script>alert" not in asked


def test_the_password_hash_is_nowhere(staff_client, superuser):
    user = person(password_changed_at=timezone.now())
    staff_client.post(page(user), {"first_name": "Grace"})

    for address in (LIST, page(user), page(user, "history"), INDEX, page(superuser)):
        html = staff_client.get(address).content.decode()
        for secret in (user.password, superuser.password):
            assert secret not in html
            assert secret.rpartition("$")[2] not in html
    assert "argon2, set" in staff_client.get(page(user)).content.decode()


def test_sessions_and_mails_are_for_those_who_may_see_them(staff_client):
    user = person(signed_in=True)
    staff_client.post(page(user, "send-reset"))
    mail = f"/admin/notifications/message/{Message.objects.get().pk}/change/"

    html = staff_client.get(page(user)).content.decode()
    assert mail in html
    assert "Live sessions" in html
    html = client_of(make_staff("view_user")).get(page(user)).content.decode()
    assert mail not in html
    assert "Live sessions" not in html


def pages_of_the_admin(user):
    group = Group.objects.create(name="Bosses")
    return [
        INDEX,
        LIST,
        f"{LIST}?q=nobody-at-all",
        f"{LIST}?_popup=1",
        f"{LIST}add/",
        page(user),
        page(user, "history"),
        "/admin/users/",
        "/admin/auth/group/",
        "/admin/auth/group/add/",
        f"/admin/auth/group/{group.pk}/change/",
        f"/admin/auth/group/{group.pk}/delete/",
        "/admin/feature_flags/featureflag/",
        "/admin/feature_flags/featureflag/add/",
        "/admin/notifications/message/",
        "/admin/password_change/",
        "/admin/password_change/done/",
    ]


def assert_plain(response):
    """Nothing the policy would stop, no form in a form, and the policy itself."""
    html = response.content.decode()
    assert not re.search(r"<[^>]+\sstyle=|<[^>]+\son\w+=|<style|<script(?![^>]*\bsrc=)[^>]*>|javascript:", html)
    depth = 0
    for closing in re.findall(r"<(/?)form\b", html):
        depth += -1 if closing else 1
        assert depth in (0, 1)
    assert response.headers["Content-Security-Policy"] == PAGE_POLICY
    assert "unsafe" not in PAGE_POLICY
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"


def test_every_page_works_under_the_strict_policy(staff_client, client):
    user = person(signed_in=True, unverified=True, paused=True)
    staff_client.post(page(user, "send-reset"))

    for address in pages_of_the_admin(user):
        response = staff_client.get(address)
        assert response.status_code == 200, address
        assert_plain(response)
    assert_plain(staff_client.post(page(user, "deactivate")))
    assert_plain(client.get(LOGIN))
    assert_plain(log_in(client, "nobody@example.org"))
    assert_plain(staff_client.post(LOGOUT))


def test_the_overview_keeps_the_apps(staff_client):
    html = staff_client.get(INDEX).content.decode()

    assert "<h1>Overview</h1>" in html
    for address in (LIST, "/admin/feature_flags/featureflag/", "/admin/notifications/message/", "/admin/auth/group/"):
        assert f'href="{address}"' in html
