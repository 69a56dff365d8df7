"""Every page of the admin, wide and narrow, light and dark: axe finds nothing, the console is silent."""

import pyotp
import pytest

from project.tests import browser, processes
from project.tests import test_browser as desk
from project.tests import test_browser_mail as mail
from project.tests import test_browser_sign_in as doors

pytestmark = pytest.mark.e2e
AXE = processes.ROOT / "feature_flags/tests/sdk/node_modules/axe-core/axe.min.js"
WIDE, NARROW = (1440, 900), (390, 844)

#: A row for every list, beside what `desk` and `mail` make.
ROWS = """
from feature_flags.services import tokens
from notifications.models import DeliveryEvent, InAppNotification, Preference, Suppression, TemplateOverride, Worker

row = Message.objects.filter(state="failed").get()
mail = {"provider": "postmark", "message": row, "recipient": row.to_address}
DeliveryEvent.objects.create(event_id="1", kind="bounced", at=now, **mail)
told = {"type": "notifications.announcement", "category": "product", "user": katherine}
InAppNotification.objects.create(title="Maintenance", **told)
Preference.objects.create(user=katherine, category="product", channel="email", enabled=False)
Suppression.objects.create(address="gone@example.org", scope="all", reason="bounce", source="postmark")
Worker.objects.create(host="web-1", pid=12, engine="embedded")
tokens.create_token("shop", kind="server", **how)
written = {"type": "users.welcome", "language": "en", "part": "subject", "edited_by_label": "example"}
TemplateOverride.objects.create(body="Hello", version=1, active=True, **written)

from lib.actors import Actor
from notifications.models import WebhookAttempt, WebhookEndpoint
from notifications.services import endpoints

operator = Actor.command("example")
wanted = ["message.failed", "user.deleted", "flag.switched"]
told, _ = endpoints.create(name="CRM", url="https://crm.invalid/hooks", events=wanted, actor=operator)
sent = endpoints.send_test(told, actor=operator)
endpoints.pause(told, actor=operator, reason="They move")
WebhookAttempt.objects.create(delivery=sent, n=1, worker="web-1:12", created_at=now, duration_ms=12, error="dns")
"""

#: Faults as `rule: the element`. Frames are pages of their own: those of mails run no script.
RUN = """
const [rules, leavingOut, done] = arguments;
const only = rules.length ? {runOnly: {type: "rule", values: rules}} : {};
axe.run(document, {iframes: false, preload: false, resultTypes: ["violations"], ...only}).then(
  found => done(found.violations.flatMap(each => leavingOut.includes(each.id) ? [] : each.nodes.map(
    node => `${each.id}: ${node.html.slice(0, 160)}`))),
  fault => done([String(fault)]));
"""
#: The rules whose answer hangs on the colours; all others are the same in both themes.
OF_COLOURS = ["color-contrast", "link-in-text-block"]


class Walk:
    """Looks at pages and gathers what is wrong with them."""

    def __init__(self, driver):
        self.driver, self.seen, self.faults = driver, set(), {}
        self.script = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": AXE.read_text()})
        driver.set_script_timeout(browser.DEADLINE)

    def look(self, name, *, leaving_out=()):
        browser.wait(self.driver, lambda: browser.is_loaded(self.driver))
        self.seen.add(name)
        for size in (WIDE, NARROW):
            for dark in (False, True):
                browser.resize(self.driver, size, dark=dark)
                looks = f"{name} at {size[0]}{' dark' if dark else ''}"
                desk.browser_shot(self.driver, looks.strip("/").replace("/", "_"))
                for fault in self.driver.execute_async_script(RUN, OF_COLOURS if dark else [], leaving_out):
                    self.faults.setdefault(fault, []).append(looks)
        for entry in self.driver.get_log("browser"):
            if entry["level"] == "SEVERE":
                self.faults.setdefault(f"console: {entry['message']}", []).append(name)

    def links(self, css):
        """Where the elements lead to, without what is asked."""
        return [link.get_attribute("href").partition("?")[0] for link in browser.find_all(self.driver, css)]


@pytest.fixture
def walk(chromium):
    walk = Walk(chromium)
    yield walk
    chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", walk.script)


one_chromium, chromium, server = desk.one_chromium, desk.chromium, doors.server


def test_axe_finds_nothing_on_any_page(tmp_path, walk):
    driver = walk.driver
    with desk.peopled(tmp_path, more=mail.MAIL + ROWS) as server:

        def look(address, name=""):
            driver.get(server.url + address)
            walk.look(name or address)

        look("/admin/login/")
        desk.sign_in(driver, server)
        for address in ("/admin/", "/admin/activity/", "/admin/find/?q=ada"):
            look(address)
        driver.get(f"{server.url}/admin/")
        # Every list of the sidebar, its first row, and the pages that lead on from there.
        for address in sorted({url.removeprefix(server.url) for url in walk.links("#nav-sidebar th a")}):
            driver.get(server.url + address)
            more = (walk.links("#result_list tbody :is(th, td) a") or walk.links("th[scope=row] a:not(nav a)"))[:1]
            more += walk.links(".object-tools a.addlink")
            walk.look(address)
            for url in dict.fromkeys(more):
                driver.get(url)
                within = walk.links(".deletelink, .part-box p > a")[:1]
                walk.look(url.removeprefix(server.url))
                for inner in within:
                    look(inner.removeprefix(server.url))
        # The pages in between: each button that asks something first.
        pages = desk.addresses(server)
        pages["endpoint"] = "/admin/notifications/webhookendpoint/1/change/"
        for name in ("user", "flag", "message", "overview", "endpoint"):
            driver.get(server.url + pages[name])
            for number in range(len(browser.find_all(driver, "button[data-asks]"))):
                driver.get(server.url + pages[name])
                for more in browser.find_all(driver, "details:not([open]) > summary"):
                    more.click()
                browser.press(driver, browser.find_all(driver, "button[data-asks]")[number])
                walk.look(f"{name}, button {number}")
        for name, address in pages.items():
            if address not in walk.seen:
                look(address, name)
        driver.get(f"{server.url}/api/docs")
        browser.find(driver, ".opblock")
        # What Swagger's script draws: buttons in buttons, and tags two levels below the title.
        walk.look("/api/docs", leaving_out=["nested-interactive", "heading-order"])

    assert len(walk.seen) > 60
    assert walk.faults == {}, "\n".join(f"{fault}: {places}" for fault, places in walk.faults.items())


def test_axe_finds_nothing_at_the_doors(server, walk):
    driver = walk.driver
    doors.password(driver, server)
    walk.look("a first factor")
    app = pyotp.TOTP(doors.secret_on(driver))
    doors.type_code(driver, "000000")
    walk.look("a wrong code")
    first = app.now()
    doors.type_code(driver, first)
    walk.look("recovery codes")
    for address in ("second-factor/", "second-factor/app/", "reauthenticate/", "enrol/nonsense"):
        driver.get(f"{server.url}/admin/{address}")
        walk.look(address)
    doors.log_out(driver, server)
    doors.password(driver, server)
    walk.look("the second step")
    made = server.command("create_admin", "new@example.org")
    driver.get(f"{server.url}/admin/{made.stdout.split()[-1].partition('/admin/')[2]}")
    walk.look("a password of one's own")

    # The browser says of a refused link that it was refused.
    assert {fault for fault in walk.faults if "status of 4" not in fault} == set()
