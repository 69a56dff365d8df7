"""Flags declared in code get their rows, and nothing that staff decided is touched."""

from __future__ import annotations

import logging

from django.db import transaction

from feature_flags import declarations
from feature_flags.models import FeatureFlag, FlagRevision, FlagSetState
from feature_flags.services import editing
from lib.actors import Actor
from lib.errors import ProductError

logger = logging.getLogger("switchboard.flags")


@transaction.atomic
def ensure_declared() -> list[str]:
    """Insert the declared flags that have no row yet, in their default state; return their names."""
    FlagSetState.objects.get_or_create(pk=1)
    taken = {codename.lower(): codename for codename in FeatureFlag.objects.values_list("codename", flat=True)}
    made = []
    for declaration in declarations.declared():
        twin = taken.get(declaration.codename.lower(), declaration.codename)
        if twin != declaration.codename:
            logger.warning("declared flag %s has no row: %s takes its name", declaration.codename, twin)
        elif declaration.codename.lower() not in taken and _insert(declaration):
            made.append(declaration.codename)
    return made


def _insert(declaration: declarations.Flag) -> bool:
    try:
        editing.create(
            declaration.codename,
            label=declaration.label or None,
            description=declaration.description or None,
            is_active=declaration.default,
            is_protected=declaration.protected,
            exposed=declaration.exposed,
            kind=declaration.kind,
            actor=Actor(FlagRevision.Door.DECLARATION, label="declaration"),
        )
    except ProductError as error:
        if error.code != "FLAG_EXISTS":
            raise
        # Another host migrating at the same time was quicker.
        return False
    return True
