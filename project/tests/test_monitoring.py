"""What Prometheus and Grafana are given asks for figures that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from django.conf import settings

from project.tests.test_metrics import TOKEN
from users.audit_events import EVENTS

DEPLOY = Path(settings.BASE_DIR) / "deploy"
RULES = DEPLOY / "prometheus/alerts.yml"
NAME = re.compile(r"\b(?:http|process|switchboard|flags|hashing|notifications|webhooks)_[a-z_]+\b")


def rules():
    return yaml.safe_load(RULES.read_text())["groups"][0]["rules"]


def panels():
    return json.loads((DEPLOY / "grafana/switchboard.json").read_text())["panels"]


@pytest.fixture
def scraped(client, settings, db):
    settings.METRICS_TOKEN = TOKEN
    text = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).content.decode()
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def test_every_figure_of_the_alerts_and_the_dashboard_is_scraped(scraped):
    known = set(scraped) | {
        name + suffix
        for name, kind in scraped.items()
        if kind == "histogram"
        for suffix in ("_bucket", "_sum", "_count")
    }
    asked = [rule["expr"] for rule in rules()] + [target["expr"] for panel in panels() for target in panel["targets"]]

    found = {name for expression in asked for name in NAME.findall(expression)}

    assert len(found) > 20
    assert found <= known
    assert {event for expression in asked for event in re.findall(r'event="([^"]+)"', expression)} <= EVENTS.keys()


def test_every_alert_and_every_figure_is_explained(scraped):
    page = (Path(settings.BASE_DIR) / "docs/monitoring.md").read_text()

    assert [rule["alert"] for rule in rules() if f"`{rule['alert']}`" not in page] == []
    assert [name for name in scraped if f"`{name}`" not in page] == []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package prometheus brings promtool")
@pytest.mark.parametrize("arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_promtool_takes_the_rules(arguments):
    done = subprocess.run(["promtool", *arguments], cwd=RULES.parent, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
