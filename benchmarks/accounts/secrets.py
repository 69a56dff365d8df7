"""A long journey through every door, and then a search for every secret that was used on it.

What is sent or answered under a name such as `password` or `token` is collected by itself; so are cookies and the
bearer. They are looked for in the log (tracebacks of provoked errors included), in what commands say on stderr, and in
every value of every table.
"""

import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from benchmarks import seed, servers
from benchmarks.accounts.client import Answer, Client
from benchmarks.accounts.scene import Scene
from benchmarks.flags import children
from benchmarks.report import Samples

NAMES = re.compile(r"password|token|secret|code|cookie|otpauth|credential|challenge")
#: Words of the protocol: an error's slug, the kind of a token, `*_expiration`, a flag's codename.
NO_SECRETS = re.compile(r"^(code|codename|.*_type|.*_expiration|.*_sent|.*_reset|.*_changed|.*_at|error.*)$")
#: Shorter ones are found everywhere by chance.
SHORTEST = 6
TIMES = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?")

#: Django keeps the key of an admin's session in clear: it is how it finds the row.
KNOWN = {"django_session.session_key": "the key of an admin's session, by which Django finds its row"}


class Collector:
    """Every secret, and where it was first used."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def add(self, value: Any, where: str) -> None:
        if isinstance(value, str) and len(value) >= SHORTEST:
            self.found.setdefault(value, where)

    def read(self, value: Any, where: str, *, is_asked: bool = False) -> None:
        """Members of JSON whose names say that they are secret. What is asked for under `code` is a guess at one."""
        if isinstance(value, list):
            for one in value:
                self.read(one, where, is_asked=is_asked)
        elif isinstance(value, dict):
            for name, one in value.items():
                is_word = NO_SECRETS.match(name) and not (is_asked and name == "code")
                if NAMES.search(name) and not is_word:
                    for text in [one] if isinstance(one, str) else one if isinstance(one, list) else []:
                        self.add(text, f"{where} {name}")
                self.read(one, where, is_asked=is_asked)


def forms(secret: str) -> set[str]:
    """How a secret may be written: as it is, in an address, in JSON, in base64, in hexadecimal."""
    raw = secret.encode()
    encoded = {base64.b64encode(raw).decode().rstrip("="), base64.urlsafe_b64encode(raw).decode().rstrip("=")}
    written = {secret, quote(secret, safe=""), urlencode({"": secret})[1:], json.dumps(secret)[1:-1], raw.hex()}
    return written | (encoded if len(secret) > SHORTEST else set())


def found_in(secrets: dict[str, str], texts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A line for each secret and each place that holds it; never the secret itself."""
    patterns = {secret: _pattern(secret) for secret in secrets}
    for place, text in texts:
        # Six digits are found in the fractions of seconds.
        bare = TIMES.sub("", text)
        for secret, pattern in patterns.items():
            if pattern.search(bare):
                yield f"{secrets[secret]} is in {place}"


def _pattern(secret: str) -> re.Pattern[str]:
    words = "|".join(re.escape(form) for form in sorted(forms(secret)))
    return re.compile(rf"(?<![\w-])(?:{words})(?![\w-])" if secret.isdigit() else words)


class Traveller:
    """A client that notes every secret it sends and gets."""

    def __init__(self, base: str, collector: Collector) -> None:
        self.client, self.collector = Client(base), collector
        self.cookies: dict[str, str] = {}
        self.registration = ""

    def ask(self, method: str, path: str, body: Any = None, *, bearer: str = "", **headers: str) -> Answer:
        where = f"{method} {urlsplit(path).path.split('/unsubscribe/')[0]}"
        asked = dict(parse_qsl(body.decode())) if isinstance(body, bytes) else body
        self.collector.read(asked, where, is_asked=True)
        self.collector.add(bearer, f"{where} bearer")
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if self.registration:
            headers["X-Registration-Token"] = self.registration
        answer = self.client.ask(method, path, body, bearer=bearer, **headers)
        self.registration = answer.headers.get("x-registration-token", self.registration)
        self.collector.add(self.registration, f"{where} registration token")
        self.collector.read(answer.json, f"{where} answer")
        return answer

    def post(self, path: str, *, bearer: str = "", **body: Any) -> Answer:
        return self.ask("POST", path, body, bearer=bearer)

    def login(self, email: str, password: str) -> Answer:
        return self.ask("POST", servers.LOGIN, urlencode({"username": email, "password": password}).encode())


def run(scene: Scene) -> tuple[Samples, list[str]]:
    """How many secrets were used, in how many places they were looked for, and how many are there."""
    collector = Collector()
    collector.add(seed.PASSWORD, "the password of everybody")
    changes = {"LOG_LEVEL": "debug", "USERS_RETURN_VERIFICATION_TOKENS": "1", "USERS_RETURN_FORGOT_PASSWORD_TOKEN": "1"}
    port = servers.free_port()
    scene.stack.enter_context(children.child("benchmarks.notifications.sink", str(port), env=scene.env))
    mail = {"NOTIFICATIONS_ENGINE": "embedded", "EMAIL_URL": f"smtp://127.0.0.1:{port}"}
    server = scene.serve("secrets", **changes, **mail)
    for name, value in scene.env.items():
        if name.endswith(("_SECRET", "SECRET_KEY")):
            collector.add(value, f"setting {name}")
    said = [*_journey(scene, server.base, collector)]
    # Deliveries leave rows of their own.
    for _ in range(100):
        if not scene.ask("count_unsent"):
            break
        time.sleep(0.1)
    log = (scene.logs / f"{scene.vendor}-secrets" / "ours.log").read_text(errors="replace")
    texts = [("the log", line) for line in log.splitlines()] + said + [tuple(cell) for cell in scene.ask("cells")]
    found = sorted({line for line in found_in(collector.found, texts) if not any(line.endswith(one) for one in KNOWN)})
    figures = {"used": len(collector.found), "places": len(texts), "found": len(found)}
    errors = sum('"exception"' in line for line in log.splitlines())
    return {(scene.vendor, f"secrets_{name}"): [value] for name, value in {**figures, "errors": errors}.items()}, found


def _journey(scene: Scene, base: str, collector: Collector) -> Iterator[tuple[str, str]]:
    email, staff, other = scene.people(0, 3)
    scene.ask("make_superuser", email=staff)
    tokens = scene.ask("flag_tokens")
    for kind, token in tokens.items():
        collector.add(token, f"{kind} token of flags")
    traveller = Traveller(base, collector)
    _registration(traveller)
    _sign_in(traveller, email)
    _recovery(traveller, other)
    _new_endpoints(traveller, email)
    _flags(traveller, tokens)
    _junk(traveller)
    _admin(Traveller(base, collector), staff, other)
    for table in ("users_refreshtoken", "users_onetimetoken", "users_usersession", "users_ratebucket"):
        _broken(scene, traveller, other, table)
    yield from _commands(scene, other, collector)


def _registration(traveller: Traveller) -> None:
    who = {"email": "newcomer@example.org", "first_name": "Ada", "last_name": "Lovelace"}
    for password in ("weak-Pa5", "Password1!", "x" * 1100 + "Aa1!", "Newcomer-Stable-7!", "Second-Stable-8!"):
        traveller.post("/api/register", **who, password=password)
    made = traveller.post("/api/auth/request-verification-token", email=who["email"]).json
    token, code = made["verification_token"], made["registration_code"]
    for guess in ("123456", "000000\x00", code + "0"):
        traveller.post("/api/auth/verify", token=token, registration_code=guess)
    traveller.login(who["email"], "Second-Stable-8!")
    traveller.post("/api/auth/verify", token=token, registration_code=code).expect(200, "verify")
    traveller.post("/api/auth/verify", token=token, registration_code=code)
    traveller.login(who["email"], "Second-Stable-8!").expect(200, "login")


def _sign_in(traveller: Traveller, email: str) -> None:
    for password in ("Wrong-Stable-1!", "Wrong\x00Stable-2!", "Wrong-Stable-%26&3!"):
        traveller.login(email, password)
    signed_in = traveller.login(email, seed.PASSWORD).expect(200, "login").json
    bearer, refresh = signed_in["access_token"], signed_in["refresh_token"]
    traveller.ask("GET", servers.USER, bearer=bearer)
    traveller.ask("PATCH", servers.USER, {"first_name": "Grace", "password": "Unasked-Stable-4!"}, bearer=bearer)
    for token in (refresh, refresh, refresh + "x", "rt_junk-of-some-length"):
        traveller.post("/api/auth/refresh-tokens", token=token)
    traveller.ask("DELETE", "/api/logout", {"refresh_token": refresh}, bearer=bearer)
    traveller.ask("GET", servers.USER, bearer=bearer)
    for number in range(7):
        traveller.login("paused@example.org", f"Paused-Stable-{number}!")


def _recovery(traveller: Traveller, email: str) -> None:
    traveller.login(email, seed.PASSWORD)
    token = traveller.post("/api/auth/forgot-password", email=email).json["forgot_password_token"]
    traveller.post("/api/auth/forgot-password", email="nobody@example.org")
    body = {"email": email, "token": token}
    for password in ("short-1", "Reset-Stable-1!", "Reset-Stable-2!"):
        traveller.post("/api/auth/reset-password", **body, password=password)
    traveller.post("/api/auth/reset-password", **{**body, "token": token[::-1]}, password="Reset-Stable-3!")
    traveller.login(email, "Reset-Stable-1!").expect(200, "login after the reset")


def _new_endpoints(traveller: Traveller, email: str) -> None:
    """What `accounts.md` adds; a 404 of one that is not there is as good an answer as any."""
    bearer = traveller.login(email, seed.PASSWORD).json.get("access_token", "")
    auth = "/api/auth"
    traveller.post(f"{auth}/reauthenticate", bearer=bearer, password="Wrong-Stable-5!")
    traveller.post(f"{auth}/reauthenticate", bearer=bearer, password=seed.PASSWORD)
    change = {"current_password": seed.PASSWORD, "new_password": "Changed-Stable-6!"}
    traveller.post(f"{auth}/change-password", bearer=bearer, **{**change, "current_password": "Wrong-Stable-6!"})
    traveller.post(f"{auth}/change-password", bearer=bearer, **change)
    traveller.post(f"{auth}/change-email", bearer=bearer, email="moved@example.org")
    for step in ("change-email/confirm", "change-email/undo", "undelete"):
        traveller.post(f"{auth}/{step}", token="junk-token-of-some-length-" + "A" * 30)
    made = traveller.post(f"{auth}/mfa/totp", bearer=bearer, name="phone").json
    for code in ("123456", _totp(made)):
        traveller.post(f"{auth}/mfa/totp/confirm", bearer=bearer, **_named(made), code=code)
    traveller.post(f"{auth}/mfa/recovery-codes", bearer=bearer)
    for password in ("Changed-Stable-6!", seed.PASSWORD):
        mfa = traveller.login(email, password).json.get("mfa_token", "")
        for code in ("654321", "ABCD-EFGH-IJKL-MNOP"):
            traveller.post(f"{auth}/mfa/verify", mfa_token=mfa, method="totp", code=code)
    for path in ("passkeys/register/options", "passkeys/login/options"):
        traveller.post(f"{auth}/{path}", bearer=bearer, name="key")
    for path in ("/api/users/sessions", "/api/users/security-events", "/api/users/user/export", f"{auth}/mfa"):
        traveller.ask("GET", path, bearer=bearer)
    traveller.ask("DELETE", servers.USER, bearer=bearer)


def _totp(made: Any) -> str:
    if not isinstance(made, dict) or "secret" not in made:
        return "234567"
    import pyotp

    return str(pyotp.TOTP(made["secret"]).now())


def _named(made: Any) -> dict[str, Any]:
    return {key: made[key] for key in ("id", "device_id") if isinstance(made, dict) and key in made}


def _flags(traveller: Traveller, tokens: dict[str, str]) -> None:
    for path in ("/api/client/features", "/api/frontend", "/ofrep/v1/evaluate/flags"):
        for token in tokens.values():
            traveller.ask("GET", path, bearer=token)
            traveller.ask("POST", path, {"context": {"targetingKey": "7"}}, **{"X-API-Key": token})


def _junk(traveller: Traveller) -> None:
    """Secrets where they do not belong: in addresses, under other names, in broken bodies."""
    lost = "Lost-Stable-9!"
    traveller.collector.add(lost, "a password in the wrong place")
    for method, path, body in (
        ("POST", "/api/register", {"email": lost, "password": lost, "first_name": 1, "last_name": None}),
        ("POST", "/api/login", {"username": "ada0@example.org", "password": lost}),
        ("POST", "/api/auth/reset-password", {"email": "ada0@example.org", "token": 7, "password": lost}),
        ("POST", "/api/auth/verify", [lost]),
        ("GET", f"/api/users/user?access_token={quote(lost)}", None),
        ("POST", f"/api/login?username=ada&password={quote(lost)}", b"username=ada"),
    ):
        traveller.ask(method, path, body)
    broken = b'{"password": "' + lost.encode() + b'", '
    traveller.client.ask("POST", "/api/register", broken, **{"Content-Type": "application/json"})
    traveller.client.ask("POST", "/api/login", broken, **{"Content-Type": "multipart/form-data; boundary=x"})


def _admin(traveller: Traveller, staff: str, other: str) -> None:
    """Sign in as staff with a wrong and the right password, and press the buttons of a person's page."""
    for password in ("Wrong-Stable-10!", seed.PASSWORD):
        page = traveller.ask("GET", "/admin/login/")
        _take_cookies(traveller, page)
        form = {**_csrf(page), "username": staff, "password": password, "next": "/admin/"}
        headers = {"Referer": f"{traveller.client.base}/admin/login/", "Origin": traveller.client.base}
        _take_cookies(traveller, traveller.ask("POST", "/admin/login/", urlencode(form).encode(), **headers))
    people = traveller.ask("GET", f"/admin/users/user/?q={quote(other)}").body.decode()
    for path in sorted(set(re.findall(r"/admin/users/user/[0-9a-f-]{32,36}/change/", people))):
        page = traveller.ask("GET", path)
        form = _csrf(page)
        for action in sorted(set(re.findall(r'formaction="([^"]+)"|action="([^"]+)"', page.body.decode()))):
            target = next(filter(None, action))
            # The person is needed for what follows.
            if target.startswith("/admin/users/") and not re.search("delete|deactivate", target):
                data = urlencode({**form, "reason": "benchmark"}).encode()
                traveller.ask("POST", target, data, Referer=traveller.client.base + path, Origin=traveller.client.base)


def _csrf(page: Answer) -> dict[str, str]:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.body.decode())
    return {"csrfmiddlewaretoken": found[1]} if found else {}


def _take_cookies(traveller: Traveller, answer: Answer) -> None:
    for cookie in re.findall(r"((?:__Host-)?(?:csrftoken|sessionid))=([^;]*)", answer.headers.get("set-cookie", "")):
        traveller.cookies[cookie[0]] = cookie[1]
        traveller.collector.add(cookie[1], f"cookie {cookie[0]}")


def _broken(scene: Scene, traveller: Traveller, email: str, table: str) -> None:
    """Errors nobody foresaw, with secrets in the statements: what is reported of them must not tell."""
    traveller.login(email, "Reset-Stable-1!")
    signed_in = traveller.login(email, "Reset-Stable-1!").json
    scene.ask("rename_table", name=table, other=f"{table}_away")
    try:
        traveller.login(email, "Reset-Stable-1!")
        traveller.login(email, "Broken-Stable-11!")
        traveller.post("/api/auth/refresh-tokens", token=signed_in.get("refresh_token", ""))
        traveller.post("/api/auth/forgot-password", email=email)
        traveller.post("/api/auth/reset-password", email=email, token="A" * 54, password="Broken-Stable-12!")
        traveller.post("/api/auth/verify", token="B" * 54, registration_code="345678")
        traveller.ask("GET", servers.USER, bearer=signed_in.get("access_token", ""))
    finally:
        scene.ask("rename_table", name=f"{table}_away", other=table)


def _commands(scene: Scene, email: str, collector: Collector) -> Iterator[tuple[str, str]]:
    """Commands print what was asked for on stdout; nothing of it belongs on stderr."""
    given = "Command-Stable-13!"
    collector.add(given, "reset_user_password PASSWORD")
    env = {**scene.env, "BASE_URL": "http://127.0.0.1:8000"}
    for arguments in (
        ("reset_user_password", email, given),
        ("reset_user_password", "nobody@example.org", given),
        ("reset_user_password", email, "weak-Command-5"),
        ("activate_user", email),
        ("audit_log", "--json"),
        ("list_sessions", "--user", email, "--json"),
    ):
        command = [sys.executable, "-m", "manage", *arguments]
        done = subprocess.run(command, cwd=servers.ROOT, env=env, text=True, capture_output=True, check=False)
        yield f"stderr of {arguments[0]}", done.stderr
        yield f"stdout of {arguments[0]}", done.stdout
