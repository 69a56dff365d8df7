"""What this app publishes (lib/events.py), from its history; docs/webhooks.md shows each."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

from feature_flags import flag_document
from lib import events
from lib.actors import Actor
from lib.events import Event


def _declare(name: str, label: Any, **more: Any) -> None:
    about = {"codename": "FF_NEW_CHECKOUT", "actor": "6f1c2d3e4a5b46c7889901aabbccddee", "reason": "Ready for all"}
    events.declare(name, label, "feature_flags.view_featureflag", **{**about, **more})


_declare("flag.created", _("A flag was added"))
_declare("flag.switched", _("A flag was switched on or off"), **{"from": False, "to": True})
_declare("flag.changed", _("A flag was changed otherwise"), changed=["rules"], renamed_from=None)
_declare("flag.archived", _("A flag was put into the archive"))
_declare("flag.unarchived", _("A flag was taken out of the archive"))
_declare("flag.deleted", _("A flag was deleted"))


def of_change(
    pk: int, before: Mapping[str, Any], after: Mapping[str, Any], *, actor: Actor, reason: str
) -> list[Event]:
    """What a change of a flag's document is to those outside: of rules and targets the word `rules` alone."""
    data = {"codename": after.get("codename") or before["codename"], "actor": actor.label, "reason": reason}

    def event(name: str, **more: Any) -> Event:
        return Event(name, f"flag:{pk}", {**data, **more})

    if not (before.get("codename") and after.get("codename")):
        return [event("flag.created" if after else "flag.deleted")]
    changed = flag_document.diff(before, after)
    found = []
    if is_archived := changed.pop("is_archived", None):
        # Its switch goes with it.
        changed.pop("is_active", None)
        found.append(event("flag.archived" if is_archived[1] else "flag.unarchived"))
    if switched := changed.pop("is_active", None):
        found.append(event("flag.switched", **{"from": switched[0], "to": switched[1]}))
    if changed:
        old = changed.get("codename", [None])[0]
        found.append(event("flag.changed", changed=sorted(changed), renamed_from=old))
    return found
