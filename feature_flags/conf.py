"""Settings that hot paths read, as plain attributes: Django's own look-up costs half a microsecond each time."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.signals import setting_changed


class Conf:
    """As in settings, also while a test has changed them; read at first use, not at import."""

    environment: str
    hosts: tuple[str, ...]
    is_edge_on: bool
    offers_streams: bool

    def __getattr__(self, name: str) -> Any:
        if name not in Conf.__annotations__:
            raise AttributeError(name)
        self.environment = settings.FLAGS_ENVIRONMENT
        self.hosts = tuple(settings.ALLOWED_HOSTS)
        self.is_edge_on = settings.FLAGS_EDGE
        self.offers_streams = settings.FLAGS_STREAMS_MAX > 0
        return self.__dict__[name]

    def forget(self, **kwargs: Any) -> None:
        self.__dict__.clear()


conf = Conf()
setting_changed.connect(conf.forget)
