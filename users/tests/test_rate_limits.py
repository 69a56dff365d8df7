import json

import pytest

from lib.actors import Actor, RequestInfo
from lib.errors import ProductError
from users.models import RateBucket, User
from users.services import sign_in as attempts
from users.services import staff
from users.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

WRONG = "Wrong-Horse-7"
HOME, ELSEWHERE = "203.0.113.7", "198.51.100.9"


def sign_in(api, email, password=PASSWORD, ip=HOME, path="/api/login", **cookies):
    api.cookies.clear()
    for name, value in cookies.items():
        api.cookies[name] = value
    return api.post(path, {"username": email, "password": password}, REMOTE_ADDR=ip)


def strangers_guess(email, tries=50, device=""):
    """From a network each, so that no pair of account and network is paused."""
    for number in range(tries):
        guess(email, f"10.0.{number}.1", device)


def guess(email, ip=HOME, device=""):
    """A wrong password as the API and the admin pass it on; that requests come to this is tested beside it."""
    attempt = attempts.begin(email=email, actor=Actor("api", request=RequestInfo(ip, device=device)))
    with pytest.raises(ProductError, match="wrong"):
        attempts.finish(attempt, attempts.compare(attempt, WRONG))


def is_paused(response):
    return response.json().get("code") == "login_paused"


def test_fifty_wrong_passwords_from_anywhere_pause_the_account_for_a_quarter_of_an_hour(api, user):
    strangers_guess(user.email, 49)
    sign_in(api, user.email, WRONG, "10.0.49.1")

    response = sign_in(api, user.email, ip=ELSEWHERE)

    assert is_paused(response)
    assert 890 <= int(response["Retry-After"]) <= 900
    assert User.objects.get().is_active


def test_a_network_the_owner_signed_in_from_gets_in_all_the_same(api, user):
    sign_in(api, user.email, ip=HOME)
    strangers_guess(user.email)

    assert sign_in(api, user.email, ip="203.0.113.99").status_code == 200
    assert is_paused(sign_in(api, user.email, ip=ELSEWHERE))


def test_a_stranger_in_a_network_of_the_owners_has_no_more_tries_than_anywhere(api, user):
    sign_in(api, user.email, ip=HOME)
    strangers_guess(user.email)

    tries = [is_paused(sign_in(api, user.email, WRONG)) for _ in range(8)]

    assert tries == [False] * 5 + [True] * 3


def test_a_device_the_owner_signed_in_with_gets_in_from_anywhere(api, user):
    device = sign_in(api, user.email, ip=HOME).cookies["device"].value
    strangers_guess(user.email)

    assert is_paused(sign_in(api, user.email, ip=ELSEWHERE))
    assert sign_in(api, user.email, ip=ELSEWHERE, device=device).status_code == 200


def test_a_cookie_nobody_gave_out_makes_no_device_known(api, user):
    other = UserFactory.create()
    foreign = sign_in(api, other.email).cookies["device"].value
    strangers_guess(user.email)

    for cookie in ("", "x", "AAAA", "ä", "=" * 64, "A" * 4000, foreign):
        assert is_paused(sign_in(api, user.email, ip=ELSEWHERE, device=cookie)), cookie


def test_a_known_device_is_paused_by_its_own_wrong_passwords(api, user):
    device = sign_in(api, user.email).cookies["device"].value
    for _ in range(5):
        sign_in(api, user.email, WRONG, device=device)

    assert is_paused(sign_in(api, user.email, device=device))


def test_a_stolen_device_cookie_buys_no_more_guesses_than_none(api, user):
    device = sign_in(api, user.email).cookies["device"].value
    strangers_guess(user.email, device=device)

    response = sign_in(api, user.email, ip=ELSEWHERE, device=device)

    assert is_paused(response)
    assert 890 <= int(response["Retry-After"]) <= 900
    # Nobody else is kept out by it: another device, the networks of the owner, or a stranger's first try.
    assert sign_in(api, user.email, ip=HOME, device=device).status_code == 200
    assert sign_in(api, user.email, ip=ELSEWHERE).status_code == 200


def test_a_reset_lifts_the_pause_of_a_device(api, user):
    device = sign_in(api, user.email).cookies["device"].value
    strangers_guess(user.email, device=device)

    staff.unlock(user, actor=Actor("command", label="test"))

    assert sign_in(api, user.email, ip=ELSEWHERE, device=device).status_code == 200


def test_an_address_nobody_has_is_paused_alike(api, user):
    def paused(email):
        strangers_guess(email)
        return sign_in(api, email, ip=ELSEWHERE)

    known, unknown = paused(user.email), paused("nobody@example.org")

    assert known.status_code == unknown.status_code == 400
    assert known.json() | {"request_id": ""} == unknown.json() | {"request_id": ""}
    assert all(890 <= int(answer["Retry-After"]) <= 900 for answer in (known, unknown))


def test_refused_tries_of_one_network_count_for_nobody_else(api, user):
    for _ in range(60):
        sign_in(api, user.email, WRONG)

    assert set(RateBucket.objects.values_list("count", flat=True)) == {5}
    assert sign_in(api, user.email, ip=ELSEWHERE).status_code == 200


def test_a_hundred_tries_of_one_address_are_answered_429_whoever_they_are_for(api, user):
    for number in range(99):
        guess(f"nobody{number}@example.org")
    assert sign_in(api, "nobody99@example.org", WRONG).status_code == 400

    response = sign_in(api, user.email)

    assert response.status_code == 429
    assert response.json()["detail"] == "ErrorCode.TOO_MANY_REQUESTS"
    assert 0 < int(response["Retry-After"]) <= 300
    assert sign_in(api, user.email, ip="203.0.113.8").status_code == 200


def test_all_addresses_of_one_ipv6_network_count_as_one(api, user):
    for number in range(100):
        guess(f"nobody{number}@example.org", f"2001:db8:1:2::{number:x}")

    assert sign_in(api, user.email, ip="2001:db8:1:2:ffff::1").status_code == 429
    assert sign_in(api, user.email, ip="2001:db8:1:3::1").status_code == 200


def test_mails_are_limited_per_ipv6_network(api, db):
    def forgot(number, network="2001:db8:1:2"):
        body = json.dumps({"email": f"nobody{number}@example.org"})
        where = {"content_type": "application/json", "REMOTE_ADDR": f"{network}::{number:x}"}
        return api.post("/api/auth/forgot-password", body, **where).status_code

    assert {forgot(number) for number in range(1, 31)} == {200}
    assert forgot(31) == 429
    assert forgot(31, "2001:db8:1:3") == 200


def test_right_passwords_use_up_nothing(api, user):
    for _ in range(3):
        assert sign_in(api, user.email).status_code == 200

    assert set(RateBucket.objects.values_list("count", flat=True)) == {0}


def test_limits_per_address_can_be_left_to_a_proxy(api, user, settings):
    settings.USERS_IP_LIMITS = False
    for number in range(101):
        guess(f"nobody{number}@example.org")

    assert sign_in(api, user.email).status_code == 200


def test_the_admin_counts_with_the_api(api, superuser, settings):
    settings.USERS_STAFF_MFA = "optional"
    for _ in range(5):
        sign_in(api, superuser.email, WRONG)

    page = sign_in(api, superuser.email, path="/admin/login/")

    assert "paused" in page.content.decode()
    assert 50 <= int(page["Retry-After"]) <= 60
    assert RateBucket.objects.get(scope="login").count == 5


def test_registering_is_limited_per_address(api, db):
    body = {"email": "a@example.org", "password": "weak", "first_name": "A", "last_name": "B"}
    for _ in range(100):
        assert api.call("POST", "/register", body).status_code == 400

    response = api.call("POST", "/register", body)

    assert response.status_code == 429
    assert "Retry-After" in response


@pytest.mark.parametrize("path", ["/auth/forgot-password", "/auth/request-verification-token"])
def test_mails_are_limited_per_address_for_known_and_unknown_alike(api, user, path):
    for number in range(30):
        assert api.call("POST", path, {"email": f"nobody{number}@example.org"}).status_code == 200

    for email in (user.email, "nobody@example.org"):
        response = api.call("POST", path, {"email": email})
        assert response.status_code == 429
        assert 0 < int(response["Retry-After"]) <= 600


def test_twenty_wrong_codes_a_day_are_all_an_address_gets(api, settings):
    settings.USERS_RETURN_VERIFICATION_TOKENS = True
    settings.USERS_IP_LIMITS = False
    user = UserFactory.create(unverified=True)
    asked = None
    for number in range(20):
        if number % 5 == 0:
            RateBucket.objects.exclude(scope="code").delete()
            asked = api.call("POST", "/auth/request-verification-token", {"email": user.email}).json()
        body = {"token": asked["verification_token"], "registration_code": "000000"}
        assert api.call("POST", "/auth/verify", body).status_code == 400
    RateBucket.objects.exclude(scope="code").delete()
    asked = api.call("POST", "/auth/request-verification-token", {"email": user.email}).json()

    body = {"token": asked["verification_token"], "registration_code": asked["registration_code"]}
    response = api.call("POST", "/auth/verify", body)

    assert response.status_code == 400
    assert response.json()["detail"] == "ErrorCode.VERIFY_USER_BAD_TOKEN"


def test_a_right_code_uses_up_nothing(api, settings):
    settings.USERS_RETURN_VERIFICATION_TOKENS = True
    user = UserFactory.create(unverified=True)
    asked = api.call("POST", "/auth/request-verification-token", {"email": user.email}).json()

    body = {"token": asked["verification_token"], "registration_code": asked["registration_code"]}

    assert api.call("POST", "/auth/verify", body).status_code == 200
    assert RateBucket.objects.get(scope="code").count == 0
