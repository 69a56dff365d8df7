"""Delivery inside a running server: one pool of threads per process."""

import json
import re

import httpx
import pytest

from project.tests.conftest import METRICS_TOKEN
from project.tests.processes import until


def workers(server):
    return json.loads(server.command("notifications_status", "--json").stdout)["workers"]


@pytest.mark.database
def test_each_process_has_one_pool(server):
    """That none is left after a stop, feature_flags/tests/test_stream_served.py shows."""
    pool = until(lambda: len(found := workers(server)) == 2 and found)
    scraped = {"url": server.url + "/metrics", "headers": {"Authorization": f"Bearer {METRICS_TOKEN}"}}
    # One scrape sees both processes, each of which tells the others once a second.
    until(lambda: len(re.findall(r"^process_resident_memory_bytes\{pid=", httpx.get(**scraped).text, re.M)) == 2)
    figures = httpx.get(**scraped)
    hidden = httpx.get(server.url + "/metrics")

    assert len({worker["pid"] for worker in pool}) == 2
    assert len(re.findall("^switchboard_database_up.*$", figures.text, re.M)) == 1
    assert {worker["engine"] for worker in pool} == {"embedded"}
    assert "\nnotifications_worker_last_beat_seconds " in figures.text
    assert (hidden.status_code, hidden.json()["detail"]) == (404, "Not Found")
