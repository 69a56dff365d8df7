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
REVISIONS, SEGMENTS, TOKENS = (f"/admin/feature_flags/{name}/" for name in ("flagrevision", "segment", "flagtoken"))
NOTIFICATIONS = "/admin/notifications/"

PEOPLE = f"""
from datetime import timedelta
from django.utils import timezone
from feature_flags.services import editing, segments
from feature_flags.models import FeatureFlag, FlagSeen, FlagUsage, UnknownFlag
from lib.actors import Actor, RequestInfo
from users.services import rate_limits, sessions, sign_in, staff
from users.models import User, UserSession

now, actor = timezone.now(), Actor("command", label="example")
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
staff.deactivate(staff.find("edsger@example.org"), actor=actor, reason="Asked for it by phone")
katherine = staff.find("katherine@example.org")
firefox = RequestInfo("203.0.113.7", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
sessions.new_session(katherine, firefox, UserSession.Kind.API, now)
for _ in range(5):
    rate_limits.reserve(sign_in.login_bucket("ada@example.org", RequestInfo("203.0.113.7")))
how = {{"actor": Actor.command("example")}}
invited = [{{"field": "emailDomain", "operator": "IN", "values": ["example.org", "example.com"]}}]
segments.create_segment("Invited", constraints=invited, **how)
italy = {{"field": "country", "operator": "IN", "values": ["IT", "SM"]}}
recent = {{"field": "appVersion", "operator": "SEMVER_GTE", "value": "2.4.0"}}
rules = [
    {{"label": "Beta testers", "segments": ["Invited"]}},
    {{"label": "Italy first", "rollout_percent": 25, "stickiness": "userId", "constraints": [italy, recent]}},
]
for codename, label, on, more in (
    ("FF_DARK_MODE", "Dark mode for everybody", True, {{"owner": "team web", "tags": ["theme"]}}),
    ("FF_NEW_CHECKOUT", "Checkout in one step", False, {{"rules": rules, "owner": "team shop", "tags": ["shop"]}}),
    ("FF_RECOMMENDATIONS", "Better suggestions", True, {{"rollout_percent": 30, "kind": "experiment"}}),
    ("FF_SIGN_IN_BY_LINK", "Sign in by a link in a mail", False, {{"kind": "permission"}}),
    ("FF_WEEKLY_DIGEST", "The digest on Monday mornings", True, {{"kind": "operational", "owner": "team mail"}}),
):
    flag = editing.create(codename, label=label, **more, **how)
    editing.switch(flag, on=on, **how)
hour = now.replace(minute=0, second=0, microsecond=0)
for codename, yes, no in (("FF_DARK_MODE", 18204, 0), ("FF_RECOMMENDATIONS", 2911, 6802), ("FF_WEEKLY_DIGEST", 412, 0)):
    FlagSeen.objects.create(codename=codename, first_seen_at=now - timedelta(days=2))
    FlagUsage.objects.create(codename=codename, hour=hour, app_name="web", yes=yes, no=no)
UnknownFlag.objects.create(codename="FF_NEW_CHEKOUT", app_name="web", count=12)
FeatureFlag.objects.filter(codename="FF_DARK_MODE").update(created_at=now - timedelta(days=80))
"""


LONG = f"""
User.objects.create_user("tim.with.a.rather.long.name.to.show@subdomain.example.org", {PASSWORD!r}, last_name="W" * 150)
"""


@contextlib.contextmanager
def peopled(folder, more=""):
    with processes.serving(folder, DEBUG="1", LOG_LEVEL="warning") as server:
        made = server.command("shell", "--verbosity=0", "--command", PEOPLE + more)
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
    browser.focused(driver, "#id_username")
    browser.type_keys(driver, ROOT.upper(), Keys.TAB)
    browser.type_keys(driver, PASSWORD)
    browser.press_enter(driver)
    assert "Overview" in browser.text(driver)


def row(driver, name):
    return next(row for row in browser.find_all(driver, "#result_list tbody tr") if name in row.text)


def press_in_row(driver, name, label):
    button = row(driver, name).find_element(By.XPATH, f".//button[normalize-space()='{label}' or @title='{label}']")
    browser.press(driver, button)


def give_reason(driver, reason):
    browser.find(driver, "textarea[name=reason]").send_keys(reason)
    browser.press(driver, browser.find(driver, ".submit-row input[type=submit]"))


def registration(server, email):
    body = {"email": email, "password": PASSWORD, "first_name": "Eve", "last_name": ""}
    return httpx.post(f"{server.url}/api/register", json=body).status_code


def test_a_day_at_the_desk(fresh_server, anyhow):
    server, driver = fresh_server, anyhow
    sign_in(driver, server)

    # A protected flag goes off, with a reason, and the next stranger cannot register any more.
    assert registration(server, "first@example.org") == 201
    driver.get(server.url + FLAGS)
    press_in_row(driver, "FF_ENABLE_REGISTRATION", "Switch off")
    assert "It goes off for everybody" in browser.text(driver)
    assert registration(server, "still@example.org") == 201
    give_reason(driver, "Spam")
    assert "“FF_ENABLE_REGISTRATION”: switched off." in browser.text(driver)
    assert registration(server, "second@example.org") == 404
    press_in_row(driver, "FF_ENABLE_REGISTRATION", "Switch on")
    give_reason(driver, "It is over")
    assert registration(server, "third@example.org") == 201

    # Another one goes off by a slip, and back.
    press_in_row(driver, "FF_DARK_MODE", "Switch off")
    browser.press(driver, browser.find(driver, ".undo button"))
    assert "“FF_DARK_MODE”: switched on." in browser.text(driver)

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
    browser.find(driver, "td.action-checkbox input").click()
    browser.find(driver, "select[name=action] option[value=mark-verified]").click()
    browser.press(driver, browser.find(driver, "button[name=index]"))
    browser.find(driver, "textarea[name=reason]").send_keys("Called her")
    browser.press(driver, browser.find(driver, ".submit-row input[type=submit]"))
    assert "1 user: address taken as verified." in browser.text(driver)

    browser.press(driver, browser.find(driver, "#logout-form button"))
    driver.get(server.url + USERS)
    assert browser.find(driver, "#id_password")
    assert browser.violations(driver) == []


def fill(driver, **fields):
    """Type into the fields of the page; a name's double underscores are its dashes."""
    for name, value in fields.items():
        field = browser.find(driver, f"[name={name.replace('__', '-')}]")
        if field.tag_name == "select":
            field.find_element(By.CSS_SELECTOR, f"option[value={value}]").click()
        else:
            field.clear()
            field.send_keys(value)


def press_row_button(driver, value):
    browser.press(driver, browser.find(driver, f'button[name=_rows][value="{value}"]'))


def unfold(driver, summary):
    section = driver.find_element(By.XPATH, f"//summary[starts-with(normalize-space(), '{summary}')]/..")
    if section.get_attribute("open") is None:
        browser.click(driver, section.find_element(By.TAG_NAME, "summary"))


def test_the_life_of_a_flag(fresh_server, anyhow):
    server, driver = fresh_server, anyhow
    sign_in(driver, server)

    # A rule is put together; the rows come and go without script, and the next field is at hand.
    driver.get(f"{server.url}{FLAGS}add/")
    fill(driver, codename="FF_NEW_SEARCH", label="Search anew")
    unfold(driver, "Rules")
    press_row_button(driver, "add rules")
    assert driver.switch_to.active_element.get_attribute("name") == "rules-0-label"
    browser.type_keys(driver, "Hoppers")
    press_row_button(driver, "add rules-0-constraints")
    assert driver.switch_to.active_element.get_attribute("name") == "rules-0-constraints-0-field"
    press_row_button(driver, "add rules-0-constraints")
    fill(driver, rules__0__constraints__1__field="email", rules__0__constraints__1__values="grace@example.org")
    press_row_button(driver, "remove rules-0-constraints-0")
    press_row_button(driver, "add rules-0-constraints")
    fill(driver, rules__0__constraints__1__field="age", rules__0__constraints__1__operator="NUM_GT")
    fill(driver, rules__0__constraints__1__values="many")
    browser.press(driver, browser.find(driver, ".submit-row input[name=_save]"))

    # What is wrong stands beside the row, and everything else is still there.
    wrong = browser.find_all(driver, ".constraint")[1]
    assert "“many” is no number" in wrong.find_element(By.CSS_SELECTOR, ".part-values").text
    assert browser.find(driver, "[name=rules-0-constraints-0-field]").get_attribute("value") == "email"
    assert browser.find(driver, "[name=label]").get_attribute("value") == "Search anew"
    press_row_button(driver, "remove rules-0-constraints-1")
    browser.press(driver, browser.find(driver, ".submit-row input[name=_save]"))
    assert "“FF_NEW_SEARCH”: created." in browser.text(driver)

    # On: who gets it, and why.
    browser.press(driver, browser.find(driver, "button.verb-switch_on"))
    assert "Undo: switch off FF_NEW_SEARCH" in browser.text(driver)
    browser.press(driver, driver.find_element(By.PARTIAL_LINK_TEXT, "Who gets it"))
    fill(driver, user="grace@example.org")
    browser.press(driver, browser.find(driver, ".who input[type=submit]"))
    assert "On, by Hoppers." in browser.text(driver)
    fill(driver, user="ada@example.org")
    browser.press(driver, browser.find(driver, ".who input[type=submit]"))
    assert "Off: no rule lets this context in." in browser.text(driver)

    # It becomes protected; switching now asks why.
    browser.press(driver, driver.find_element(By.LINK_TEXT, "FF_NEW_SEARCH"))
    unfold(driver, "About")
    browser.click(driver, browser.find(driver, "[name=is_protected]"))
    browser.press(driver, browser.find(driver, "input[name=_continue]"))
    browser.press(driver, browser.find(driver, "button.verb-switch_off"))
    give_reason(driver, "It is slow")
    assert "“FF_NEW_SEARCH”: switched off." in browser.text(driver)

    # And back to how it was when it was made.
    browser.press(driver, browser.find_all(driver, ".history a")[-1])
    assert "protected: on → off" in browser.text(driver)
    browser.find(driver, "textarea[name=reason]").send_keys("Start again")
    browser.press(driver, browser.find(driver, ".submit-row input[type=submit]"))
    shown = browser.text(driver)
    assert "“FF_NEW_SEARCH”: restored." in shown
    assert "Start again" in shown
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

    for _ in range(12):
        browser.type_keys(driver, Keys.TAB)
        reached = driver.switch_to.active_element
        if reached.text == "Skip to the rows":
            browser.type_keys(driver, Keys.ENTER)
        if reached.get_attribute("role") == "switch":
            break
    first = browser.find(driver, "#result_list tbody th a").text.split()[0]
    was_on = reached.get_attribute("aria-checked") == "true"
    assert reached.get_attribute("aria-label") == first
    browser.press_enter(driver)

    assert f"“{first}”: switched {'off' if was_on else 'on'}." in browser.text(driver)


def test_the_first_key_skips_to_what_the_page_is_about(server, chromium):
    sign_in(chromium, server)
    chromium.get(f"{server.url}{USERS}")

    browser.type_keys(chromium, Keys.TAB)
    assert chromium.switch_to.active_element.text == "Skip to main content"
    browser.type_keys(chromium, Keys.ENTER)

    browser.focused(chromium, "#content-start")


def test_a_tenth_of_a_domain_takes_three_acts(server, chromium):
    driver = chromium
    sign_in(driver, server)
    address = addresses(server)["flag"]
    driver.get(server.url + address)

    # The button, the domain, the save; the percentage is there, and the cursor where the domain goes.
    press_row_button(driver, "domain rules")
    browser.type_keys(driver, "example.org")
    browser.wait(driver, lambda: "people looked at" in browser.find(driver, "#preview").text)
    browser.press(driver, browser.find(driver, ".submit-row input[name=_save]"))

    assert "saved." in browser.text(driver)
    driver.get(server.url + address)
    assert "10 % of people whose emailDomain is example.org → on" in browser.text(driver)
    assert browser.violations(driver) == []


def meanwhile(server, codename):
    """Somebody else changes the flag."""
    shell = "from feature_flags.services import editing; from lib.actors import Actor; "
    shell += "how = {'actor': Actor.command('example')}; "
    shell += f"editing.edit(editing.get('{codename}'), {{'label': 'Theirs'}}, **how)"
    printed = server.command("shell", "--verbosity=0", "--command", shell)
    assert printed.returncode == 0, printed.stderr


def addresses(server):
    """Every kind of page."""
    shell = "from users.models import User; from feature_flags.models import FeatureFlag as F; "
    shell += "from lib.actors import Actor; from users.services import staff; u = staff.find('katherine@example.org'); "
    shell += "f = F.objects.get(codename='FF_NEW_CHECKOUT'); from notifications.models import Message; "
    # Once for all tests: an address gets three mails of a kind a minute.
    shell += "Message.objects.filter(user=u).exists() or staff.send_reset(u, actor=Actor('command', label='x')); "
    shell += "from notifications.services import announcements; from notifications.models import Announcement; "
    shell += "words = {'en': {'title': 'News', 'body': 'B'}, 'de': {'title': 'Neues', 'body': 'B'}}; "
    shell += "a = Announcement.objects.first() or announcements.save(Announcement(), words=words, "
    shell += "channels=['email', 'in_app'], audience='everybody', actor=Actor('command', label='x')); "
    shell += "print(a.pk, u.pk, f.pk, f.revisions.earliest('id').pk, Message.objects.filter(user=u).latest('id').pk)"
    printed = server.command("shell", "--verbosity=0", "--command", shell)
    assert printed.returncode == 0, printed.stderr
    announcement, user, flag, revision, message = printed.stdout.split()
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
        "who gets a flag": f"{FLAGS}{flag}/who/?user=ada@example.org&context=country%3DIT",
        "flag history": REVISIONS,
        "flag change": f"{REVISIONS}{revision}/change/",
        "restore": f"{REVISIONS}{revision}/restore/",
        "segments": SEGMENTS,
        "segment": f"{SEGMENTS}1/change/",
        "new segment": f"{SEGMENTS}add/",
        "tokens": TOKENS,
        "token": f"{TOKENS}1/change/",
        "new token": f"{TOKENS}add/",
        "unknown flags": "/admin/feature_flags/unknownflag/",
        "usage": "/admin/feature_flags/flagusage/",
        "messages": MESSAGES,
        "failed messages": f"{MESSAGES}?state__exact=failed&type=users.welcome",
        "message": f"{MESSAGES}{message}/change/",
        "suppressions": f"{NOTIFICATIONS}suppression/",
        "new suppression": f"{NOTIFICATIONS}suppression/add/",
        "preferences": f"{NOTIFICATIONS}preference/",
        "delivery events": f"{NOTIFICATIONS}deliveryevent/",
        "in-app notifications": f"{NOTIFICATIONS}inappnotification/",
        "announcements": f"{NOTIFICATIONS}announcement/",
        "new announcement": f"{NOTIFICATIONS}announcement/add/",
        "announcement": f"{NOTIFICATIONS}announcement/{announcement}/preview/",
        "providers": f"{NOTIFICATIONS}providerstate/",
        "workers": f"{NOTIFICATIONS}worker/",
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
    driver.get(f"{server.url}{FLAGS}?q=FF_NEW_CHECKOUT")
    browser.press(driver, driver.find_element(By.CSS_SELECTOR, "#result_list .field-name a"))
    meanwhile(server, "FF_NEW_CHECKOUT")
    fill(driver, label="Mine")
    browser.press(driver, browser.find(driver, "input[name=_continue]"))
    assert "Changed by both: label." in browser.text(driver)
    look("stale flag")

    assert faults == {}


def test_a_laptop_shows_every_row_button(server, chromium):
    sign_in(chromium, server)

    for address in (USERS, FLAGS, REVISIONS):
        chromium.get(server.url + address)
        # A line a row, beside one another.
        assert [
            row.text for row in browser.find_all(chromium, "#result_list tbody tr") if row.rect["height"] > 34
        ] == []
        assert browser.find(chromium, ".results").get_property("scrollWidth") <= chromium.execute_script(
            "return document.querySelector('.results').clientWidth"
        )
        if address == REVISIONS:
            continue
        edge = browser.find(chromium, ".results").rect
        buttons = browser.find_all(chromium, "#result_list :is(button.verb, button.switch)")
        assert buttons
        assert all(b.rect["x"] + b.rect["width"] <= edge["x"] + edge["width"] for b in buttons), address
        assert browser.layout_faults(chromium) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_chips_and_buttons_can_be_read(server, chromium, dark):
    browser.resize(chromium, browser.DESKTOP, dark=dark)
    # Paused now: the pauses that the scene began may be over.
    wrong = {"username": "barbara@example.org" if dark else "alan@example.org", "password": "Wrong-1843-Horse"}
    for _ in range(5):
        assert httpx.post(f"{server.url}/api/login", data=wrong).status_code == 400
    sign_in(chromium, server)
    chromium.get(server.url + USERS)

    measured = browser.contrasts(chromium, ".chip, button.verb")
    browser_shot(chromium, f"users-{'dark' if dark else 'light'}")

    assert {name for name, _ in measured} >= {
        "chip chip-active",
        "chip chip-waiting",
        "chip chip-paused",
        "verb verb-activate",
        "verb verb-unlock",
    }
    assert [entry for entry in measured if entry[1] < 4.5] == []

    for name, address in addresses(server).items():
        if "flag" in name or "segment" in name or "token" in name:
            chromium.get(server.url + address)
            texts = (
                ".chip, .quiet, .below, .help, .quiet-button, .section summary, .section summary span, .notice, .mark"
            )
            faint = [entry for entry in browser.contrasts(chromium, texts) if entry[1] < 4.5]
            browser_shot(chromium, f"{name}-{'dark' if dark else 'light'}")
            assert faint == [], name


def browser_shot(driver, name):
    """For looking while working on the pages: `LOOK=/tmp/somewhere`."""
    if folder := os.environ.get("LOOK"):
        os.makedirs(folder, exist_ok=True)
        driver.save_screenshot(f"{folder}/{name.replace(' ', '-')}.png")
