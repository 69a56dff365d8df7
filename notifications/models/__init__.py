from notifications.models.inapp import InAppNotification
from notifications.models.outbox import Attempt, Message
from notifications.models.recipients import DeliveryEvent, Preference, Refusal, Suppression
from notifications.models.running import Chore, ProviderState, Worker
from notifications.models.templates import TemplateOverride

__all__ = [
    "Attempt",
    "Chore",
    "DeliveryEvent",
    "InAppNotification",
    "Message",
    "Preference",
    "ProviderState",
    "Refusal",
    "Suppression",
    "TemplateOverride",
    "Worker",
]
