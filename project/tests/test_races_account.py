"""One's own account when many call at once, over two workers; and through a restart with another key."""

import collections

import httpx
import pytest

from project.tests.processes import Server, database, environment, until
from project.tests.test_races import PASSWORD, at_once, login, post, send, statuses, verified
from users.models import OneTimeToken
from users.services import tokens

pytestmark = pytest.mark.database

ROUNDS = 3
NEW = "another-token-secret-0123456789-abcdefghijk"


def signed_in(server, email):
    verified(server, email)
    return send(login(server, email)).json()


def call(server, method, path, pair, body=None):
    headers = {"authorization": f"Bearer {pair['access_token']}"}
    return httpx.Request(method, f"{server.url}/api{path}", json=body, headers=headers)


def mailed(server, purpose, email):
    """The token of the newest open link of an account, which only a mail would bring."""
    with server.connected():
        rows = OneTimeToken.objects.filter(purpose=purpose, user__email=email, used_at=None)
        return tokens.one_time_token(rows.latest("created_at"))


def test_a_link_to_confirm_or_undo_an_address_works_once(server):
    pair = signed_in(server, "moving@example.org")
    for number in range(ROUNDS):
        old, new = ("moving@example.org", f"moved{number}@example.org")
        pair = send(login(server, old)).json()
        assert send(call(server, "POST", "/auth/change-email", pair, {"email": new})).status_code == 200
        token = mailed(server, "email_change", old)
        confirmed = at_once([post(server, "/auth/change-email/confirm", {"token": token})] * 8)
        back = mailed(server, "email_undo", new)
        undone = at_once([post(server, "/auth/change-email/undo", {"token": back})] * 8)

        assert (statuses(confirmed), statuses(undone)) == ({200: 1, 400: 7}, {200: 1, 400: 7})


def test_of_several_accounts_that_want_one_address_one_gets_it(server):
    for number in range(ROUNDS):
        wanted = f"wanted{number}@example.org"
        links = []
        for name in "abcd":
            email = f"{name}{number}@example.org"
            call_ = call(server, "POST", "/auth/change-email", signed_in(server, email), {"email": wanted})
            assert send(call_).status_code == 200
            # Beyond three mails to one address there is no link.
            links += [mailed(server, "email_change", email)] if name != "d" else []

        answers = at_once([post(server, "/auth/change-email/confirm", {"token": token}) for token in links])

        assert statuses(answers) == {200: 1, 400: 2}
        slugs = {answer.json().get("code") for answer in answers if answer.status_code == 400}
        assert slugs == {"email_change_address_taken"}


def test_a_deletion_is_taken_back_once(server):
    pair = signed_in(server, "leaving@example.org")
    deleted = at_once([call(server, "DELETE", "/users/user", pair)] * 4)
    token = mailed(server, "undelete", "leaving@example.org")

    answers = at_once([post(server, "/auth/undelete", {"token": token})] * 8)

    assert set(statuses(deleted)) <= {202, 401, 403}
    assert statuses(deleted)[202] == 1
    assert statuses(answers) == {200: 1, 400: 7}
    assert send(login(server, "leaving@example.org")).status_code == 200


def test_of_several_new_passwords_at_once_one_is_set(server):
    pair = signed_in(server, "changing@example.org")
    bodies = [{"current_password": PASSWORD, "new_password": f"Another-Horse-{n}"} for n in range(4)]

    answers = at_once([call(server, "POST", "/auth/change-password", pair, body) for body in bodies])

    assert statuses(answers) == {200: 1, 400: 3}
    winner = next(n for n, answer in enumerate(answers) if answer.status_code == 200)
    assert send(login(server, "changing@example.org", bodies[winner]["new_password"])).status_code == 200


def test_fifty_guesses_at_the_current_password_are_compared_five_times(server):
    pair = signed_in(server, "guessed@example.org")
    bodies = [{"current_password": f"Wrong-Horse-{n}", "new_password": "Another-Horse-8"} for n in range(50)]

    answers = at_once([call(server, "POST", "/auth/change-password", pair, body) for body in bodies])

    codes = collections.Counter(answer.json()["code"] for answer in answers)
    assert codes == {"password_wrong": 5, "login_paused": 45}
    assert send(call(server, "GET", "/users/user", pair)).status_code == 200


def test_a_restart_with_a_new_key_signs_nobody_out(tmp_path):
    with database(tmp_path, migrated=True) as url:
        env = environment(url)
        first = Server(env, log=tmp_path / "first.log")
        try:
            until(lambda: first.is_up("/readyz"))
            pair = signed_in(first, "staying@example.org")
            send(call(first, "POST", "/auth/change-email", pair, {"email": "later@example.org"}))
            link = mailed(first, "email_change", "staying@example.org")
        finally:
            first.stop()
        changed = {"USERS_TOKEN_SECRET": NEW, "USERS_TOKEN_SECRET_FALLBACKS": env["USERS_TOKEN_SECRET"]}
        second = Server({**env, **changed}, log=tmp_path / "second.log")
        try:
            until(lambda: second.is_up("/readyz"))
            assert send(call(second, "GET", "/users/user", pair)).status_code == 200
            again = send(post(second, "/auth/refresh-tokens", {"token": pair["refresh_token"]}))
            assert again.status_code == 200
            assert send(call(second, "GET", "/users/user", again.json())).status_code == 200
            assert send(post(second, "/auth/change-email/confirm", {"token": link})).status_code == 200
        finally:
            second.kill()
