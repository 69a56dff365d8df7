"""What staff do all day, in a real browser against a real server."""

import contextlib
import os

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from project.tests import browser, processes
from users.tests.factories import PASSWORD

pytestmark = pytest.mark.e2e
ROOT = "root@example.org"
USERS, FLAGS, MESSAGES = "/admin/users/user/", "/admin/feature_flags/featureflag/", "/admin/notifications/message/"
IMAGES = processes.ROOT / "docs" / "images"

PEOPLE = f"""
from datetime import timedelta
from django.utils import timezone
from feature_flags import services as flags
from feature_flags.models import FlagRevision
from users import services
from users.models import User, UserSession
from users.services import Actor, Caller, limiter, signin

now, by = timezone.now(), Actor("example")
User.objects.create_superuser({ROOT!r}, {PASSWORD!r}, first_name="Robin", created_at=now - timedelta(days=90))
for days, first, last, email, more in (
    (61, "Ada", "Lovelace", "ada@example.org", {{}}),
    (40, "Alan", "Turing", "alan@example.org", {{"is_staff": True}}),
    (33, "Katherine", "Johnson", "katherine@example.org", {{}}),
    (21, "Edsger", "Dijkstra", "edsger@example.org", {{}}),
    (9, "Margaret", "Hamilton", "margaret@example.org", {{"email_verified_at": None}}),
    (4, "Barbara", "Liskov", "barbara@example.org", {{}}),
    (2, "Radia", "Perlman", "radia@example.org", {{}}),
    (1, "Grace", "Hopper", "grace@example.org", {{"email_verified_at": None}}),
):
    fields = {{"email_verified_at": now, "created_at": now - timedelta(days=days), **more}}
    User.objects.create_user(email, {PASSWORD!r}, first_name=first, last_name=last, **fields)
User.objects.exclude(email_verified_at=None).update(last_login=now - timedelta(hours=3))
services.deactivate(services.find("edsger@example.org"), by=by, reason="Asked for it by phone")
katherine = services.find("katherine@example.org")
firefox = Caller("203.0.113.7", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
signin.new_session(katherine, firefox, UserSession.Kind.API, now)
for _ in range(5):
    limiter.reserve(signin.login_bucket("ada@example.org", Caller("203.0.113.7")))
for codename, label, on in (
    ("FF_DARK_MODE", "Dark mode for everybody", True),
    ("FF_NEW_CHECKOUT", "Checkout in one step", False),
    ("FF_WEEKLY_DIGEST", "The digest on Monday mornings", True),
):
    how = {{"by": None, "by_label": "example", "door": FlagRevision.Door.COMMAND}}
    flag = flags.create(codename, label=label, **how)
    flags.switch(flag, on=on, **how)
"""


LONG = f"""
User.objects.create_user("tim.with.a.rather.long.name.to.show@subdomain.example.org", {PASSWORD!r}, last_name="W" * 150)
"""


@contextlib.contextmanager
def peopled(folder, more=""):
    with processes.serving(folder, DEBUG="1", LOG_LEVEL="warning") as server:
        made = processes.manage("shell", "--verbosity=0", "--command", PEOPLE + more, env=server.env)
        assert made.returncode == 0, made.stderr
        yield server


@pytest.fixture
def fresh_server(tmp_path):
    """For journeys that change people."""
    with peopled(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """For looking around."""
    with peopled(tmp_path_factory.mktemp("server"), more=LONG) as server:
        yield server


@pytest.fixture(params=[True, False], ids=["javascript", "no-javascript"])
def anyhow(request, tmp_path):
    """A browser with and one without script: pages work either way."""
    with browser.chromium(tmp_path / "profile", javascript=request.param) as driver:
        yield driver


@pytest.fixture(scope="module")
def one_chromium(tmp_path_factory):
    with browser.chromium(tmp_path_factory.mktemp("chromium") / "profile") as driver:
        yield driver


@pytest.fixture
def chromium(one_chromium):
    """As if new: nobody is signed in, the window is a laptop's, the console is empty."""
    browser.renew(one_chromium)
    return one_chromium


def sign_in(driver, server):
    driver.get(server.url + "/admin/")
    browser.find(driver, "#id_username")
    browser.type_keys(driver, ROOT.upper(), Keys.TAB)
    browser.type_keys(driver, PASSWORD)
    browser.press_enter(driver)
    assert "Overview" in browser.text(driver)


def row(driver, name):
    return next(row for row in browser.find_all(driver, "#result_list tbody tr") if name in row.text)


def press_in_row(driver, name, label):
    button = row(driver, name).find_element(By.XPATH, f".//button[normalize-space()='{label}']")
    browser.press(driver, button)


def registration(server, email):
    body = {"email": email, "password": PASSWORD, "first_name": "Eve", "last_name": ""}
    return httpx.post(f"{server.url}/api/register", json=body).status_code


def test_a_day_at_the_desk(fresh_server, anyhow):
    server, driver = fresh_server, anyhow
    sign_in(driver, server)

    # A flag goes off, and the next stranger cannot register any more.
    assert registration(server, "first@example.org") == 201
    driver.get(server.url + FLAGS)
    press_in_row(driver, "FF_ENABLE_REGISTRATION", "Switch off")
    assert "“FF_ENABLE_REGISTRATION”: switched off." in browser.text(driver)
    assert registration(server, "second@example.org") == 404
    press_in_row(driver, "FF_ENABLE_REGISTRATION", "Switch on")
    assert registration(server, "third@example.org") == 201

    # Somebody is let in again from the list, as it was filtered.
    driver.get(f"{server.url}{USERS}?is_active__exact=0")
    press_in_row(driver, "edsger@example.org", "Activate")
    assert "“edsger@example.org”: activated." in browser.text(driver)
    assert driver.current_url == f"{server.url}{USERS}?is_active__exact=0"
    assert "No users match." in browser.text(driver)

    # And somebody else is shut out; the page asks why.
    driver.get(f"{server.url}{USERS}?q=katherine")
    browser.press(driver, driver.find_element(By.LINK_TEXT, "katherine@example.org"))
    browser.press(driver, browser.find(driver, "button.verb-deactivate"))
    browser.press(driver, browser.find(driver, ".submit-row input[type=submit]"))
    assert "Say why." in browser.text(driver)
    browser.find(driver, "textarea[name=reason]").send_keys("Left the company")
    browser.press(driver, browser.find(driver, ".submit-row input[type=submit]"))
    shown = browser.text(driver)
    assert "“katherine@example.org”: deactivated and signed out." in shown
    assert "Left the company" in shown
    assert "Not signed in anywhere." in shown

    # A link goes out, and the outbox says so.
    driver.get(f"{server.url}{USERS}?q=barbara")
    browser.press(driver, driver.find_element(By.LINK_TEXT, "barbara@example.org"))
    browser.press(driver, browser.find(driver, "button.verb-send-reset"))
    assert "reset link on its way" in browser.text(driver)
    assert is_sent(driver, server, "barbara@example.org")

    # A selection, too, without script.
    driver.get(f"{server.url}{USERS}?q=grace")
    browser.find(driver, "input.action-select").click()
    browser.find(driver, "select[name=action] option[value=mark-verified]").click()
    browser.press(driver, browser.find(driver, "button[name=index]"))
    browser.find(driver, "textarea[name=reason]").send_keys("Called her")
    browser.press(driver, browser.find(driver, ".submit-row input[type=submit]"))
    assert "1 user: address taken as verified." in browser.text(driver)

    browser.press(driver, browser.find(driver, "#logout-form button"))
    driver.get(server.url + USERS)
    assert browser.find(driver, "#id_password")
    assert browser.violations(driver) == []


def is_sent(driver, server, address):
    def shows_it():
        driver.get(f"{server.url}{MESSAGES}?q={address}&state__exact=sent")
        return any(address in row.text for row in browser.find_all(driver, "#result_list tbody tr"))

    return browser.wait(driver, shows_it)


def test_without_a_mouse(server, chromium):
    driver = chromium
    sign_in(driver, server)
    driver.get(f"{server.url}{FLAGS}")

    reached = set()
    for _ in range(60):
        browser.type_keys(driver, Keys.TAB)
        label = driver.switch_to.active_element.get_attribute("aria-label") or ""
        reached.add(label)
        if label == "Switch on FF_NEW_CHECKOUT":
            break
    assert "Switch on FF_NEW_CHECKOUT" in reached
    browser.press_enter(driver)

    assert "“FF_NEW_CHECKOUT”: switched on." in browser.text(driver)


def addresses(server):
    """Every kind of page."""
    shell = "from users.models import User; from feature_flags.models import FeatureFlag as F; "
    shell += "from users import services; u = services.find('katherine@example.org'); "
    shell += "services.send_reset(u, by=services.Actor('x')); "
    shell += "print(u.pk, F.objects.get(codename='FF_DARK_MODE').pk)"
    printed = processes.manage("shell", "--verbosity=0", "--command", shell, env=server.env)
    assert printed.returncode == 0, printed.stderr
    user, flag = printed.stdout.split()
    return {
        "overview": "/admin/",
        "users": USERS,
        "no users": f"{USERS}?q=nobody",
        "user": f"{USERS}{user}/change/",
        "history": f"{USERS}{user}/history/",
        "new user": f"{USERS}add/",
        "flags": FLAGS,
        "flag": f"{FLAGS}{flag}/change/",
        "new flag": f"{FLAGS}add/",
        "messages": MESSAGES,
        "groups": "/admin/auth/group/",
        "new group": "/admin/auth/group/add/",
        "password": "/admin/password_change/",
    }


def test_the_console_is_silent_on_every_page(server, chromium):
    driver = chromium
    noise = {}

    def look(name, address):
        driver.get(server.url + address)
        browser.wait(driver, lambda: browser.is_loaded(driver))
        if said := browser.violations(driver):
            noise[name] = said

    look("sign-in", "/admin/login/")
    sign_in(driver, server)
    for name, address in addresses(server).items():
        look(name, address)
    driver.get(server.url + "/api/docs")
    browser.find(driver, ".opblock")
    assert "/api/register" in browser.text(driver)
    if said := browser.violations(driver):
        noise["docs"] = said

    assert noise == {}


def test_a_policy_violation_would_be_heard(server, chromium):
    chromium.get(server.url + "/admin/login/")
    chromium.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    )

    assert browser.violations(chromium)


def test_a_telephone_is_enough(server, chromium):
    driver = chromium
    browser.resize(driver, browser.PHONE)
    faults = {}

    def look(name):
        browser.wait(driver, lambda: browser.is_loaded(driver))
        if wrong := browser.layout_faults(driver):
            faults[name] = wrong
        browser_shot(driver, f"phone-{name}")

    driver.get(server.url + "/admin/login/")
    look("sign-in")
    sign_in(driver, server)
    for name, address in addresses(server).items():
        driver.get(server.url + address)
        look(name)
    driver.get(f"{server.url}{USERS}?q=katherine")
    browser.press(driver, driver.find_element(By.LINK_TEXT, "katherine@example.org"))
    browser.press(driver, browser.find(driver, "button.verb-deactivate"))
    look("reason")

    assert faults == {}


def test_a_laptop_shows_every_row_button(server, chromium):
    sign_in(chromium, server)

    for address in (USERS, FLAGS):
        chromium.get(server.url + address)
        edge = browser.find(chromium, ".results").rect
        buttons = browser.find_all(chromium, "#result_list button.verb")
        assert buttons
        assert all(b.rect["x"] + b.rect["width"] <= edge["x"] + edge["width"] for b in buttons), address
        assert browser.layout_faults(chromium) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_chips_and_buttons_can_be_read(server, chromium, dark):
    browser.resize(chromium, browser.DESKTOP, dark=dark)
    sign_in(chromium, server)
    chromium.get(server.url + USERS)

    measured = browser.contrasts(chromium, ".chip, button.verb")
    browser_shot(chromium, f"users-{'dark' if dark else 'light'}")

    assert {name for name, _ in measured} >= {
        "chip chip-active",
        "chip chip-off",
        "chip chip-waiting",
        "chip chip-paused",
        "verb verb-activate",
        "verb verb-unlock",
    }
    assert [entry for entry in measured if entry[1] < 4.5] == []


def browser_shot(driver, name):
    """For looking while working on the pages: `LOOK=/tmp/somewhere`."""
    if folder := os.environ.get("LOOK"):
        os.makedirs(folder, exist_ok=True)
        driver.save_screenshot(f"{folder}/{name.replace(' ', '-')}.png")


@pytest.mark.skipif(not os.environ.get("SCREENSHOTS"), reason="only on demand: SCREENSHOTS=1 writes docs/images")
def test_pictures_for_the_readme(fresh_server, chromium):
    sign_in(chromium, fresh_server)
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, address in (("users", USERS), ("flags", FLAGS)):
        chromium.get(fresh_server.url + address)
        browser.wait(chromium, lambda: browser.is_loaded(chromium))
        assert chromium.save_screenshot(str(IMAGES / f"admin-{name}.png"))
