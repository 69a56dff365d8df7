"""Several people type one address; only the mailbox decides. All come from one network with one user agent."""

import base64
import copy
import itertools
import uuid

import pytest
from django.contrib.auth.hashers import make_password
from django.db import transaction

from conftest import ApiClient
from lib.actors import Actor
from lib.errors import ProductError
from notifications.models import Message
from users.models import OneTimeToken, RateBucket, Registration, User
from users.services import hashing, staff, tokens
from users.tests.factories import UserFactory
from users.tests.own import at_once

pytestmark = pytest.mark.django_db

ADDRESS, MINE, THEIRS = "ada@example.org", "Owners-Horse-7", "Strangers-Horse-9"
HEADER = "X-Registration-Token"
BAD = "ErrorCode.VERIFY_USER_BAD_TOKEN"


@pytest.fixture(autouse=True)
def secrets_in_answers(settings):
    settings.USERS_RETURN_VERIFICATION_TOKENS = settings.USERS_RETURN_FORGOT_PASSWORD_TOKEN = True
    settings.USERS_IP_LIMITS = False


class Program:
    """One of the programs: it keeps the token of its registration as a `cookie`, as a `header`, or not (`nothing`)."""

    def __init__(self, keeps="cookie", email=ADDRESS):
        self.api, self.keeps, self.email, self.headers = ApiClient(), keeps, email, {}
        self.token = self.code = ""

    def call(self, path, **body):
        if self.keeps != "cookie":
            self.api.cookies.clear()
        return self.api.call("POST", path, body, **self.headers)

    def register(self, password, **names):
        body = {"email": self.email, "password": password, "first_name": "Ada", "last_name": "L", **names}
        answer = self.call("/register", **body)
        if self.keeps == "header" and answer.status_code == 201:
            self.headers = {HEADER: answer[HEADER]}
        return answer

    def request(self):
        answer = self.call("/auth/request-verification-token", email=self.email).json()
        self.token, self.code = answer["verification_token"], answer.get("registration_code", "")

    def verify(self, code=None):
        return self.call("/auth/verify", token=self.token, registration_code=code or self.code)


def opens(password, email=ADDRESS):
    return ApiClient().login_form(email, password).status_code == 200


def mailed(kind, email=ADDRESS):
    return Message.objects.filter(type=f"users.{kind}", to_address=email).count()


def reset(password):
    api = ApiClient()
    token = api.call("POST", "/auth/forgot-password", {"email": ADDRESS}).json()["forgot_password_token"]
    body = {"email": ADDRESS, "token": token, "password": password}
    assert api.call("POST", "/auth/reset-password", body).status_code == 200


def guess(program, tries):
    for _ in range(tries):
        assert program.verify("000000").json()["detail"] == BAD


def walk(owner, stranger, steps, others, taken=""):
    """Take every order of both programs' steps, each in its own order; what orders begin with alike is done once."""
    if not steps + others:
        check(owner, taken)
    for program, step, left in ((owner, steps[:1], (steps[1:], others)), (stranger, others[:1], (steps, others[1:]))):
        if step:
            at_branch = copy.deepcopy((program.api.cookies, program.headers, program.token, program.code))
            with transaction.atomic():
                take(program, step, taken + step)
                walk(owner, stranger, *left, taken + step)
                transaction.set_rollback(True)
            program.api.cookies, program.headers, program.token, program.code = at_branch


def take(program, step, taken):
    """One step of the owner (R, Q, V) or of a stranger (r, q, v)."""
    if step in "Rr":
        program.register(MINE if step == "R" else THEIRS)
    elif step in "Qq":
        program.request()
    elif step == "V":
        assert program.verify().json() == {"verified": True}, taken
    else:
        assert program.verify("000000").status_code == 400, taken


def check(owner, taken):
    is_alone = "r" not in taken[: taken.index("V")]
    keeps_hers = owner.keeps != "nothing" or is_alone
    account = User.objects.get(email=ADDRESS)
    assert not account.check_password(THEIRS), taken
    assert account.check_password(MINE) == keeps_hers, taken
    assert mailed("forgot_password") == (0 if keeps_hers else 1), taken


# The owner registers (R), asks for a code (Q), types it (V); a stranger registers (r), asks (q), types a wrong one (v).
# The orders of a sequence hold those of its beginnings. A cookie and a header are told apart in one place alone.
@pytest.mark.parametrize(
    ("strangers", "keeps"),
    [
        *itertools.product(["rrr", "qrv", "rqrv"], ["cookie", "nothing"]),
        ("rrr", "header"),
    ],
)
def test_whatever_strangers_do_the_readers_code_is_good_and_no_strangers_password(keeps, strangers):
    walk(Program(keeps), Program("header"), "RQV", strangers)


def test_where_nothing_proves_who_registered_the_mailed_link_sets_the_password(outbox):
    owner = Program("nothing")
    owner.register(MINE)
    Program().register(THEIRS, first_name="Evil")
    owner.request()

    with outbox() as mails:
        assert owner.verify().status_code == 200

    assert not opens(MINE)
    assert User.objects.get().first_name == ""
    link = next(mail for mail in mails if mail.subject == "Reset Password link")
    assert "nobody's password was kept" in link.body
    assert "Welcome!" in {mail.subject for mail in mails}
    reset(MINE)
    assert opens(MINE)


def test_the_same_password_again_is_no_contest():
    first, second = Program("nothing"), Program("nothing")
    first.register(MINE)
    second.register(MINE)
    second.request()

    assert second.verify().status_code == 200
    assert opens(MINE)


def test_whoever_holds_the_token_may_change_the_mind():
    owner = Program()
    owner.register("First-Horse-77")
    owner.register(MINE)
    Program().register(THEIRS)
    owner.request()

    assert owner.verify().status_code == 200
    assert opens(MINE)


def test_a_token_at_verify_is_proof_enough():
    owner = Program("header")
    owner.register(MINE)
    Program().register(THEIRS)
    token, owner.headers = owner.headers, {}
    owner.request()
    owner.headers = token

    assert owner.verify().status_code == 200
    assert opens(MINE)


@pytest.mark.parametrize("junk", ["", "x", "A" * 54, "\u00e9", "=" * 200])
def test_a_token_nobody_gave_out_proves_nothing(junk):
    owner = Program("header")
    owner.register(MINE)
    Program().register(THEIRS)
    owner.headers = {HEADER: junk}
    owner.request()

    assert owner.verify().status_code == 200
    assert not opens(MINE)
    assert not opens(THEIRS)


def test_the_token_of_another_address_proves_nothing():
    stranger = Program("header", "eve@example.org")
    stranger.register(THEIRS)
    Program("nothing").register(MINE)
    stranger.email = ADDRESS
    stranger.request()

    assert User.objects.get(email=ADDRESS).one_time_tokens.get().registration is None


@pytest.mark.parametrize("passwords", [[THEIRS] * 12, [f"{THEIRS}{n}" for n in range(12)]])
def test_pushed_out_by_a_dozen_the_owner_still_verifies_and_nobodys_password_is_kept(passwords):
    owner = Program()
    owner.register(MINE)
    owner.request()
    strangers = [Program("header") for _ in passwords]
    for stranger, password in zip(strangers, passwords, strict=True):
        stranger.register(password)
    for stranger in strangers:
        stranger.register(THEIRS)

    assert Registration.objects.count() == 10
    assert owner.verify().status_code == 200
    assert not any(opens(password) for password in {MINE, THEIRS, *passwords})
    assert mailed("forgot_password") == 1


def test_strangers_who_use_up_the_mails_have_them_sent_to_the_owner():
    stranger, owner = Program(), Program()
    stranger.register(THEIRS)
    for _ in range(4):
        stranger.request()
    owner.register(MINE)
    owner.request()

    assert mailed("registration_code") == 3
    assert owner.verify(stranger.code).status_code == 200
    assert opens(MINE)


def test_strangers_who_register_anew_void_no_code_that_was_mailed():
    stranger, owner = Program(), Program()
    codes = []
    for password in (THEIRS, "Strangers-Mule-3", "Strangers-Goat-4"):
        stranger.register(password)
        stranger.request()
        codes.append(stranger.code)
    stranger.register("Strangers-Lion-5")
    owner.register(MINE)
    owner.request()

    assert mailed("registration_code") == 3
    assert owner.verify(codes[-1]).status_code == 200
    assert opens(MINE)


def test_strangers_who_use_up_a_days_wrong_codes_shut_nobody_out():
    owner = Program()
    owner.register(MINE)
    for _ in range(4):
        stranger = Program()
        stranger.register(THEIRS)
        stranger.request()
        guess(stranger, 5)
        RateBucket.objects.exclude(scope="code").delete()
    owner.request()

    assert owner.verify().status_code == 200
    assert not opens(THEIRS)
    assert mailed("forgot_password") == 1


def test_beyond_a_days_wrong_codes_a_lucky_guess_wins_no_password():
    for _ in range(4):
        stranger = Program()
        stranger.register(THEIRS)
        stranger.request()
        guess(stranger, 5)
        RateBucket.objects.exclude(scope="code").delete()
    lucky, other = Program(), Program()
    lucky.register(THEIRS)
    lucky.request()
    other.request()

    assert lucky.verify(other.code).status_code == (200 if other.code == lucky.code else 400)
    lucky.request()
    assert lucky.verify().status_code == 200
    assert not opens(THEIRS)


def test_a_caller_who_floods_leaves_few_rows():
    Program("nothing").register(THEIRS)
    for _ in range(40):
        Program("nothing").request()

    assert OneTimeToken.objects.count() == 3 + 20


def test_a_foreign_page_cannot_plant_a_registration_in_its_visitors_browser():
    visitor = Program()
    visitor.register(MINE)
    visitor.headers = {"origin": "https://evil.example"}
    planted = visitor.register(THEIRS)
    visitor.headers = {}
    visitor.request()

    assert not planted.cookies
    assert visitor.verify().status_code == 200
    assert opens(MINE)
    assert not opens(THEIRS)


def test_a_token_planted_before_is_void_once_the_owner_registers():
    stranger, owner = Program("header"), Program("header")
    stranger.register(THEIRS)
    owner.headers = planted = stranger.headers
    owner.register(MINE)
    stranger.headers = planted
    stranger.register(THEIRS)
    owner.request()

    assert owner.verify().status_code == 200
    assert opens(MINE)
    assert not opens(THEIRS)


@pytest.mark.parametrize("is_secure", [True, False])
def test_the_cookie_is_kept_from_scripts_other_sites_and_other_hosts(settings, is_secure):
    settings.USERS_ACCESS_TOKEN_COOKIE_SECURE = is_secure

    answer = Program().register(MINE)

    (cookie,) = answer.cookies.values()
    assert cookie.key == ("__Host-registration" if is_secure else "registration")
    assert (cookie["httponly"], cookie["samesite"], bool(cookie["secure"])) == (True, "Lax", is_secure)
    assert answer["Cache-Control"] == "no-store"
    assert list(answer.json()) == ["id", "email", "first_name", "last_name"]


@pytest.mark.parametrize(("passwords", "is_kept"), [([MINE], True), ([MINE, THEIRS], False), ([MINE, MINE], False)])
def test_registrations_of_the_release_before_prove_nothing(passwords, is_kept):
    user = UserFactory.create(email=ADDRESS, unverified=True, created_by="register")
    for password in passwords:
        user.password = make_password(password)
        Registration.objects.create(user=user, password=user.password)
    user.save()
    owner = Program("nothing")
    owner.request()

    assert owner.verify().status_code == 200
    assert opens(MINE) == is_kept


def test_an_imported_password_is_not_kept_beside_a_registration():
    UserFactory.create(email=ADDRESS, unverified=True, created_by="import", password=make_password(THEIRS))
    owner = Program("nothing")
    owner.register(MINE)
    owner.request()

    assert owner.verify().status_code == 200
    assert not opens(THEIRS)


def test_a_password_set_by_a_mailed_link_outlives_older_registrations():
    stranger, owner = Program(), Program("nothing")
    stranger.register(THEIRS)
    reset(MINE)
    stranger.register(THEIRS)
    owner.request()

    assert owner.verify().status_code == 200
    assert opens(MINE)
    assert not opens(THEIRS)


def test_a_registration_made_after_the_reset_by_whoever_proves_it_is_the_newest_word():
    owner = Program()
    owner.register("First-Horse-77")
    reset("Second-Horse-77")
    owner.register(MINE)
    owner.request()

    assert owner.verify().status_code == 200
    assert opens(MINE)


def test_what_staff_entered_is_not_overwritten_by_strangers():
    clerk = UserFactory.create(superuser=True)
    user = staff.create(email=ADDRESS, first_name="Ada", actor=Actor("admin", clerk))
    Program().register(THEIRS, first_name="Evil")

    staff.mark_verified(user, actor=Actor("command", label="clerk"), reason="known in person")

    user.refresh_from_db()
    assert user.first_name == "Ada"
    assert not user.has_usable_password()
    assert not opens(THEIRS)


@pytest.mark.parametrize("passwords", [[THEIRS], [MINE, THEIRS]])
def test_an_address_verified_on_staffs_word_keeps_no_password_that_no_reader_of_its_mail_set(passwords):
    for password in passwords:
        Program().register(password)

    staff.mark_verified(User.objects.get(), actor=Actor("command", label="test"), reason="on the phone")

    assert not any(opens(password) for password in passwords)
    assert mailed("forgot_password") == 1


def test_a_code_sent_by_staff_is_good_with_the_owners_token():
    owner = Program()
    owner.register(MINE)
    owner.request()
    Program().register(THEIRS)
    staff.send_code(User.objects.get(), actor=Actor("command", label="clerk"))
    sent = tokens.registration_code(OneTimeToken.objects.get(registration=None))

    assert owner.verify(sent).status_code == 200
    assert opens(MINE)


@pytest.mark.django_db(transaction=True)
def test_of_several_verifications_at_once_one_is_answered_200():
    owner = Program("header")
    owner.register(MINE)
    owner.request()

    answers = at_once([owner.verify] * 4)

    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    assert (mailed("welcome"), opens(MINE)) == (1, True)


def test_decoys_look_like_tokens(api):
    for n in range(20):
        answer = api.call("POST", "/auth/request-verification-token", {"email": f"nobody{n}@example.org"}).json()
        raw = base64.urlsafe_b64decode(answer["verification_token"] + "==")
        assert uuid.UUID(bytes=raw[:16]).version == 4


def test_a_mail_limit_used_up_in_a_minute_is_not_used_up_for_the_day(api, outbox):
    Program().register(MINE)
    for _ in range(30):
        api.call("POST", "/auth/request-verification-token", {"email": "ada@example.org"})

    assert RateBucket.objects.get(scope="mail_day").count == 3


def test_a_full_hashing_queue_counts_as_no_try(api, user, monkeypatch):
    def full(*args):
        raise ProductError("BUSY", "full", status=503, retry_after=1)

    with monkeypatch.context() as patched:
        patched.setattr(hashing, "acheck", full)
        for _ in range(6):
            assert api.login_form(user.email).status_code == 503

    assert api.login_form(user.email).status_code == 200
