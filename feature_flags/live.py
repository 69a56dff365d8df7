"""Settings that hot paths read, as plain attributes: Django's own look-up costs half a microsecond each time."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.signals import setting_changed


class Live:
    """As in settings, also while a test has changed them."""

    environment: str
    hosts: tuple[str, ...]
    is_edge_on: bool
    offers_streams: bool

    def __init__(self) -> None:
        self.read()

    def read(self, **kwargs: Any) -> None:
        self.environment = settings.FLAGS_ENVIRONMENT
        self.hosts = tuple(settings.ALLOWED_HOSTS)
        self.is_edge_on = settings.FLAGS_EDGE
        self.offers_streams = settings.FLAGS_STREAMS_MAX > 0


live = Live()
setting_changed.connect(live.read)
