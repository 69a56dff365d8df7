"""Passkeys in a real browser: Chromium keeps them in a virtual authenticator, a page of ours plays the front end."""

import base64
import contextlib
import functools
import http.server
import threading

import pytest
from selenium.common.exceptions import JavascriptException
from selenium.webdriver.common.virtual_authenticator import Credential, VirtualAuthenticatorOptions

from project.tests import browser, processes
from users.tests.factories import PASSWORD

pytestmark = pytest.mark.e2e

PAGES = processes.ROOT / "project" / "tests" / "pages"
PEOPLE = [f"ada{number}@example.org" for number in range(6)]
MAKE_PEOPLE = f"""
from django.utils import timezone
from users.models import User
for email in {PEOPLE!r}:
    User.objects.create_user(email, {PASSWORD!r}, first_name="Ada", email_verified_at=timezone.now())
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Nobody reads it."""


@contextlib.contextmanager
def pages():
    """The port of a server of our pages on the loopback."""
    handler = functools.partial(_Quiet, directory=PAGES)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """`site.here` is an origin passkeys may be used on, `site.elsewhere` another one of the same name."""
    with pages() as here, pages() as elsewhere:
        origins = [f"http://localhost:{port}" for port in (here, elsewhere)]
        changes = {
            "USERS_WEBAUTHN_RP_ID": "localhost",
            "USERS_WEBAUTHN_ORIGINS": origins[0],
            "CORS_ORIGINS": ",".join(origins),
        }
        with processes.serving(tmp_path_factory.mktemp("server"), **changes) as server:
            made = server.command("shell", "--verbosity=0", "--command", MAKE_PEOPLE)
            assert made.returncode == 0, made.stderr
            server.here, server.elsewhere = (f"{origin}/passkeys.html?api={server.url}" for origin in origins)
            yield server


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser.chromium(tmp_path_factory.mktemp("chromium") / "profile") as driver:
        yield driver


@pytest.fixture
def driver(site, chromium):
    """On the page, with an authenticator that is empty."""
    chromium.add_virtual_authenticator(authenticator())
    chromium.get(site.here)
    yield chromium
    chromium.remove_virtual_authenticator()


@pytest.fixture(scope="module")
def people():
    return iter(PEOPLE)


@pytest.fixture
def ada(people):
    """The address of somebody nobody else has signed in as."""
    return next(people)


def authenticator(*, verified=True):
    options = VirtualAuthenticatorOptions()
    options.transport = VirtualAuthenticatorOptions.Transport.INTERNAL
    options.has_resident_key = options.has_user_verification = True
    options.is_user_verified = verified
    return options


def run(driver, function, *arguments):
    """The status and body of what a function of the page comes to."""
    script = f"const done = arguments[arguments.length - 1]; {function}(...[...arguments].slice(0, -1))"
    answer = driver.execute_async_script(f"{script}.then(done, (e) => done({{error: String(e)}}))", *arguments)
    if "error" in answer:
        raise JavascriptException(answer["error"])
    return answer["status"], answer["body"]


def with_passkey(driver, ada):
    assert run(driver, "signIn", ada, PASSWORD)[0] == 200
    status, body = run(driver, "register", "Laptop")
    assert (status, len(body["recovery_codes"])) == (201, 10)
    driver.refresh()  # which forgets the bearer


def test_a_passkey_signs_in_without_and_after_a_password(driver, ada):
    with_passkey(driver, ada)

    assert run(driver, "whoAmI")[0] == 401
    assert run(driver, "signInWithPasskey")[0] == 200
    assert run(driver, "whoAmI")[1]["email"] == ada
    assert run(driver, "reauthenticate")[0] == 200

    driver.refresh()
    status, body = run(driver, "signIn", ada, PASSWORD)
    assert (status, body["detail"], body["methods"]) == (
        403,
        "ErrorCode.LOGIN_MFA_REQUIRED",
        ["webauthn", "recovery"],
    )
    assert run(driver, "signInInTwoSteps", ada, PASSWORD)[0] == 200
    assert run(driver, "whoAmI")[1]["email"] == ada


def test_the_same_authenticator_is_not_registered_twice(driver, ada):
    with_passkey(driver, ada)
    assert run(driver, "signInWithPasskey")[0] == 200

    with pytest.raises(JavascriptException, match="InvalidStateError"):
        run(driver, "register", "Laptop again")


def test_a_clone_is_refused(driver, ada):
    with_passkey(driver, ada)
    [original] = driver.get_credentials()
    for _ in range(2):
        assert run(driver, "signInWithPasskey")[0] == 200
    driver.remove_virtual_authenticator()
    driver.add_virtual_authenticator(authenticator())
    driver.add_credential(
        Credential.create_resident_credential(
            id=bytes(_raw(original.id)),
            rp_id="localhost",
            user_handle=bytes(_raw(original.user_handle)),
            private_key=_raw(original.private_key),
            sign_count=original.sign_count,
        )
    )

    status, body = run(driver, "signInWithPasskey")

    assert (status, body["detail"]) == (400, "ErrorCode.PASSKEY_REJECTED")


def test_a_page_elsewhere_is_refused(driver, site, ada):
    with_passkey(driver, ada)

    driver.get(site.elsewhere)

    status, body = run(driver, "signInWithPasskey")
    assert (status, body["detail"]) == (400, "ErrorCode.PASSKEY_REJECTED")


def test_a_site_of_another_name_gets_no_answer_at_all(driver, site, ada):
    with_passkey(driver, ada)

    driver.get(site.here.replace("localhost", "127.0.0.1", 1))

    with pytest.raises(JavascriptException, match="Failed to fetch|SecurityError"):
        run(driver, "signInWithPasskey")


def test_who_the_authenticator_does_not_know_gets_no_answer(driver, ada):
    with_passkey(driver, ada)

    driver.set_user_verified(False)

    with pytest.raises(JavascriptException, match="NotAllowedError"):
        run(driver, "signInWithPasskey")


def _raw(value):
    """Selenium answers base64url text where it takes bytes."""
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)) if isinstance(value, str) else value
