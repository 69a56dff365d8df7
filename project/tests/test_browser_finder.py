"""The finder in a real browser: by keys from wherever one is, and as a page without script."""

import pytest
from selenium.webdriver.common.keys import Keys

from project.tests import browser
from project.tests.test_browser import USERS, peopled, sign_in

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with peopled(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def one_chromium(tmp_path_factory):
    with browser.chromium(tmp_path_factory.mktemp("chromium") / "profile") as driver:
        yield driver


@pytest.fixture
def driver(one_chromium, server):
    browser.renew(one_chromium)
    sign_in(one_chromium, server)
    return one_chromium


def selected(driver):
    return browser.find(driver, "#finder [role=option][aria-selected=true]")


def shows(driver, text):
    browser.wait(driver, lambda: text in selected(driver).text)


def test_a_slash_some_letters_and_enter_lead_to_a_person(driver, server):
    driver.get(server.url + USERS)

    browser.type_keys(driver, "/")
    browser.focused(driver, "#finder input")
    browser.type_keys(driver, "kathe")
    shows(driver, "katherine")
    browser.press_enter(driver)

    assert "/admin/users/user/" in driver.current_url
    assert "katherine" in browser.find(driver, "h1, h2").text or "katherine" in browser.text(driver)
    assert not browser.violations(driver)


def test_arrows_choose_and_the_choice_is_told_to_screen_readers(driver, server):
    browser.type_keys(driver, Keys.CONTROL, "k")
    browser.focused(driver, "#finder input")
    first = selected(driver)
    field = browser.find(driver, "#finder input")

    browser.type_keys(driver, Keys.ARROW_DOWN)
    second = selected(driver)

    assert first.get_attribute("id") != second.get_attribute("id")
    assert field.get_attribute("aria-activedescendant") == second.get_attribute("id")
    assert field.get_attribute("aria-expanded") == "true"
    browser.type_keys(driver, Keys.ARROW_UP, Keys.ARROW_UP)
    assert selected(driver).get_attribute("id") == browser.find_all(driver, "#finder [role=option]")[-1].get_attribute(
        "id"
    )


def test_escape_closes_it_and_gives_the_focus_back(driver, server):
    driver.get(server.url + USERS)
    box = browser.find(driver, "#searchbar")
    box.click()
    # What is typed into a field is typed.
    browser.type_keys(driver, "/")
    assert box.get_attribute("value") == "/"
    assert not browser.find_all(driver, "#finder[open]")

    browser.type_keys(driver, Keys.CONTROL, "k")
    browser.focused(driver, "#finder input")
    browser.type_keys(driver, Keys.ESCAPE)

    browser.focused(driver, "#searchbar")
    assert not browser.find_all(driver, "#finder[open]")


def test_it_stands_on_a_laptop_and_a_telephone(driver, server):
    faults = {}
    for size in (browser.DESKTOP, browser.PHONE):
        browser.resize(driver, size)
        driver.get(f"{server.url}/admin/find/?q=user")
        faults[size] = browser.layout_faults(driver)
        browser.find(driver, "#finder-open").click()
        browser.focused(driver, "#finder input")
        browser.type_keys(driver, "user")
        selected(driver)
        faults[size, "dialog"] = browser.layout_faults(driver)
    assert not any(faults.values()), faults
    assert not browser.violations(driver)


def test_without_script_it_is_a_page(server, tmp_path):
    with browser.chromium(tmp_path / "profile", javascript=False) as driver:
        sign_in(driver, server)
        browser.press(driver, browser.find(driver, "#finder-open"))
        browser.focused(driver, "#find-text")
        browser.type_keys(driver, "kathe")
        browser.press_enter(driver)

        browser.press(driver, browser.find(driver, ".find-kind a"))

        assert "/admin/users/user/" in driver.current_url
