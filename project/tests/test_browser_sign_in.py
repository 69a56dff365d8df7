"""Staff sign in by two steps, in a real browser: with and without script, by keyboard, on a telephone."""

import os
import time

import pyotp
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.common.virtual_authenticator import Protocol, Transport, VirtualAuthenticatorOptions

from project.tests import browser, processes
from users.tests.factories import PASSWORD

pytestmark = pytest.mark.e2e
ROOT = "root@example.org"
PEOPLE = f"from users.models import User; User.objects.create_superuser({ROOT!r}, {PASSWORD!r}, first_name='Robin')"


@pytest.fixture
def server(tmp_path):
    # Debug for cookies without TLS; the second factor is required all the same.
    with processes.serving(tmp_path, DEBUG="1", USERS_STAFF_MFA="required", LOG_LEVEL="warning") as server:
        made = server.command("shell", "--verbosity=0", "--command", PEOPLE)
        assert made.returncode == 0, made.stderr
        yield server


@pytest.fixture(params=[True, False], ids=["javascript", "no-javascript"])
def anyhow(request, tmp_path):
    with browser.chromium(tmp_path / "profile", size=browser.PHONE, javascript=request.param) as driver:
        yield driver


def look(driver, name):
    """Nothing sticks out, nothing was stopped by the policy; `LOOK=/tmp/somewhere` keeps a picture."""
    browser.wait(driver, lambda: browser.is_loaded(driver))
    assert browser.layout_faults(driver) == [], name
    assert browser.violations(driver) == [], name
    if folder := os.environ.get("LOOK"):
        os.makedirs(folder, exist_ok=True)
        driver.save_screenshot(f"{folder}/{name}.png")


def password(driver, server, wanted="/admin/"):
    driver.get(server.url + wanted)
    browser.focused(driver, "#id_username")
    browser.type_keys(driver, ROOT, Keys.TAB)
    browser.type_keys(driver, PASSWORD)
    browser.press_enter(driver)


def type_code(driver, code):
    """The field has the focus already."""
    browser.find(driver, "#id_code").clear()
    browser.find(driver, "#id_code").send_keys(code)
    browser.press_enter(driver)


def next_code(app, last):
    """A code that was not used yet; the next time step is taken early, as a clock that is fast would."""
    return app.at(time.time() + 30) if app.now() == last else app.now()


def secret_on(driver):
    return "".join(span.text for span in browser.find_all(driver, ".secret span"))


def enrol(driver, server):
    """Set the app up; return it, its first code and the recovery codes."""
    password(driver, server)
    app = pyotp.TOTP(secret_on(driver))
    code = app.now()
    type_code(driver, code)
    return app, code, browser.find(driver, ".recovery-codes").text.split()


def log_out(driver, server):
    driver.delete_all_cookies()


def test_enrolment_two_steps_and_a_recovery_code_on_a_telephone(server, anyhow):
    driver = anyhow
    browser.resize(driver, browser.PHONE)
    password(driver, server, "/admin/users/user/")
    assert "Set up a second factor" in browser.text(driver)
    look(driver, "enrolment")
    box = browser.find(driver, ".qr svg").rect
    assert box["width"] > 150
    app = pyotp.TOTP(secret_on(driver))
    type_code(driver, "000000")
    assert "is wrong" in browser.text(driver)
    look(driver, "enrolment-wrong")
    assert browser.find(driver, "#id_code").get_attribute("value") == ""
    first = app.now()
    type_code(driver, first)
    look(driver, "recovery-codes")
    codes = browser.find(driver, ".recovery-codes").text.split()
    assert len(codes) == 10
    browser.press(driver, browser.find(driver, ".submit-row a"))
    assert driver.current_url.endswith("/admin/users/user/")

    log_out(driver, server)
    password(driver, server)
    look(driver, "code")
    browser.focused(driver, "#id_code")
    browser.type_keys(driver, next_code(app, first))
    browser.press_enter(driver)
    assert "Overview" in browser.text(driver)

    log_out(driver, server)
    password(driver, server)
    type_code(driver, codes[0].lower())
    assert "Overview" in browser.text(driver)
    driver.get(server.url + "/admin/second-factor/")
    assert "9 codes are left" in browser.text(driver)
    look(driver, "second-factor")
    driver.get(server.url + "/admin/reauthenticate/")
    look(driver, "reauthenticate")


def test_wrong_codes_pause(server, anyhow):
    driver = anyhow
    enrol(driver, server)
    log_out(driver, server)
    password(driver, server)
    for _ in range(5):
        type_code(driver, "000000")
    assert "Start again with your password" in browser.text(driver)
    look(driver, "over")
    browser.press(driver, driver.find_element(By.PARTIAL_LINK_TEXT, "Start again"))

    password(driver, server)
    type_code(driver, "000000")

    assert "paused for a while" in browser.text(driver)
    look(driver, "paused")


def test_the_link_of_create_admin_leads_in(server, anyhow):
    driver = anyhow
    made = server.command("create_admin", "new@example.org")
    link = made.stdout.split()[-1].partition("/admin/")[2]
    driver.get(f"{server.url}/admin/{link}")
    look(driver, "choose-password")
    browser.find(driver, "#id_password").send_keys("Another-Horse-8")
    browser.find(driver, "#id_again").send_keys("Another-Horse-8")
    browser.press_enter(driver)
    type_code(driver, pyotp.TOTP(secret_on(driver)).now())
    browser.press(driver, browser.find(driver, ".submit-row a"))

    assert "Overview" in browser.text(driver)
    driver.get(f"{server.url}/admin/{link}")
    assert "has been used" in browser.text(driver)
    look(driver, "link-over")


def test_a_passkey_is_added_and_signs_in_alone_and_as_second_step(tmp_path):
    # In debug BASE_URL is http://localhost with the port, and `localhost` counts as safe without TLS.
    changes = {"DEBUG": "1", "USERS_STAFF_MFA": "required", "BASE_URL": "", "USERS_WEBAUTHN_RP_ID": "localhost"}
    with processes.serving(tmp_path, **changes) as server, browser.chromium(tmp_path / "profile") as driver:
        server.url = server.url.replace("127.0.0.1", "localhost")
        server.command("shell", "--verbosity=0", "--command", PEOPLE)
        options = VirtualAuthenticatorOptions(
            protocol=Protocol.CTAP2,
            transport=Transport.INTERNAL,
            has_resident_key=True,
            has_user_verification=True,
            is_user_verified=True,
        )
        driver.add_virtual_authenticator(options)
        enrol(driver, server)
        driver.get(server.url + "/admin/second-factor/")
        browser.find(driver, "#id_passkey_name").send_keys("Laptop")
        look(driver, "add-passkey")
        browser.press(driver, browser.find(driver, "form.passkey button"))
        browser.wait(driver, lambda: "The passkey is set up" in browser.text(driver))
        assert "Laptop (Passkey)" in browser.text(driver)

        log_out(driver, server)
        driver.get(server.url + "/admin/login/?next=/admin/users/user/")
        look(driver, "login-with-passkey")
        browser.press(driver, browser.find(driver, "form.passkey button"))
        browser.wait(driver, lambda: driver.current_url.endswith("/admin/users/user/"))

        log_out(driver, server)
        password(driver, server)
        look(driver, "code-or-passkey")
        browser.press(driver, browser.find(driver, "form.passkey button"))
        browser.wait(driver, lambda: "Overview" in browser.text(driver))

        driver.get(server.url + "/admin/reauthenticate/?next=/admin/second-factor/")
        browser.press(driver, browser.find(driver, "form.passkey button"))
        browser.wait(driver, lambda: driver.current_url.endswith("/admin/second-factor/"))
        look(driver, "second-factor-desktop")

        log_out(driver, server)
        assert server.command("reset_mfa", ROOT).returncode == 0
        password(driver, server)
        look(driver, "enrol-passkey")
        browser.press(driver, browser.find(driver, "form.passkey button"))
        browser.wait(driver, lambda: "Recovery codes" in browser.text(driver))
        browser.press(driver, browser.find(driver, ".submit-row a"))
        browser.wait(driver, lambda: "Overview" in browser.text(driver))
