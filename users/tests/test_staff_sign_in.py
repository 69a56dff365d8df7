import json
import re
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import unquote

import bcrypt
import pyotp
import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import URLResolver, get_resolver
from django.utils import timezone

from lib import encryption
from lib.actors import Actor
from lib.logs import JsonFormatter
from lib.middleware import PAGE_POLICY
from users.models import AuditEvent, MfaDevice, OneTimeToken, User, UserSession
from users.services import passwords, second_factors, sessions, staff
from users.staff_site import carried
from users.tests.authenticator import Authenticator
from users.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db
LOGIN, CODE, FACTOR, INDEX = "/admin/login/", "/admin/login/code/", "/admin/login/factor/", "/admin/"
AGAIN, OWN, APP = "/admin/reauthenticate/", "/admin/second-factor/", "/admin/second-factor/app/"
USERS = "/admin/users/user/"
PASSKEYS = ("/admin/login/passkey/", "/admin/login/code/passkey/", "/admin/reauthenticate/passkey/")
#: Doors that ask for a proof of their own.
OPEN = {"/admin/enrol/", "/admin/enrol/x", "/admin/login/factor/passkey/", *PASSKEYS}
NEW_PASSWORD = "Another-Horse-8"


@pytest.fixture(autouse=True)
def second_factor_required(settings):
    assert settings.USERS_STAFF_MFA == "required"  # the default outside DEBUG


@pytest.fixture
def app(superuser):
    """The authenticator app of the superuser; `app.codes` are the recovery codes."""
    return set_up(superuser)


class App(pyotp.TOTP):
    codes = ()


def set_up(user):
    started = second_factors.start_totp(user)
    app = App(started.secret)
    actor = Actor("admin", user)
    app.codes = second_factors.confirm_totp(user, code=app.now(), device_id=started.device.pk, actor=actor)
    # The code of this half minute is spent; what the tests type is not.
    MfaDevice.objects.update(last_step=None)
    return app


def first_step(client, email="root@example.org", password=PASSWORD, wanted=INDEX):
    return client.post(LOGIN, {"username": email, "password": password, "next": wanted})


def second_step(client, code, wanted=INDEX):
    return client.post(f"{CODE}?next={wanted}", {"code": code})


def is_in(client):
    return client.get(INDEX).status_code == 200


def wrong(app):
    return f"{(int(app.now()) + 1) % 1_000_000:06}"


def events(name):
    return list(AuditEvent.objects.filter(event=name).order_by("id"))


def secret_on(response):
    groups = re.search(r'<code class="secret">(.*?)</code>', response.content.decode())[1]
    return re.sub(r"</?span>", "", groups)


def age(**how):
    UserSession.objects.update(auth_at=timezone.now() - timedelta(**how))


def admin_addresses():
    """Every address of the admin, with something in the place of what varies."""
    filler = {"token": "x", "url": "nowhere", "app_label": "users", "device_id": "00000000-0000-0000-0000-000000000000"}

    def walk(resolver, prefix):
        for entry in resolver.url_patterns:
            route = prefix + str(entry.pattern).lstrip("^")
            if isinstance(entry, URLResolver):
                yield from walk(entry, route)
            else:
                yield re.sub(r"\(\?P<(\w+)>[^)]*\)|<(?:\w+:)?(\w+)>", lambda m: filler.get(m[1] or m[2], "1"), route)

    site = next(entry for entry in get_resolver().url_patterns if getattr(entry, "app_name", "") == "admin")
    return sorted({"/" + address.replace("$", "").replace("\\", "") for address in walk(site, "admin/")})


# --- Two steps --------------------------------------------------------------------------------------------------------


def test_a_right_password_only_leads_to_the_code(client, app):
    response = first_step(client)

    assert response.headers["Location"] == f"{CODE}?next=%2Fadmin%2F"
    assert not is_in(client)
    assert not UserSession.objects.exists()
    assert [event.door for event in events("login.factor_required")] == ["admin"]


def test_the_code_signs_in_and_the_session_says_what_was_proved(client, app, superuser):
    first_step(client)

    response = second_step(client, app.now())

    assert (response.status_code, response.headers["Location"]) == (302, INDEX)
    assert is_in(client)
    session = UserSession.objects.get()
    assert (session.user, session.kind, session.amr) == (superuser, "admin", ["pwd", "otp"])
    assert events("login.ok")[0].data["amr"] == ["pwd", "otp"]


def test_a_sign_in_to_the_admin_is_mailed_unless_the_browser_is_known(client, app, outbox):
    def sign_in():
        MfaDevice.objects.update(last_step=None)
        first_step(client)
        with outbox() as mails:
            second_step(client, app.now())
        assert is_in(client)
        device = client.cookies["device"]
        client.cookies.clear()
        return device, [mail.subject for mail in mails]

    device, first = sign_in()
    _, without = sign_in()
    client.cookies["device"] = device.value
    _, known = sign_in()

    assert (first, without, known) == ([], ["New sign-in to your account"], [])
    assert device["httponly"]


@pytest.mark.parametrize("typed", [str, str.lower, lambda code: f" {code.replace('-', ' ')} "])
def test_a_recovery_code_signs_in_once(client, app, typed):
    first_step(client)
    assert second_step(client, typed(app.codes[0])).status_code == 302
    assert UserSession.objects.get().amr == ["pwd", "recovery"]
    assert is_in(client)

    other = Client()
    first_step(other)

    assert second_step(other, app.codes[0]).status_code == 200
    assert not is_in(other)


def test_a_code_works_once(client, app):
    first_step(client)
    code = app.now()
    second_step(client, code)
    other = Client()
    first_step(other)

    response = second_step(other, code)

    assert "used already" in response.content.decode()
    assert not is_in(other)


@pytest.mark.parametrize("typed", ["", "123", "12345６", "\x00", "a" * 65, "😀" * 6, "AAAA-BBBB-CCCC-DDDD"])
def test_what_is_no_code_is_refused_in_words(client, app, typed):
    first_step(client)

    response = second_step(client, typed)

    assert response.status_code == 200
    assert response.context["form"].errors
    assert not is_in(client)


def test_the_field_is_empty_after_a_wrong_code(client, app):
    first_step(client)

    page = second_step(client, "123 456").content.decode()

    assert 'name="code"' in page
    assert "123 456" not in page


def test_nothing_is_reachable_between_the_steps(client, app):
    first_step(client)

    for address in admin_addresses():
        response = client.get(address)
        if address in {LOGIN, CODE, *OPEN}:
            continue
        assert response.status_code == 302, address
        assert response.headers["Location"].startswith((LOGIN, CODE, INDEX)), address
    assert not UserSession.objects.exists()


def test_the_code_page_without_the_first_step_leads_to_it(client, app):
    assert client.get(CODE).headers["Location"].startswith(LOGIN)
    assert second_step(client, app.now()).headers["Location"].startswith(LOGIN)
    assert not is_in(client)


def test_the_way_on_is_kept_over_both_steps(client, app):
    response = first_step(client, wanted=f"{USERS}?q=ada&o=1")

    answer = client.post(response.headers["Location"], {"code": app.now()})

    assert answer.headers["Location"] == f"{USERS}?q=ada&o=1"


@pytest.mark.parametrize("evil", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_the_way_on_never_leads_to_another_site(client, app, evil):
    first = first_step(client, wanted=evil)
    assert "evil" not in first.headers["Location"]
    assert "javascript" not in first.headers["Location"]

    assert second_step(client, app.now(), wanted=evil).headers["Location"] == INDEX


def test_the_half_sign_in_is_over_after_five_minutes(client, app):
    first_step(client)
    OneTimeToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert second_step(client, app.now()).headers["Location"].startswith(LOGIN)
    assert "has expired" in client.get(LOGIN).content.decode()
    assert not is_in(client)


def test_it_lives_five_minutes(client, app):
    first_step(client)

    row = OneTimeToken.objects.get(purpose="mfa_login")
    assert row.expires_at - row.created_at <= timedelta(minutes=5, seconds=1)


def new_password(user):
    staff.reset_password(user, NEW_PASSWORD, actor=Actor("command", label="test"))


def deactivate(user):
    User.objects.filter(pk=user.pk).update(is_active=False, deactivated_at=timezone.now())


def take_the_staff_mark(user):
    User.objects.filter(pk=user.pk).update(is_staff=False)


@pytest.mark.parametrize("meanwhile", [new_password, deactivate, take_the_staff_mark])
def test_the_half_sign_in_dies_with(client, app, superuser, meanwhile):
    first_step(client)

    meanwhile(superuser)

    assert second_step(client, app.now()).headers["Location"].startswith(LOGIN)
    assert not is_in(client)
    assert not UserSession.objects.exists()


def test_five_wrong_codes_end_the_half_sign_in_and_pause_even_the_right_one(client, app):
    first_step(client)
    for _ in range(5):
        response = second_step(client, wrong(app))

    assert "Start again with your password" in response.content.decode()
    assert second_step(client, app.now()).headers["Location"].startswith(LOGIN)
    first_step(client)
    response = second_step(client, app.now())

    assert 0 < int(response.headers["Retry-After"]) <= 60
    assert "paused for a while" in response.content.decode()
    assert len(events("mfa.failed")) == 5
    assert not is_in(client)


def test_the_keys_of_the_session_change_with_each_step(client, app):
    client.get(LOGIN)
    first_step(client)
    half = client.session.session_key
    second_step(client, app.now())

    assert client.session.session_key != half
    assert not Session.objects.filter(pk=half).exists()


def test_another_persons_half_sign_in_takes_the_place_of_who_was_signed_in(client, app):
    set_up(other := UserFactory.create(superuser=True))
    client.force_login(other)

    first_step(client)
    second_step(client, app.now())

    assert client.get(INDEX).context["user"].email == "root@example.org"


def test_the_forms_are_guarded_against_forgery(app):
    client = Client(enforce_csrf_checks=True)

    for address in (CODE, FACTOR, AGAIN, "/admin/enrol/"):
        assert client.post(address, {"code": "1"}).status_code == 403


def test_no_page_between_is_kept_by_anybody(client, app):
    first_step(client)

    response = client.get(CODE)

    assert "no-store" in response.headers["Cache-Control"]
    assert response.headers["Content-Security-Policy"] == PAGE_POLICY
    assert "style=" not in response.content.decode()


# --- No factor yet ----------------------------------------------------------------------------------------------------


def test_a_superuser_without_factor_reaches_only_the_enrolment_page(client, superuser):
    response = first_step(client)
    assert response.headers["Location"] == f"{FACTOR}?next=%2Fadmin%2F"

    for address in admin_addresses():
        response = client.get(address)
        if address in {LOGIN, FACTOR, *OPEN}:
            continue
        assert response.status_code == 302, address
        assert response.headers["Location"].startswith((LOGIN, FACTOR, INDEX)), address
    assert not UserSession.objects.exists()


def test_nor_does_a_session_that_proved_a_password_alone(client, superuser):
    client.force_login(superuser)
    UserSession.objects.update(amr=["pwd"])

    for address in admin_addresses():
        response = client.get(address)
        if address in {FACTOR, AGAIN, *OPEN}:
            continue
        expected = 405 if address == "/admin/logout/" else 302
        assert response.status_code == expected, address
        if expected == 302:
            assert response.headers["Location"].startswith((FACTOR, LOGIN)), address
    assert client.post(f"{USERS}{superuser.pk}/sign-out/").headers["Location"].startswith(FACTOR)
    assert UserSession.objects.live(timezone.now()).exists()
    assert client.post("/admin/logout/").status_code == 200
    assert not UserSession.objects.live(timezone.now()).exists()


def test_enrolling_signs_in_and_shows_recovery_codes_once(client, superuser):
    shown = client.get(first_step(client, wanted=USERS).headers["Location"])
    secret = secret_on(shown)
    assert "<svg" in shown.content.decode()
    assert "style=" not in shown.content.decode()
    assert "no-store" in shown.headers["Cache-Control"]

    response = client.post(f"{FACTOR}?next={USERS}", {"code": pyotp.TOTP(secret).now()})

    codes = response.context["codes"]
    assert len(codes) == 10
    assert all(code in response.content.decode() for code in codes)
    assert "no-store" in response.headers["Cache-Control"]
    assert f'href="{USERS}"' in response.content.decode()
    assert is_in(client)
    assert UserSession.objects.get(revoked_at=None).amr == ["pwd", "otp"]
    assert [event.door for event in events("mfa.added")] == ["admin"]
    other = Client()
    first_step(other)
    assert second_step(other, codes[3]).status_code == 302


def test_a_wrong_first_code_shows_the_same_secret_again(client, superuser):
    first_step(client)
    secret = secret_on(client.get(FACTOR))

    response = client.post(FACTOR, {"code": wrong(pyotp.TOTP(secret))})

    assert response.status_code == 200
    assert secret_on(response) == secret
    assert not second_factors.has_factor(superuser)
    assert not is_in(client)


def test_nobody_enrols_with_a_secret_another_browser_has_seen(client, superuser):
    first_step(client)
    seen = secret_on(client.get(FACTOR))
    other = Client()
    first_step(other)

    assert secret_on(other.get(FACTOR)) != seen

    client.post(FACTOR, {"code": pyotp.TOTP(seen).now()})
    assert not second_factors.has_factor(superuser)


def test_the_secret_is_kept_encrypted(client, superuser):
    first_step(client)
    secret = secret_on(client.get(FACTOR))

    stored = MfaDevice.objects.get().secret

    assert secret not in stored
    assert encryption.decrypt(stored) == secret


def test_optional_lets_a_password_in_and_offers_a_factor(client, superuser, settings):
    settings.USERS_STAFF_MFA = "optional"

    assert first_step(client).headers["Location"] == INDEX

    assert "Set up a second factor" in client.get(INDEX).content.decode()
    assert UserSession.objects.get().amr == ["pwd"]


def test_optional_still_asks_those_who_have_one(client, app, settings):
    settings.USERS_STAFF_MFA = "optional"

    assert first_step(client).headers["Location"].startswith(CODE)

    assert not is_in(client)


def set_up_beside(user):
    """Another window sets an app up as soon as it may once this one has asked whether there is a factor."""
    started = second_factors.start_totp(user)
    actor, window = Actor("admin", user), ThreadPoolExecutor(1)
    began = []

    def set_up():
        try:
            second_factors.take_into_use(started.device, actor=actor, keep=None)
        finally:
            connection.close()

    def execute(run, asked, params, many, context):
        result = run(asked, params, many, context)
        if not began and asked.startswith("SELECT %s AS") and 'FROM "users_mfadevice"' in asked:
            began.append(window.submit(set_up))
            wait(began, timeout=0.5)
        return result

    @contextmanager
    def beside():
        with connection.execute_wrapper(execute):
            yield
        began[0].result()

    return beside()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("later", [False, True], ids=["password", "later"])
def test_optional_lets_nobody_stay_in_past_a_factor_set_up_meanwhile(client, superuser, settings, later):
    if later:
        first_step(client)
    settings.USERS_STAFF_MFA = "optional"

    with set_up_beside(superuser):
        client.post(FACTOR, {"later": "1"}) if later else first_step(client)

    assert not is_in(client)
    assert not UserSession.objects.filter(revoked_at=None).exists()


def test_no_first_app_is_added_beside_a_factor_set_up_meanwhile(client, superuser):
    first_step(client)
    client.get(FACTOR)
    app = pyotp.TOTP(encryption.decrypt(MfaDevice.objects.get().secret))

    def execute(run, sql, params, many, context):
        result = run(sql, params, many, context)
        if sql.startswith('UPDATE "users_mfadevice" SET "last_step"'):
            MfaDevice.objects.create(user=superuser, kind="webauthn", confirmed_at=timezone.now())
        return result

    with connection.execute_wrapper(execute):
        page = client.post(FACTOR, {"code": app.now()}).content.decode()

    assert "There is a second factor by now" in page
    assert not is_in(client)
    assert not MfaDevice.objects.filter(kind="totp", confirmed_at__isnull=False).exists()


@pytest.mark.parametrize("staff_mfa", ["required", "optional"])
def test_a_hash_that_is_renewed_does_not_end_the_sign_in_it_came_with(client, superuser, settings, staff_mfa):
    settings.USERS_STAFF_MFA = staff_mfa
    seed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    User.objects.update(password=f"bcrypt${seed}")

    response = client.get(first_step(client).headers["Location"])

    assert response.status_code == 200
    assert User.objects.get().password.startswith("argon2")


# --- Once more --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proof", ["password", "code", "recovery"])
def test_a_fresh_proof_leads_back(app, staff_client, superuser, proof):
    age(hours=1)
    given = {"password": {"password": PASSWORD}, "code": {"code": app.now()}, "recovery": {"code": app.codes[0]}}[proof]

    response = staff_client.get(OWN)
    assert response.headers["Location"] == f"{AGAIN}?next=%2Fadmin%2Fsecond-factor%2F"
    answer = staff_client.post(response.headers["Location"], given)

    assert answer.headers["Location"] == OWN
    assert staff_client.get(OWN).status_code == 200
    assert timezone.now() - UserSession.objects.get().auth_at < timedelta(minutes=1)
    assert [event.door for event in events("admin.reauthenticated")] == ["admin"]


@pytest.mark.parametrize("given", [{"password": "wrong"}, {"code": "000000"}, {}, {"password": "\x00"}])
def test_a_wrong_proof_is_refused(app, staff_client, given):
    age(hours=1)

    response = staff_client.post(AGAIN, given)

    assert response.status_code == 200
    assert response.context["form"].errors
    assert staff_client.get(OWN).status_code == 302


def test_wrong_proofs_pause_like_wrong_sign_ins(staff_client, superuser):
    for _ in range(5):
        staff_client.post(AGAIN, {"password": "wrong"})

    response = staff_client.post(AGAIN, {"password": PASSWORD})

    assert 0 < int(response.headers["Retry-After"]) <= 60
    assert "paused for a while" in response.content.decode()
    assert is_in(staff_client)


def test_a_proof_never_leads_to_another_site(staff_client):
    response = staff_client.post(f"{AGAIN}?next=https://evil.example/", {"password": PASSWORD})

    assert response.headers["Location"] == INDEX


def test_strangers_are_not_asked_for_a_proof(client):
    assert client.get(AGAIN).headers["Location"].startswith(LOGIN)


def test_a_session_that_lacks_the_second_factor_proves_it_and_goes_on(client, app, superuser):
    client.force_login(superuser)
    UserSession.objects.update(amr=["pwd"])

    response = client.get(USERS)
    assert response.headers["Location"] == f"{AGAIN}?next=%2Fadmin%2Fusers%2Fuser%2F"
    assert client.post(response.headers["Location"], {"password": PASSWORD}).status_code == 200
    assert client.get(USERS).status_code == 302
    assert client.post(response.headers["Location"], {"code": app.now()}).headers["Location"] == USERS

    assert client.get(USERS).status_code == 200


@pytest.fixture
def sensitive():
    """Every button on people asks for a fresh proof; which ones do is for their own tests."""
    verbs = admin.site.get_model_admin(User).verbs
    before = [verb.sensitive for verb in verbs]
    for verb in verbs:
        object.__setattr__(verb, "sensitive", True)
    yield
    for verb, was in zip(verbs, before, strict=True):
        object.__setattr__(verb, "sensitive", was)


def press(client, user, name="deactivate", **more):
    """A press that needs a proof first, and the proof."""
    response = client.post(f"{USERS}{user.pk}/{name}/", more)
    assert response.headers["Location"].startswith(f"{AGAIN}?next=%2Fadmin%2Fcarry-on%2F")
    return prove(client, response)


def prove(client, response):
    """Where the proof leads."""
    return client.post(response.headers["Location"], {"password": PASSWORD}).headers["Location"]


def hidden(page):
    return dict(re.findall(r'type="hidden" name="(?!csrf)(\w+)" value="([^"]*)"', page.content.decode()))


def test_a_sensitive_press_names_what_it_is_and_goes_on_after_the_proof(staff_client, user, sensitive):
    age(hours=1)
    response = staff_client.post(f"{USERS}{user.pk}/deactivate/", {"reason": "Asked for it", "_from": "list"})
    assert (
        f"<strong>Deactivate “{user.email}”</strong>" in staff_client.get(response.headers["Location"]).content.decode()
    )
    user.refresh_from_db()
    assert user.is_active

    carry_on = prove(staff_client, response)
    page = staff_client.get(carry_on)
    assert f'action="{USERS}{user.pk}/deactivate/"' in page.content.decode()
    assert f'value="Deactivate “{user.email}”"' in page.content.decode()
    fields = hidden(page)
    assert fields == {"reason": "Asked for it", "_from": "list"}
    assert staff_client.post(f"{USERS}{user.pk}/deactivate/", fields).headers["Location"] == USERS

    user.refresh_from_db()
    assert not user.is_active
    assert staff_client.get(carry_on).headers["Location"] == INDEX, "once"


def test_what_has_changed_meanwhile_is_looked_at_first(staff_client, user, sensitive):
    age(hours=1)
    carry_on = press(staff_client, user, reason="x")
    User.objects.filter(pk=user.pk).update(first_name="Another")

    answer = staff_client.get(carry_on, follow=True)

    assert answer.redirect_chain == [(f"{USERS}{user.pk}/change/", 302)]
    assert f"It has changed meanwhile: look at it, then do it again: Deactivate “{user.email}”." in (
        answer.content.decode()
    )
    user.refresh_from_db()
    assert user.is_active


def test_what_waited_too_long_is_not_carried_out(staff_client, user, sensitive, monkeypatch):
    age(hours=1)
    monkeypatch.setattr(carried, "LASTS", timedelta(seconds=-1))
    carry_on = press(staff_client, user, reason="x")

    assert staff_client.get(carry_on).headers["Location"] == f"{USERS}{user.pk}/change/"


def test_nothing_is_carried_out_without_the_proof(staff_client, user, sensitive):
    age(hours=1)
    response = staff_client.post(f"{USERS}{user.pk}/deactivate/", {"reason": "x"})
    carry_on = unquote(response.headers["Location"].partition("next=")[2])

    assert staff_client.get(carry_on).headers["Location"] == f"{USERS}{user.pk}/change/"


def test_a_form_too_long_to_be_kept_leads_back_instead(staff_client, user, sensitive):
    age(hours=1)

    response = staff_client.post(f"{USERS}{user.pk}/deactivate/", {"reason": "x" * 40_000})

    assert "change" in response.headers["Location"]
    assert "carry-on" not in response.headers["Location"]


def test_a_sensitive_press_for_a_selection_goes_on_as_well(staff_client, user, sensitive):
    age(hours=1)
    pressed = {"action": "sign-out", "_selected_action": [str(user.pk)]}

    response = staff_client.post(f"{USERS}?is_staff__exact=0", pressed)

    page = staff_client.get(prove(staff_client, response)).content.decode()
    assert f'action="{USERS}?is_staff__exact=0"' in page
    assert f'name="_selected_action" value="{user.pk}"' in page


def test_a_group_that_gained_rights_meanwhile_is_looked_at_first(staff_client, superuser):
    group = Group.objects.create(name="Helpers")
    url = f"/admin/auth/group/{group.pk}/change/"
    age(hours=1)
    carry_on = prove(staff_client, staff_client.post(url, {"name": "Others"}))
    group.permissions.add(Permission.objects.first())

    assert staff_client.get(carry_on).headers["Location"] == url


def test_a_press_in_another_window_is_not_carried_out_for_this_one(staff_client, user, sensitive):
    age(hours=1)
    other = UserFactory.create()
    first, second = (staff_client.post(f"{USERS}{each.pk}/deactivate/", {"reason": "x"}) for each in (user, other))

    named = staff_client.get(first.headers["Location"]).content.decode()
    page = staff_client.get(prove(staff_client, first)).content.decode()

    assert f"Deactivate “{user.email}”" in named
    assert f'action="{USERS}{user.pk}/deactivate/"' in page
    assert other.email not in page
    assert f'action="{USERS}{other.pk}/deactivate/"' in staff_client.get(prove(staff_client, second)).content.decode()


def test_presses_are_not_kept_without_end(staff_client, user, sensitive):
    age(hours=1)
    first, *_others = (staff_client.post(f"{USERS}{user.pk}/deactivate/", {"reason": "x"}) for _ in range(5))

    assert staff_client.get(prove(staff_client, first)).headers["Location"] == INDEX


def test_all_that_a_list_finds_are_those_it_found_when_pressed(staff_client, user, sensitive):
    age(hours=1)
    pressed = {"action": "sign-out", "select_across": "1", "_selected_action": [str(user.pk)]}
    response = staff_client.post(f"{USERS}?is_staff__exact=0", pressed)
    late = UserFactory.create()

    page = staff_client.get(prove(staff_client, response)).content.decode()

    assert 'name="select_across" value="0"' in page
    assert str(user.pk) in page
    assert str(late.pk) not in page


# --- One's own factors ------------------------------------------------------------------------------------------------


def test_staff_see_their_own_factors(app, staff_client):
    html = staff_client.get(OWN).content.decode()

    assert "Authenticator app" in html
    assert "10 codes are left" in html


def test_a_second_app_is_added(app, staff_client, superuser):
    secret = secret_on(staff_client.get(APP))

    response = staff_client.post(APP, {"code": pyotp.TOTP(secret).now()})

    assert response.headers["Location"] == OWN
    assert len(second_factors.devices_of(superuser)) == 2
    assert is_in(staff_client)


def test_a_factor_is_removed_but_never_the_last_one_while_required(app, staff_client, superuser):
    set_up(superuser)
    first, second = second_factors.devices_of(superuser)
    staff_client.force_login(superuser)

    staff_client.post(f"{OWN}{first.pk}/remove/")
    response = staff_client.post(f"{OWN}{second.pk}/remove/", follow=True)

    assert "add another one first" in response.content.decode()
    assert second_factors.devices_of(superuser) == [second]


def test_the_last_factor_goes_where_it_is_optional(app, staff_client, superuser, settings):
    settings.USERS_STAFF_MFA = "optional"
    (device,) = second_factors.devices_of(superuser)

    staff_client.post(f"{OWN}{device.pk}/remove/")

    assert not second_factors.has_factor(superuser)


def test_another_persons_factor_is_out_of_reach(app, staff_client):
    other = UserFactory.create()
    set_up(other)
    (device,) = second_factors.devices_of(other)

    response = staff_client.post(f"{OWN}{device.pk}/remove/", follow=True)

    assert "No such second factor" in response.content.decode()
    assert second_factors.has_factor(other)


def test_new_recovery_codes_are_shown_once_and_void_the_old(app, staff_client, superuser):
    response = staff_client.post(f"{OWN}codes/")

    assert len(set(response.context["codes"]) - set(app.codes)) == 10
    assert "no-store" in response.headers["Cache-Control"]
    other = Client()
    first_step(other)
    assert second_step(other, app.codes[0]).status_code == 200
    assert second_step(other, response.context["codes"][0]).status_code == 302


@pytest.mark.parametrize("end", ["", "app/", "codes/", "00000000-0000-0000-0000-000000000000/remove/"])
def test_everything_there_asks_for_a_fresh_proof(app, staff_client, superuser, end):
    age(hours=1)

    assert staff_client.post(OWN + end).headers["Location"] == f"{AGAIN}?next=%2Fadmin%2Fsecond-factor%2F"

    assert superuser.recovery_codes.count() == 10


# --- Passkeys (with an authenticator: project/tests/test_browser_sign_in.py) ------------------------------------------


def test_a_ceremony_begins_for_anybody_and_opens_nothing(client, superuser):
    response = client.post(PASSKEYS[0])

    assert set(response.json()) == {"ceremony", "options"}
    assert "no-store" in response.headers["Cache-Control"]
    assert not is_in(client)


FIRST = "/admin/login/factor/passkey/"


@pytest.fixture
def of_this_site(settings):
    settings.USERS_WEBAUTHN_RP_ID, settings.USERS_WEBAUTHN_ORIGINS = "testserver", ["http://testserver"]


def enrol_passkey(client, *, meanwhile=lambda: None):
    began = client.post(FIRST, {"name": "Laptop"}).json()
    credential = json.dumps(Authenticator(origin="http://testserver").create(began["options"]))
    meanwhile()
    return client.post(FIRST, {"ceremony": began["ceremony"], "credential": credential})


def test_a_passkey_may_be_the_first_factor(client, superuser, of_this_site):
    first_step(client)
    assert FIRST in client.get(FACTOR).content.decode()

    response = enrol_passkey(client)

    assert len(response.context["codes"]) == 10
    assert is_in(client)
    assert UserSession.objects.get().amr == ["pwd", "webauthn"]
    assert [device.name for device in second_factors.devices_of(superuser)] == ["Laptop"]


def test_no_first_passkey_is_added_beside_a_factor_set_up_meanwhile(client, superuser, of_this_site):
    first_step(client)

    response = enrol_passkey(client, meanwhile=lambda: set_up(superuser))

    assert response.headers["Location"].startswith((CODE, LOGIN))
    assert not is_in(client)
    assert [device.kind for device in superuser.mfa_devices.all()] == ["totp"]


def test_without_a_password_no_first_passkey_is_begun(client, superuser, of_this_site):
    assert client.post(FIRST).headers["Location"].startswith(LOGIN)


@pytest.mark.parametrize("credential", ["x", "{}", "[]", "null", '{"rawId": "AAAA"}', "\x00", "[" * 5000])
@pytest.mark.parametrize("step", PASSKEYS)
def test_junk_in_place_of_a_passkey_is_refused(client, app, step, credential):
    if step == PASSKEYS[1]:
        first_step(client)
    began = client.post(step)
    ceremony = began.json()["ceremony"] if began.status_code == 200 else "x"

    response = client.post(step, {"ceremony": ceremony, "credential": credential})

    assert response.headers["Location"].startswith((LOGIN, CODE))
    assert not is_in(client)


def test_passkeys_are_offered_only_where_a_browser_would_take_them(client, superuser, settings):
    assert b'class="passkey"' not in client.get(LOGIN).content  # the RP ID is that of the front end

    settings.USERS_WEBAUTHN_RP_ID = "testserver"
    assert b'class="passkey"' in client.get(LOGIN).content

    settings.USERS_WEBAUTHN_ORIGINS = ["https://app.example.org"]
    assert b'class="passkey"' not in client.get(LOGIN).content


# --- The link of create_admin -----------------------------------------------------------------------------------------


def path_of(link):
    return link.removeprefix("http://testserver")


def choose(client, password=NEW_PASSWORD, again=None):
    return client.post("/admin/enrol/", {"password": password, "again": password if again is None else again})


def test_the_link_of_create_admin_leads_to_a_password_a_factor_and_in(client, capsys, caplog):
    call_command("create_admin", "new@example.org")
    link = capsys.readouterr().out.split()[-1]

    opened = client.get(path_of(link))
    assert opened.headers["Location"] == "/admin/enrol/"
    assert choose(client).headers["Location"] == FACTOR
    secret = secret_on(client.get(FACTOR))
    client.post(FACTOR, {"code": pyotp.TOTP(secret).now()})

    assert is_in(client)
    assert link.rpartition("/")[2] not in caplog.text
    assert link.rpartition("/")[2] not in str([record.__dict__ for record in caplog.records])


@pytest.mark.parametrize(
    ("address", "host"), [("{}", "api.example.org"), ("{}/", "testserver"), ("/api{}", "testserver")]
)
def test_a_link_that_leads_nowhere_is_no_more_legible_in_the_log(superuser, caplog, address, host):
    caplog.set_level("DEBUG")
    path = path_of(passwords.invitation_link(superuser))

    Client(enforce_csrf_checks=True, headers={"host": host}).get(address.format(path))
    Client(enforce_csrf_checks=True, headers={"host": host}).post(address.format(path))

    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert any("/admin/enrol/…" in line for line in lines)
    assert path.rpartition("/")[2] not in "".join(lines)


def test_the_link_is_good_once(client, superuser):
    link = path_of(passwords.invitation_link(superuser))
    other = Client()
    other.get(link)
    client.get(link)
    choose(client)

    assert choose(other, "Third-Horse-9").status_code == 410
    assert Client().get(link).status_code == 410
    superuser.refresh_from_db()
    assert superuser.check_password(NEW_PASSWORD)


def test_opening_the_link_spends_nothing(client, superuser):
    link = path_of(passwords.invitation_link(superuser))
    for _ in range(3):
        Client().get(link)

    client.get(link)

    assert choose(client).status_code == 302


def over(superuser):
    OneTimeToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def another_link(superuser):
    passwords.invitation_link(superuser)


def another_address(superuser):
    User.objects.filter(pk=superuser.pk).update(email="elsewhere@example.org")


@pytest.mark.parametrize(
    "meanwhile", [over, another_link, another_address, deactivate, take_the_staff_mark, new_password]
)
@pytest.mark.parametrize("is_open", [True, False])
def test_the_link_dies_with(client, superuser, meanwhile, is_open):
    link = path_of(passwords.invitation_link(superuser))
    if is_open:
        client.get(link)

    meanwhile(superuser)

    assert (choose(client) if is_open else client.get(link)).status_code == 410


@pytest.mark.parametrize("token", ["x", "A" * 54, "%00", "%F0%9F%98%80", "a" * 3000])
def test_junk_in_place_of_a_link_is_over(client, token):
    assert client.get(f"/admin/enrol/{token}").status_code == 410


@pytest.mark.parametrize(
    ("password", "again"), [("short", None), (NEW_PASSWORD, "other"), ("", ""), ("\x00" * 20, None)]
)
def test_a_password_the_policy_refuses_leaves_the_link_good(client, superuser, password, again):
    client.get(path_of(passwords.invitation_link(superuser)))

    assert choose(client, password, again).status_code == 200

    assert choose(client).status_code == 302


def test_the_link_does_not_go_round_a_factor(client, app, superuser):
    client.get(path_of(passwords.invitation_link(superuser)))

    assert choose(client).headers["Location"] == CODE

    assert not is_in(client)


def test_a_new_password_by_link_ends_every_session(client, staff_client, superuser):
    client.get(path_of(passwords.invitation_link(superuser)))
    choose(client)

    assert not is_in(staff_client)
    assert [event.door for event in events("password.reset")] == ["admin"]


def test_revoking_signs_out_of_the_pages_between_too(staff_client, superuser):
    sessions.end_all_sessions(superuser.pk, reason="staff")

    for address in (AGAIN, OWN, APP):
        assert staff_client.get(address).headers["Location"].startswith(LOGIN)


def test_no_secret_stays_in_the_session_the_trail_or_the_log(client, superuser, caplog):
    first_step(client)
    secret = secret_on(client.get(FACTOR))
    code = pyotp.TOTP(secret).now()
    codes = client.post(FACTOR, {"code": code}).context["codes"]

    kept = [str(dict(client.session)), str(list(AuditEvent.objects.values())), caplog.text]

    assert not [word for word in (secret, code, PASSWORD, *codes) if any(word in text for text in kept)]
