"""What staff do when a mail is not there: in a browser with and one without script, on a telephone."""

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from project.tests import browser
from project.tests import test_browser as desk

pytestmark = pytest.mark.e2e
MESSAGES, SUPPRESSIONS = "/admin/notifications/message/", "/admin/notifications/suppression/"
ANNOUNCEMENTS = "/admin/notifications/announcement/"

#: One that failed and can be sent again, and one for tomorrow.
MAIL = """
from notifications.models import Message
from notifications.services.outbox import queue
for name, due_at in (("grace", now), ("radia", now + timedelta(days=1))):
    person = staff.find(f"{name}@example.org")
    row, = queue("users.welcome", to=person.email, context={"first_name": "A&B"}, user=person, due_at=due_at)
    if name == "grace":
        Message.objects.filter(pk=row.pk).update(
            state="failed", due_at=None, finished_at=now, reason="attempts_used", last_code="451", attempts=8)
"""

anyhow = desk.anyhow


@pytest.fixture
def mail_server(tmp_path):
    with desk.peopled(tmp_path, more=MAIL) as server:
        yield server


def button(driver, label):
    return driver.find_element(By.XPATH, f"//button[starts-with(normalize-space(), '{label}')]")


def confirm(driver, reason=""):
    if reason:
        browser.find(driver, "textarea[name=reason]").send_keys(reason)
    browser.press(driver, browser.find(driver, ".submit-row input[type=submit]"))


def test_a_mail_that_is_not_there(mail_server, anyhow):
    server, driver = mail_server, anyhow
    browser.resize(driver, browser.PHONE)
    faults = {}

    def look(name):
        browser.wait(driver, lambda: browser.is_loaded(driver))
        desk.browser_shot(driver, f"mail-{name}")
        if wrong := browser.layout_faults(driver):
            faults[name] = wrong

    desk.sign_in(driver, server)

    # The way out is closed from the first page and opened again; the page in between asks why.
    look("overview")
    browser.press(driver, button(driver, "Pause"))
    look("pause")
    confirm(driver)
    assert "Say why." in browser.text(driver)
    confirm(driver, "They a&b moving")
    assert "until it is resumed, root@example.org: They a&b moving" in browser.text(driver)
    look("paused")
    browser.press(driver, button(driver, "Resume"))
    confirm(driver)
    assert "“email”: resumed." in browser.text(driver)

    # What failed is found by the beginning of the address and sent again from its row.
    driver.get(f"{server.url}{MESSAGES}?q=grace")
    look("list")
    desk.press_in_row(driver, "grace@example.org", "Retry")
    assert "with the same Message-ID" in browser.text(driver)
    look("retry")
    confirm(driver, "Her mailbox was full")
    assert "queued again." in browser.text(driver)
    assert desk.is_sent(driver, server, "grace@example.org")

    # What waits says why, and what it will say; then it is stopped.
    driver.get(f"{server.url}{MESSAGES}?q=radia")
    browser.press(driver, driver.find_element(By.LINK_TEXT, "radia@example.org"))
    assert "Waiting for its time" in browser.text(driver)
    look("message")
    narrow = [
        cell.text
        for cell in browser.find(driver, ".timeline").find_elements(By.CSS_SELECTOR, "td:last-child")
        if cell.size["width"] < 100
    ]
    assert narrow == []
    frame = browser.find(driver, "iframe.mail-body")
    driver.execute_script("arguments[0].scrollIntoView()", frame)
    driver.switch_to.frame(frame)
    assert "A&B" in browser.find(driver, "body").text
    driver.switch_to.default_content()
    browser.press(driver, button(driver, "Cancel"))
    confirm(driver)
    assert "Cancelled by staff" in browser.text(driver)

    # A copy, which is another message.
    browser.press(driver, button(driver, "Resend as new"))
    confirm(driver)
    assert "queued again as" in browser.text(driver)

    # The address goes on the list, and off it again, by keyboard.
    browser.press(driver, button(driver, "Suppress address"))
    browser.find(driver, "select[name=scope] option[value=all]").click()
    look("suppress")
    confirm(driver, "She asked for it")
    assert "address suppressed (all)." in browser.text(driver)
    driver.get(f"{server.url}{SUPPRESSIONS}?q=radia@example.org")
    look("suppressions")
    lift = desk.row(driver, "radia@example.org").find_element(By.CSS_SELECTOR, "button.verb-lift")
    lift.send_keys(Keys.NULL)
    old = driver.find_element(By.TAG_NAME, "html").id
    lift.send_keys(Keys.ENTER)
    browser.another_page(driver, old)
    confirm(driver, "She changed her mind")
    assert "lifted." in browser.text(driver)
    driver.get(f"{server.url}{SUPPRESSIONS}add/")
    look("new suppression")

    # What she was sent stands on her own page, too.
    driver.get(f"{server.url}{desk.USERS}?q=radia")
    browser.press(driver, driver.find_element(By.LINK_TEXT, "radia@example.org"))
    assert "Last messages" in browser.text(driver)
    look("user")
    driver.get(f"{server.url}{ANNOUNCEMENTS}add/")
    look("announcement")

    assert faults == {}
    assert browser.violations(driver) == []


WELCOME = "/admin/notifications/templateoverride/of/users.welcome/en/"


def preview(driver):
    """What the frame shows."""
    frame = browser.find(driver, "iframe.mail-frame")
    driver.switch_to.frame(frame)
    try:
        return driver.find_element(By.TAG_NAME, "body").text
    finally:
        driver.switch_to.default_content()


def test_the_words_of_a_mail(mail_server, anyhow):
    """A name is put in by a press, the preview follows or is asked for, and one press brings back what was there."""
    server, driver = mail_server, anyhow
    browser.resize(driver, browser.PHONE)
    desk.sign_in(driver, server)
    driver.get(server.url + WELCOME)
    words = browser.find(driver, "#words_words")
    words.send_keys(Keys.CONTROL, Keys.END)
    words.send_keys("\n\nSee you <soon>, ")
    if names := browser.find_all(driver, "button.name"):
        next(name for name in names if name.text == "{{ first_name }}").click()
    else:
        words.send_keys("{{ first_name }}")
    browser.find(driver, "#words_subject").send_keys(Keys.END, " Really")

    if not names:
        button(driver, "Show").click()
    browser.wait(driver, lambda: "See you <soon>, Ada" in preview(driver))
    if names:
        browser.wait(driver, lambda: "Really" in browser.find(driver, "[data-preview-subject]").text)
        assert "See you <soon>, Ada" in browser.find(driver, "[data-preview-plain]").text
        words.send_keys("{")
        browser.wait(driver, lambda: "Braces stand only" in browser.find(driver, ".preview-trouble").text)
        words.send_keys(Keys.BACKSPACE)
        browser.wait(driver, lambda: not browser.find(driver, ".preview-trouble").text)
    # Enter shows, where the preview is, and does not save.
    browser.find(driver, "#words_subject").send_keys("!", Keys.ENTER)
    browser.wait(driver, lambda: "See you <soon>, Ada" in preview(driver))
    assert len(driver.window_handles) == 1
    assert browser.layout_faults(driver) == []

    browser.find(driver, "#words_note").send_keys("Warmer")
    browser.press(driver, browser.find(driver, "#words_form input[type=submit]"))
    assert "Subject, Text, HTML saved." in browser.text(driver)
    browser.press(driver, driver.find_element(By.LINK_TEXT, "Back to the file"))
    browser.find(driver, "#id_note").send_keys("Too warm")
    browser.press(driver, browser.find(driver, ".submit-row input[type=submit]"))
    assert "are the file again." in browser.text(driver)
    browser.press(driver, button(driver, "Use this again"))
    assert browser.layout_faults(driver) == []
    browser.find(driver, "#id_note").send_keys("Not too warm")
    browser.press(driver, browser.find(driver, ".submit-row input[type=submit]"))
    assert "See you <soon>" in browser.find(driver, "#words_words").get_attribute("value")
    assert browser.layout_faults(driver) == []
    assert browser.violations(driver) == []
