"""The product's settings, and the two types of mail that the benchmark queues."""

from pathlib import Path

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS, TEMPLATES

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.notifications.types.TypesConfig"]
TEMPLATES = [{**TEMPLATES[0], "DIRS": [*TEMPLATES[0]["DIRS"], Path(__file__).parent / "templates"]}]
