"""Flags declared in code get their rows, and nothing that staff decided is touched."""

from __future__ import annotations

import logging

from django.db import transaction

from feature_flags import declarations, flag_document
from feature_flags.models import FeatureFlag, FlagRevision, FlagSetState
from feature_flags.services.editing import insert
from feature_flags.services.revisions import touch
from lib.errors import ProductError

logger = logging.getLogger("switchboard.flags")


@transaction.atomic
def ensure_declared() -> list[str]:
    """Insert the declared flags that have no row yet, in their default state; return their names."""
    FlagSetState.objects.get_or_create(pk=1)
    taken = {codename.lower(): codename for codename in FeatureFlag.objects.values_list("codename", flat=True)}
    made = []
    for declaration in declarations.declared():
        twin = taken.get(declaration.codename.lower())
        if twin is None:
            made += _insert(declaration)
        elif twin != declaration.codename:
            logger.warning("declared flag %s has no row: %s takes its name", declaration.codename, twin)
    if made:
        touch([flag.pk for flag in made])
    return [flag.codename for flag in made]


def _insert(declaration: declarations.Flag) -> list[FeatureFlag]:
    document = flag_document.checked(
        {
            "codename": declaration.codename,
            "label": declaration.label or None,
            "description": declaration.description or None,
            "is_active": declaration.default,
            "is_protected": declaration.protected,
            "exposed": declaration.exposed,
            "kind": declaration.kind,
        }
    )
    door = FlagRevision.Door.DECLARATION
    try:
        return [insert(document, FlagRevision.Action.CREATE, by=None, by_label="declaration", door=door)]
    except ProductError as error:
        if error.code != "FLAG_EXISTS":
            raise
        # Another host migrating at the same time was quicker.
        return []
