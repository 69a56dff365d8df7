"""Takes the pictures of the README in a headless Chromium: `make pictures`. A server of a database filled by
`manage.py demo`; afterwards both are gone. A strip is a task in three frames, side by side."""

import base64
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from selenium.webdriver.common.keys import Keys

from project.tests.browser import chromium, find, focused, resize, type_keys, wait

IMAGES = Path(__file__).resolve().parent / "images"
WIDE, FRAME = (1280, 860), (1180, 760)

_SIGN_IN = """
from django.test import Client
from users.models import User

client = Client()
client.force_login(User.objects.create_superuser("root@example.org", first_name="Root"))
print(client.cookies["sessionid"].value)
"""
_WHERE = """
from feature_flags.models import FeatureFlag
from notifications.models import Message
from users.models import User

flags, people = FeatureFlag.objects, User.objects.filter(email__endswith="demo.example", sessions__isnull=False)
print(flags.get(codename="FF_DEMO_BETA_GROUP").pk, flags.get(codename="FF_DEMO_MAPS").pk,
      Message.objects.filter(state="failed").first().pk, people.first().pk)
"""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Where a server of a database with a demo answers, and its settings."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    settings = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {
        "ENV_FILE": "",
        "DEBUG": "1",
        "PORT": port,
        "DATABASE_URL": f"sqlite:///{folder}/pictures.sqlite3",
        "USERS_STAFF_MFA": "optional",
    }
    manage(settings, "migrate", "-v0")
    manage(settings, "demo")
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([sys.executable, "manage.py", "serve"], env=settings, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            while not is_ready(url):
                time.sleep(0.2)
            yield url, settings
        finally:
            server.terminate()
            server.wait()


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/readyz") as answer:  # noqa: S310  (our own)
            return bool(answer.status == 200)
    except OSError:
        return False


def manage(settings: dict[str, str], *words: str, given: str = "") -> str:
    """The last line that a command prints."""
    command = [sys.executable, "manage.py", *words]
    done = subprocess.run(command, env=settings, input=given, capture_output=True, text=True, check=True)
    return (done.stdout.strip().splitlines() or [""])[-1]


def strip(driver, frames: list[str], name: str) -> None:
    """The frames side by side, laid out by the browser itself."""
    width = FRAME[0] * len(frames) // 2
    images = "".join(
        f'<img src="data:image/png;base64,{frame}" style="width:{FRAME[0] // 2 - 8}px">' for frame in frames
    )
    page = f"<style>body {{ margin: 0; display: flex; gap: 8px; background: #888 }}</style>{images}"
    driver.get("data:text/html;base64," + base64.b64encode(page.encode()).decode())
    resize(driver, (width, FRAME[1] // 2))
    driver.save_screenshot(str(IMAGES / name))
    resize(driver, WIDE)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as (url, settings):
        session = manage(settings, "shell", "-v0", given=_SIGN_IN)
        ruled, plain, failed, person = manage(settings, "shell", "-v0", given=_WHERE).split()
        with chromium(Path(folder) / "profile", size=WIDE) as driver:
            driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
            driver.get(url + "/admin/login/")
            driver.add_cookie({"name": "sessionid", "value": session, "path": "/"})
            pages = {
                "admin-overview": "",
                "admin-flags": "feature_flags/featureflag/",
                "admin-flag-form": f"feature_flags/featureflag/{ruled}/change/",
                "admin-flag-who": f"feature_flags/featureflag/{ruled}/who/?user={person}",
                "admin-message": f"notifications/message/{failed}/change/",
                "admin-users": f"users/user/{person}/change/",
                "admin-activity": "activity/",
            }
            for name, path in pages.items():
                driver.get(f"{url}/admin/{path}")
                driver.save_screenshot(str(IMAGES / f"{name}.png"))
            strip(driver, find_a_person(driver, url), "strip-find.png")
            strip(driver, a_tenth_of_a_domain(driver, url, plain), "strip-rule.png")
            strip(driver, a_failed_mail(driver, url), "strip-mail.png")


def press(driver, css: str) -> None:
    """In the middle of the window, where nothing that sticks to its edge lies on it."""
    button = find(driver, css)
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()


def find_a_person(driver, url: str) -> list[str]:
    resize(driver, FRAME)
    driver.get(url + "/admin/")
    frames = [driver.get_screenshot_as_base64()]
    type_keys(driver, "/")
    focused(driver, "#finder input")
    type_keys(driver, "ilva")
    wait(driver, lambda: "ilva" in find(driver, "#finder [role=option][aria-selected=true]").text.lower())
    frames.append(driver.get_screenshot_as_base64())
    type_keys(driver, Keys.ENTER)
    wait(driver, lambda: "/users/user/" in driver.current_url)
    return [*frames, driver.get_screenshot_as_base64()]


def a_tenth_of_a_domain(driver, url: str, flag: str) -> list[str]:
    resize(driver, FRAME)
    driver.get(f"{url}/admin/feature_flags/featureflag/{flag}/change/")
    frames = [driver.get_screenshot_as_base64()]
    press(driver, 'button[value="domain rules"]')
    box = find(driver, '[name="rules-0-constraints-0-values"]')
    box.send_keys("example.org")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    frames.append(driver.get_screenshot_as_base64())
    press(driver, '[name="_preview"]')
    shown = find(driver, ".preview-lines")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", shown)
    return [*frames, driver.get_screenshot_as_base64()]


def a_failed_mail(driver, url: str) -> list[str]:
    resize(driver, FRAME)
    listing = url + "/admin/notifications/message/?state__exact=failed"
    driver.get(listing)
    frames = [driver.get_screenshot_as_base64()]
    press(driver, "#result_list th a")
    frames.append(driver.get_screenshot_as_base64())
    driver.get(listing)
    press(driver, "#result_list button.verb-retry")
    press(driver, ".submit-row input.default")
    find(driver, ".messagelist li")
    return [*frames, driver.get_screenshot_as_base64()]


if __name__ == "__main__":
    main()
