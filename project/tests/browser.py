"""A headless Chromium for the tests that need one: Debian's, with a profile of its own and nothing fetched."""

import contextlib
import os

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, CHROMEDRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
DEADLINE = 20
DESKTOP, PHONE = (1280, 800), (360, 740)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--lang=en-GB",
)


@contextlib.contextmanager
def chromium(profile, *, size=DESKTOP, javascript=True):
    """A driver whose profile lives in the directory `profile`. `size` is what pages see of the window."""
    os.environ["SE_OFFLINE"] = "true"  # Selenium shall look for no other driver
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if not javascript:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    try:
        resize(driver, size)
        yield driver
    finally:
        driver.quit()


def resize(driver, size, *, dark=False):
    """Give pages a viewport of exactly this size, narrower than a window may be, and a colour scheme."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def renew(driver):
    """Forget sign-ins, window size and what the console said."""
    driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    driver.get("about:blank")
    resize(driver, DESKTOP)
    driver.get_log("browser")


def wait(driver, condition):
    """The first true answer of `condition()`; elements that went away with the old page are asked for again."""
    return WebDriverWait(driver, DEADLINE, poll_frequency=0.05).until(lambda _: _answer(condition))


def _answer(condition):
    try:
        return condition()
    except (NoSuchElementException, StaleElementReferenceException):
        return False


def find(driver, css):
    return wait(driver, lambda: driver.find_element(By.CSS_SELECTOR, css))


def focused(driver, css):
    """Wait until the page has put the focus into the element: what is typed before that goes nowhere."""
    wait(driver, lambda: driver.switch_to.active_element == driver.find_element(By.CSS_SELECTOR, css))


def find_all(driver, css):
    return driver.find_elements(By.CSS_SELECTOR, css)


def text(driver):
    return wait(driver, lambda: driver.find_element(By.TAG_NAME, "body").text)


def click(driver, element):
    """Click amid the page: at its end a bar may stand over it."""
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def press(driver, element):
    """Press by mouse and wait until another page is there; what is folded away is unfolded first."""
    for summary in element.find_elements(By.XPATH, "ancestor::details[not(@open)]/summary"):
        click(driver, summary)
    old = driver.find_element(By.TAG_NAME, "html").id
    click(driver, element)
    another_page(driver, old)


def type_keys(driver, *keys):
    """Type to whatever has the focus."""
    driver.switch_to.active_element.send_keys(*keys)


def press_enter(driver):
    old = driver.find_element(By.TAG_NAME, "html").id
    type_keys(driver, Keys.ENTER)
    another_page(driver, old)


def another_page(driver, old):
    wait(driver, lambda: driver.find_element(By.TAG_NAME, "html").id != old and is_loaded(driver))


def is_loaded(driver):
    return driver.execute_script("return document.readyState") == "complete"


def violations(driver):
    """What the console said since it was last asked that a policy stopped or a script failed."""
    lines = [entry["message"] for entry in driver.get_log("browser")]
    return [line for line in lines if "Content Security Policy" in line or "Uncaught" in line or "violates" in line]


#: What is wrong with the layout: the page scrolls sideways, something to press stands outside, or text is cut off.
LAYOUT = """
const wrong = [], width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > width) wrong.push(`page is ${document.documentElement.scrollWidth} wide`);
function scrolls(element) {
  for (let up = element.parentElement; up && up !== document.body; up = up.parentElement)
    if (/auto|scroll/.test(getComputedStyle(up).overflowX) && up.scrollWidth > up.clientWidth
        && up.getBoundingClientRect().right <= width + 1) return true;
  return false;
}
// A box that sticks out of one that hides what sticks out.
const clipped = e => { const right = e.getBoundingClientRect().right;
  for (let up = e.parentElement; up && up !== document.body; up = up.parentElement)
    if (/hidden|clip/.test(getComputedStyle(up).overflowX) && right > up.getBoundingClientRect().right + 1) return true;
  return false; };
const shown = e => e.checkVisibility({visibilityProperty: true, opacityProperty: true}) && e.getClientRects().length;
for (const e of document.querySelectorAll("a, button, input:not([type=hidden]), select, textarea")) {
  if (!shown(e) || e.closest(".skip-to-content-link, .visually-hidden") || scrolls(e)) continue;
  const box = e.getBoundingClientRect();
  if (box.left < -1 || box.right > width + 1 || clipped(e))
    wrong.push(`${e.tagName} ${e.className} "${e.value || e.textContent}" at ${box.left}..${box.right}`);
}
// The arrows of Django's pairs of lists (`selector-add`) are pictures; their text is for screen readers.
const texts = "h1, h2, p, td, th, label, button:not([class^=selector-]), a, span, .help, .readonly";
for (const e of document.querySelectorAll(texts)) {
  if (!shown(e) || !e.textContent.trim() || e.closest(".skip-to-content-link, .visually-hidden")) continue;
  const style = getComputedStyle(e);
  // A sentence of a list is whole in its title, and on the page that its row leads to; so is what leads there.
  const titles = [e.title, e.firstElementChild?.title];
  if (/hidden|clip/.test(style.overflowX) && e.scrollWidth > e.clientWidth + 1 && !titles.includes(e.textContent)
      && !e.closest("#result_list tbody th"))
    wrong.push(`cut: ${e.tagName} ${e.className} "${e.textContent.trim().slice(0, 40)}"`);
}
return wrong;
"""


def layout_faults(driver):
    return driver.execute_script(LAYOUT)


#: The contrast (WCAG 2) of the text of every element a selector finds, over the first opaque colour behind it.
CONTRAST = """
const parse = c => c.match(/[\\d.]+/g).map(Number);
const linear = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = c => { const f = parse(c).slice(0, 3).map(linear);
  return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor, p = parse(c);
  if (p.length < 4 || p[3] === 1) return c; } return "rgb(255, 255, 255)"; };
return [...document.querySelectorAll(arguments[0])].map(e => {
  const a = light(getComputedStyle(e).color), b = light(behind(e));
  return [e.className || e.tagName, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
});
"""


def contrasts(driver, css):
    return driver.execute_script(CONTRAST, css)
