"""What people and staff do all day, at a running server, over HTTP alone.

`python -m release.journey URL ADMIN_EMAIL ADMIN_PASSWORD`. The server returns codes and reset tokens
(USERS_RETURN_VERIFICATION_TOKENS, USERS_RETURN_FORGOT_PASSWORD_TOKEN) and takes staff without a second factor
(USERS_STAFF_MFA=optional). A release is tried with the journey it came with.
"""

import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx

PASSWORD = "Correct-Horse-7"
FLAG = "FF_ENABLE_REGISTRATION"
PAGES = (
    "users/user/",
    "users/usersession/",
    "users/auditevent/",
    "notifications/message/",
    "feature_flags/featureflag/",
)


class _Plain(httpx.HTTPTransport):
    """Asks by http, and keeps secure cookies, as browsers do of localhost."""

    def __init__(self) -> None:
        super().__init__(verify=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        asked, request.url = request.url, request.url.copy_with(scheme="http")
        try:
            return super().handle_request(request)
        finally:
            request.url = asked


def run(url: str, admin: str, password: str) -> None:
    """Raises: AssertionError, with what the server answered."""
    with httpx.Client(base_url=url.replace("http:", "https:"), transport=_Plain(), timeout=60) as client:
        # Another process may have switched it a moment ago.
        _until(lambda: _flag(client))
        person(client)
        staff(client, admin, password)


def person(client: httpx.Client) -> None:
    """Register, ask for a code, verify, sign in, refresh, read and change the profile, reset the password, sign out."""
    email = f"{secrets.token_hex(6)}@example.org"
    _post(client, "register", 201, email=email, password=PASSWORD, first_name="Ada", last_name="Lovelace")
    sent = _post(client, "auth/request-verification-token", email=email)
    _post(client, "auth/verify", token=sent["verification_token"], registration_code=sent["registration_code"])
    tokens = _sign_in(client, email, PASSWORD)
    tokens |= _post(client, "auth/refresh-tokens", token=tokens["refresh_token"])
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    changed = _ok(client.patch("/api/users/user", json={"last_name": "King"}, headers=bearer)).json()
    _expect(changed["last_name"] == "King", "the profile did not change")
    _ok(client.get("/api/notifications", headers=bearer))
    reset = _post(client, "auth/forgot-password", email=email)["forgot_password_token"]
    _post(client, "auth/reset-password", email=email, token=reset, password=f"{PASSWORD}-new")
    _sign_in(client, email, f"{PASSWORD}-new")
    _ok(client.delete("/api/logout", headers=bearer))


def staff(client: httpx.Client, email: str, password: str) -> None:
    """Sign in at the admin, look at its lists, switch a flag off and on by its button's operation."""
    page = _ok(client.get("/admin/login/"))
    form = {"username": email, "password": password, "csrfmiddlewaretoken": client.cookies["__Host-csrftoken"]}
    page = _ok(client.post("/admin/login/", data=form, follow_redirects=True))
    _expect("/login/" not in page.url.path, "the admin did not let staff in")
    for name in PAGES:
        _ok(client.get(f"/admin/{name}"))
    bearer = {"Authorization": f"Bearer {_sign_in(client, email, password)['access_token']}"}
    for state in ("off", "on"):
        _ok(client.post(f"/api/staff/flags/{FLAG}/switch/{state}", json={"reason": "tried"}, headers=bearer))
        _until(lambda state=state: _flag(client) == (state == "on"))  # type: ignore[misc]


def _flag(client: httpx.Client) -> bool:
    flags = _ok(client.get("/api/feature-flags/feature-flags")).json()
    return next(bool(flag["is_active"]) for flag in flags if flag["codename"] == FLAG)


def _sign_in(client: httpx.Client, email: str, password: str) -> dict[str, Any]:
    tokens: dict[str, Any] = _ok(client.post("/api/login", data={"username": email, "password": password})).json()
    return tokens


def _post(client: httpx.Client, path: str, status: int = 200, **body: str) -> dict[str, Any]:
    answer: dict[str, Any] = _ok(client.post(f"/api/{path}", json=body), status).json()
    return answer


def _ok(response: httpx.Response, status: int = 200) -> httpx.Response:
    where = f"{response.request.method} {response.request.url}"
    _expect(response.status_code == status, f"{where}: {response.status_code} {response.text[:500]}")
    return response


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)


def _until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        _expect(time.monotonic() < end, "a switched flag never reached the API")
        time.sleep(0.05)


if __name__ == "__main__":
    run(*sys.argv[1:4])
