"""What staff see of messages and of whom they go to, and what they press."""

from notifications.admin import announcements, inapp, messages, overview, recipients, templates, webhooks

__all__ = ["announcements", "inapp", "messages", "overview", "recipients", "templates", "webhooks"]
