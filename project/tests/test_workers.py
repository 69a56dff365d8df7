"""Delivery inside a running server: one pool of threads per process, gone after a clean stop."""

import json

import httpx
import pytest

from project.tests.processes import serving, until

TOKEN = "metrics-0123456789-abcdefghijklmnopqrstuv"


def workers(server):
    return json.loads(server.command("notifications_status", "--json").stdout)["workers"]


@pytest.mark.database
def test_each_process_has_one_pool_and_none_is_left_after_a_stop(tmp_path):
    with serving(tmp_path, WEB_CONCURRENCY="2", METRICS_TOKEN=TOKEN) as server:
        pool = until(lambda: len(found := workers(server)) == 2 and found)
        figures = httpx.get(server.url + "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        hidden = httpx.get(server.url + "/metrics")
        server.stop()

        assert workers(server) == []

    assert len({worker["pid"] for worker in pool}) == 2
    assert {worker["engine"] for worker in pool} == {"embedded"}
    assert "\nnotifications_worker_last_beat_seconds " in figures.text
    assert (hidden.status_code, hidden.json()["detail"]) == (404, "Not Found")
