"""The screens of accounts in a real browser: list, person, sessions, audit trail, on a laptop and on a telephone."""

import os
from pathlib import Path

import pytest

from project.tests import browser
from project.tests.test_browser import LONG, USERS, peopled, sign_in

pytestmark = pytest.mark.e2e
SESSIONS, AUDIT = "/admin/users/usersession/", "/admin/users/auditevent/"
SHOTS = os.environ.get("SHOTS", "")

TRAIL = """
from users.models import MfaDevice
from users.services import audit, sessions, staff
browsing = Actor("api", request=firefox)
MfaDevice.objects.create(user=katherine, kind="totp", name="Phone", confirmed_at=now)
for n in range(12):
    audit.record("login.failed", actor=browsing, user=katherine, outcome="failed", why="wrong")
audit.record("login.paused", actor=browsing, user=katherine, outcome="refused", pause_seconds=60)
audit.record("login.failed", actor=browsing, email="nobody@example.org", outcome="failed", why="unknown")
staff.send_reset(katherine, actor=actor)
"""

ONE_MORE = """
from django.utils import timezone
from lib.actors import RequestInfo
from users.models import UserSession
from users.services import sessions, staff
alan = staff.find("alan@example.org")
sessions.new_session(alan, RequestInfo("203.0.113.8"), UserSession.Kind.API, timezone.now())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with peopled(tmp_path_factory.mktemp("server"), more=LONG + TRAIL) as server:
        yield server


@pytest.fixture(params=[True, False], ids=["javascript", "no-javascript"])
def anyhow(request, tmp_path):
    with browser.chromium(tmp_path / "profile", javascript=request.param) as driver:
        yield driver


def test_the_screens_of_accounts_stand_on_a_laptop_and_a_telephone(server, tmp_path):
    with browser.chromium(tmp_path / "profile") as driver:
        sign_in(driver, server)
        driver.get(f"{server.url}{USERS}?q=katherine")
        person = browser.find(driver, "#result_list tbody th a").get_attribute("href")
        driver.get(f"{server.url}{AUDIT}?event=login.paused")
        event = browser.find(driver, "#result_list tbody th a").get_attribute("href")
        driver.get(server.url + SESSIONS)
        session = browser.find(driver, "#result_list tbody th a").get_attribute("href")
        pages = {
            "index": f"{server.url}/admin/",
            "list": server.url + USERS,
            "person": person,
            "sessions": server.url + SESSIONS,
            "session": session,
            "audit": server.url + AUDIT,
            "event": event,
            "activity": f"{server.url}/admin/activity/?by=all",
            "why": person.replace("/change/", "/why/") + "&flag=FF_ENABLE_REGISTRATION&mail=users.welcome",
        }
        faults = {}
        for size in (browser.DESKTOP, browser.PHONE):
            browser.resize(driver, size)
            for name, address in pages.items():
                driver.get(address)
                if SHOTS:
                    _shoot(driver, size, Path(SHOTS) / f"{name}-{size[0]}.png")
                if found := browser.layout_faults(driver):
                    faults[name, size[0]] = found
        assert not faults
        assert not browser.violations(driver)


def _shoot(driver, size, path):
    height = min(driver.execute_script("return document.documentElement.scrollHeight"), 2600)
    browser.resize(driver, (size[0], height))
    driver.save_screenshot(str(path))
    browser.resize(driver, size)


def test_a_session_is_ended_beside_the_form_with_and_without_script(server, anyhow):
    driver = anyhow
    made = server.command("shell", "--verbosity=0", "--command", ONE_MORE)
    assert made.returncode == 0, made.stderr
    sign_in(driver, server)
    driver.get(f"{server.url}{USERS}?q=alan")
    browser.press(driver, browser.find(driver, "#result_list tbody th a"))

    browser.press(driver, browser.find(driver, "button.verb-end"))

    assert ": ended." in browser.text(driver)
    assert "Not signed in anywhere." in browser.text(driver)


def test_the_span_of_the_trail_is_typed_without_script_too(server, anyhow):
    driver = anyhow
    sign_in(driver, server)
    driver.get(f"{server.url}{AUDIT}?event=login.failed")

    browser.find(driver, "details:has(input[name=since]) > summary").click()
    browser.press(driver, browser.find(driver, "form:has(input[name=since]) button"))

    assert "event=login.failed" in driver.current_url
    assert "since=" in driver.current_url
    assert "Sign-in failed: no such account" in browser.text(driver)
