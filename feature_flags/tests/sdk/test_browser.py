"""The browser SDKs, unmodified, in a page of another origin."""

import functools
import http.server
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlencode

import pytest

from feature_flags.tests.sdk.shop import open_shop
from project.tests.browser import chromium, wait
from project.tests.processes import until

pytestmark = pytest.mark.sdk
HERE = Path(__file__).parent


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The port of a server that holds nothing but the page."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "page.html").write_text('<!doctype html><title>Shop</title><script src="page.js"></script>')
    bundle = [HERE / "node_modules/.bin/esbuild", HERE / "page.js", "--bundle", f"--outfile={folder}/page.js"]
    subprocess.run([*bundle, "--log-level=error"], check=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory, pages):
    """Only pages of 127.0.0.1 may use the frontend token; `localhost` is another origin."""
    with open_shop(tmp_path_factory.mktemp("shop")) as shop:
        shop.frontend_token = shop.token("frontend", "--origin", f"http://127.0.0.1:{pages}")
        yield shop


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def visit(driver, pages, switched_off):
    def visit(host="127.0.0.1"):
        query = urlencode({"URL": switched_off.url, "TOKEN": switched_off.frontend_token})
        driver.get(f"http://{host}:{pages}/page.html?{query}")

        def seen():
            return driver.execute_script("return window.seen")

        return seen

    yield visit
    driver.execute_script("localStorage.clear()")
    driver.get("about:blank")


def test_both_see_what_is_on_for_them(visit, driver):
    seen = visit()
    found = wait(driver, lambda: (now := seen()) and now.get("openfeature") and now.get("unleash") and now)

    assert found["errors"] == []
    colour = found["openfeature"].pop("colour")
    assert found["openfeature"] == {"switched": False, "italy": True, "count": 5, "unset": "mine"}
    assert (found["unleash"]["switched"], found["unleash"]["italy"]) == (False, True)
    assert found["unleash"]["colour"]["payload"] == {"type": "string", "value": colour}


def test_a_switch_is_pushed_to_the_page(visit, driver, shop):
    seen = visit()
    wait(driver, lambda: (now := seen()) and now.get("openfeature") and now.get("unleash"))

    shop.switch(True)

    # The provider polls never: this can only have come by the stream.
    now = wait(driver, lambda: (now := seen())["openfeature"]["switched"] and now["unleash"]["switched"] and now)
    assert now["events"] == [["FF_SWITCH"]]
    assert now["errors"] == []
    until(lambda: shop.usage("browser-shop").get("FF_SWITCH"))


def test_a_page_that_comes_back_learns_what_changed(visit, driver, shop):
    """Its values and the address of its stream come from the local storage."""
    seen = visit()
    wait(driver, lambda: (now := seen()) and now.get("openfeature"))
    driver.get("about:blank")
    shop.switch(True)

    seen = visit_again(driver, visit)

    wait(driver, lambda: (now := seen()) and now.get("openfeature") and now["openfeature"]["switched"])
    shop.switch(False)
    wait(driver, lambda: not seen()["openfeature"]["switched"])


def visit_again(driver, visit):
    driver.back()
    driver.refresh()
    return lambda: driver.execute_script("return window.seen")


def test_a_page_of_another_origin_is_kept_out(visit, driver):
    seen = visit("localhost")

    found = wait(driver, lambda: (now := seen()) and len(now["errors"]) >= 2 and now)
    assert "openfeature" not in found
    assert not found.get("unleash", {}).get("italy")
