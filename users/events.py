"""What this app publishes (lib/events.py): events of the audit log, in the same transaction; docs/webhooks.md."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from lib import events

_ID = "6f1c2d3e4a5b46c7889901aabbccddee"
_SESSION = "9a0b1c2d3e4f40516273849506a7b8c9"


def _declare(name: str, label: Any, **more: Any) -> None:
    about = {"id": _ID, "email": "ada@example.org", "actor": _ID, "reason": ""}
    events.declare(name, label, "users.view_user", **{**about, **more})


_declare("user.registered", _("Someone registered an address, which is not verified yet"))
_declare("user.created", _("Staff or an operator added an account"), actor="command:create_admin")
_declare("user.verified", _("An address was verified"))
_declare("user.updated", _("Staff changed names or rights of an account"), changed=["first_name"])
_declare("user.activated", _("An account was activated"), actor="command:activate_user")
_declare("user.deactivated", _("An account was deactivated"), reason="left the company")
_declare("user.email_changed", _("An account has another address"))
_declare("user.deletion_requested", _("An owner asked for the account to be deleted"))
_declare("user.deletion_undone", _("An owner took a deletion back"))
_declare("user.deleted", _("An account was deleted"), actor="schedule:deletion", reason="requested")
_declare("session.replay", _("A copied session was found and ended"), session_id=_SESSION)

for _name, _label, _state in (
    ("proposal.created", _("An agent proposed a change"), "pending"),
    ("proposal.decided", _("A person decided about a proposal"), "approved"),
):
    _more: Any = {"operation": "switch_on_flag", "key": "sbk_4kq9PmZ2", "state": _state, "actor": _ID}
    events.declare(_name, _label, "users.view_proposal", id=_SESSION, **_more)

#: By the event of the audit log: the one that is published, and the outcome it takes. Imports publish nothing.
PUBLISHED = {
    **{name: (name, "ok") for name in (kind.name for kind in events.declared()) if name.startswith("user.")},
    "email.changed": ("user.email_changed", "ok"),
    "email.undone": ("user.email_changed", "ok"),
    "session.replay": ("session.replay", "refused"),
}
