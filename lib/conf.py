"""Settings that hot paths read, as plain attributes: Django's own look-up costs half a microsecond each time."""

from typing import Any

from django.conf import settings
from django.core.signals import setting_changed


class Conf:
    """As in settings, also while a test has changed them; read at first use, not at import."""

    def __getattr__(self, name: str) -> Any:
        value = self.__dict__[name] = getattr(settings, name)
        return value

    def forget(self, **kwargs: Any) -> None:
        self.__dict__.clear()


conf = Conf()
setting_changed.connect(conf.forget)
