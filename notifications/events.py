"""What this app publishes (lib/events.py); docs/webhooks.md shows each."""

from django.utils.translation import gettext_lazy as _

from lib.events import declare

declare(
    "message.failed",
    _("A mail failed for good"),
    "notifications.view_message",
    id="0b0e31e3-9a3c-4f8e-9b60-2f3a0c5d7e11",
    type="users.welcome",
    to="ada@example.org",
    user_id="6f1c2d3e4a5b46c7889901aabbccddee",
    reason="refused",
    code="550",
)
declare(
    "address.suppressed",
    _("An address is written to no more, or less"),
    "notifications.view_suppression",
    address="ada@example.org",
    scope="all",
    reason="bounce",
    until="2026-12-30T12:50:00Z",
)
declare(
    "webhook.test",
    _("A test that staff sent"),
    "notifications.view_webhookendpoint",
    endpoint="CRM",
    actor="6f1c2d3e4a5b46c7889901aabbccddee",
)
