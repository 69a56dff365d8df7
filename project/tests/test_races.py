"""What must hold when many call at once, over two workers and one database of their own."""

import asyncio
import collections
import json
import socket
import threading

import bcrypt
import httpx
import pytest

from project.tests.processes import serving, until
from users.models import AuditEvent, User

pytestmark = pytest.mark.database

PASSWORD = "Correct-Horse-7"
ROUNDS = 5


def at_once(calls):
    """Send all requests at the same moment, each on a connection of its own; return the answers."""

    async def send():
        clients = [httpx.AsyncClient(timeout=30, verify=False) for _ in calls]
        try:
            return await asyncio.gather(*(client.send(call) for client, call in zip(clients, calls, strict=True)))
        finally:
            await asyncio.gather(*(client.aclose() for client in clients))

    return asyncio.run(send())


def post(server, path, body):
    return httpx.Request("POST", f"{server.url}/api{path}", json=body)


def login(server, email, password=PASSWORD):
    return httpx.Request("POST", f"{server.url}/api/login", data={"username": email, "password": password})


def leave(server, email):
    """Guess a password and go away before the answer."""
    host, port = server.url.removeprefix("http://").split(":")
    body = f"username={email}&password=Wrong-Horse-7".encode()
    head = b"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    with socket.create_connection((host, int(port))) as leaving:
        leaving.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def send(request):
    with httpx.Client(timeout=30, verify=False) as client:
        return client.send(request)


def registered(server, email):
    body = {"email": email, "password": PASSWORD, "first_name": "Ada", "last_name": "L"}
    assert send(post(server, "/register", body)).status_code == 201
    return send(post(server, "/auth/request-verification-token", {"email": email})).json()


def verified(server, email):
    answer = registered(server, email)
    body = {"token": answer["verification_token"], "registration_code": answer["registration_code"]}
    assert send(post(server, "/auth/verify", body)).status_code == 200


def statuses(answers):
    return dict(collections.Counter(answer.status_code for answer in answers))


def test_one_refresh_token_has_one_successor(server):
    verified(server, "refresh@example.org")
    token = send(login(server, "refresh@example.org")).json()["refresh_token"]

    for _ in range(ROUNDS):
        answers = at_once([post(server, "/auth/refresh-tokens", {"token": token})] * 8)
        assert statuses(answers) == {200: 8}
        assert len({answer.json()["refresh_token"] for answer in answers}) == 1
        token = answers[0].json()["refresh_token"]


def test_one_address_becomes_one_account(server):
    body = {"email": "twin@example.org", "password": PASSWORD, "first_name": "A", "last_name": "B"}
    spellings = ("twin@example.org", "Twin@Example.org", "TWIN@EXAMPLE.ORG", " twin@example.org")

    answers = at_once([post(server, "/register", {**body, "email": spellings[n % 4]}) for n in range(16)])

    assert statuses(answers) == {201: 16}
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_a_code_opens_once(server):
    answer = registered(server, "code@example.org")
    body = {"token": answer["verification_token"], "registration_code": answer["registration_code"]}

    assert statuses(at_once([post(server, "/auth/verify", body)] * 8)) == {200: 1, 400: 7}


def test_twenty_guesses_at_once_count_five(server):
    answer = registered(server, "guess@example.org")
    right = answer["registration_code"]
    wrong = [str(code) for code in range(100000, 100021) if str(code) != right][:20]
    token = answer["verification_token"]

    at_once([post(server, "/auth/verify", {"token": token, "registration_code": code}) for code in wrong])

    body = {"token": token, "registration_code": right}
    assert send(post(server, "/auth/verify", body)).status_code == 400


def test_a_reset_link_works_once(server):
    verified(server, "reset@example.org")
    token = send(post(server, "/auth/forgot-password", {"email": "reset@example.org"})).json()["forgot_password_token"]
    bodies = [{"email": "reset@example.org", "token": token, "password": f"Another-Horse-{n}"} for n in range(8)]

    answers = at_once([post(server, "/auth/reset-password", body) for body in bodies])

    assert statuses(answers) == {200: 1, 400: 7}
    winner = next(n for n, answer in enumerate(answers) if answer.status_code == 200)
    opened = [send(login(server, "reset@example.org", body["password"])).status_code for body in bodies[:4]]
    assert opened.count(200) == (1 if winner < 4 else 0)


def test_fifty_passwords_at_once_are_compared_five_times(server):
    verified(server, "storm@example.org")

    answers = at_once([login(server, "storm@example.org", f"Wrong-Horse-{n}") for n in range(50)])

    codes = collections.Counter(answer.json()["code"] for answer in answers)
    assert codes == {"login_bad_credentials": 5, "login_paused": 45}


def test_right_passwords_at_once_do_not_pause_their_account(server):
    for email in [f"many{number}@example.org" for number in range(ROUNDS)]:
        verified(server, email)
        answers = at_once([login(server, email)] * 20)
        assert statuses(answers) == {200: 20}


def test_an_aged_hash_is_renewed_by_one_of_many_sign_ins_and_refuses_none(server):
    verified(server, "imported@example.org")
    seed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    with server.connected():
        User.objects.filter(email="imported@example.org").update(password=f"bcrypt${seed}")

    assert statuses(at_once([login(server, "imported@example.org")] * 4)) == {200: 4}
    assert send(login(server, "imported@example.org")).status_code == 200


def test_a_switch_by_command_reaches_every_worker(server):
    body = {"email": "late@example.org", "password": PASSWORD, "first_name": "A", "last_name": "B"}
    off = server.command("set_feature_flag", "FF_ENABLE_REGISTRATION", "off")
    until(lambda: statuses(at_once([post(server, "/register", body)] * 12)) == {404: 12})
    on = server.command("set_feature_flag", "FF_ENABLE_REGISTRATION", "on")

    assert (off.returncode, on.returncode) == (0, 0)
    until(lambda: statuses(at_once([post(server, "/register", body)] * 4)) == {201: 4})


class HangingMailServer:
    """Accepts connections and says nothing until it is let go."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.held = []
        self.was_called = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.held.append(connection)
            self.was_called.set()

    def close(self):
        self.socket.close()
        for connection in self.held:
            connection.close()


def test_a_mail_server_that_hangs_delays_no_request(tmp_path):
    mail = HangingMailServer()
    try:
        changes = {"EMAIL_URL": f"smtp://127.0.0.1:{mail.port}", "DEFAULT_FROM_EMAIL": "a@example.org"}
        with serving(tmp_path, **changes) as server:
            registered(server, "first@example.org")
            assert mail.was_called.wait(20)
            # The mail server holds the first message now; everything else goes on.
            verified(server, "second@example.org")
            assert send(login(server, "second@example.org")).status_code == 200
            until(lambda: httpx.get(server.url + "/readyz").status_code == 200)
    finally:
        mail.close()


def test_callers_who_leave_keep_nobody_waiting(server):
    verified(server, "left@example.org")
    with server.connected():
        failed = AuditEvent.objects.filter(event="login.failed", user_id=User.objects.get(email="left@example.org").pk)

    def have_been_noted():
        # Whoever leaves before the try is counted made none.
        for _ in range(5):
            leave(server, "left@example.org")
        with server.connected():
            return failed.count() >= 5

    # Every try that was counted is known to be over, so whoever comes next is told of the pause at once.
    until(have_been_noted)


def test_callers_who_leave_put_no_more_on_record_than_they_may_try(server):
    for _ in range(60):
        leave(server, "gone@example.org")
    for _ in range(6):
        answer = send(login(server, "gone@example.org", "Wrong-Horse-7"))
    of_one = ("--user", "gone@example.org", "--event", "login.failed")
    shown = server.command("audit_log", *of_one, "--json", "--limit", "100")

    assert answer.json()["code"] == "login_paused"
    assert len(json.loads(shown.stdout)["events"]) == 5
