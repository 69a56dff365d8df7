"""Telling many people something, in a browser with and one without script."""

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from project.tests import browser
from project.tests import test_browser as desk

pytestmark = pytest.mark.e2e
ANNOUNCEMENTS = "/admin/notifications/announcement/"
server, anyhow = desk.server, desk.anyhow


def test_it_is_written_looked_at_tested_and_sent(request, server, anyhow):
    driver, faults = anyhow, {}
    has_script = request.node.callspec.params["anyhow"]

    def look(name):
        for size in (browser.DESKTOP, browser.PHONE):
            browser.resize(driver, size)
            if wrong := browser.layout_faults(driver):
                faults[name, size] = wrong
        browser.resize(driver, browser.DESKTOP)

    desk.sign_in(driver, server)
    driver.get(f"{server.url}{ANNOUNCEMENTS}add/")
    for field, text in (("title_en", "News"), ("body_en", "Something new."), ("title_de", "Neues")):
        browser.find(driver, f"#id_{field}").send_keys(text)
    Select(browser.find(driver, "#id_audience")).select_by_visible_text("Invited")
    browser.press(driver, browser.find(driver, ".submit-row input[type=submit]"))
    assert "Write both, or neither." in browser.text(driver)
    look("refused")
    browser.find(driver, "#id_body_de").send_keys("Etwas Neues.")
    browser.find(driver, "input[name=channels][value=email]").click()
    browser.press(driver, browser.find(driver, ".submit-row input[type=submit]"))

    look("preview")
    assert "Segment Invited" in browser.text(driver)
    browser.press(driver, driver.find_elements(By.XPATH, "//button[normalize-space()='Send a test to me']")[1])
    assert "A test in German is on its way to you." in browser.text(driver)
    send = browser.find(driver, "button.verb-send")
    assert send.text == "Send to 6 people"
    browser.press(driver, send)

    def is_done():
        # With script the numbers come by themselves.
        if not has_script:
            driver.refresh()
        return "Done" in browser.find(driver, ".announcement-facts").text

    browser.wait(driver, is_done)
    bar = browser.find(driver, "progress")
    assert bar.get_attribute("value") == bar.get_attribute("max")
    assert "Pause" not in browser.text(driver)
    look("done")
    assert faults == {}
    assert browser.violations(driver) == []
