from datetime import datetime
from typing import Any

from django.apps import AppConfig, apps
from django.apps.registry import Apps
from django.conf import settings
from django.core import checks
from django.db import DEFAULT_DB_ALIAS
from django.db.models.signals import post_migrate
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from lib.commands import SETTINGS


class FeatureFlagsConfig(AppConfig):
    name = "feature_flags"
    verbose_name = _("Feature flags")

    def ready(self) -> None:
        from feature_flags import declarations, events  # noqa: F401  (declares what this app publishes)
        from feature_flags.engine import words
        from feature_flags.runtime import store

        words.translator = gettext
        store.apply_due = _apply_due
        checks.register(declarations.check_declarations, SETTINGS)
        post_migrate.connect(_after_migrate, sender=self)


def _apply_due(now: datetime) -> None:
    from feature_flags.services import schedules

    schedules.apply_due(now)


def _after_migrate(*, using: str, apps: Apps = apps, **kwargs: Any) -> None:
    """Give every declared flag its row. Also runs after `flush`, which the tests of transactions end with."""
    from feature_flags.runtime import store
    from feature_flags.services import editing, tokens

    store.put(None)
    if using == DEFAULT_DB_ALIAS and _is_migrated(apps):
        editing.ensure_declared()
        if settings.DEBUG:
            secrets = tokens.create_development_tokens()
            if secrets:
                print("Flag tokens for development (shown only now):")
            for kind, secret in secrets.items():
                print(f"  {kind:8}  {secret}")


def _is_migrated(migrated: Apps) -> bool:
    """Whether the tables are what the code expects: `migrate` may have gone back, or only part of the way."""
    for model in apps.get_app_config("feature_flags").get_models():
        try:
            there = migrated.get_model("feature_flags", model.__name__)
        except LookupError:
            return False
        if {field.column for field in there._meta.fields} != {field.column for field in model._meta.fields}:
            return False
    return True
