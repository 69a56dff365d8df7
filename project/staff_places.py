"""Where the things of the admin stand at the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.text import slugify

from lib.admin.verbs import in_english


@dataclass(frozen=True, slots=True)
class Place:
    """Where the verbs of a model stand: `path` of many, the word for one in operation ids, the field of the key."""

    path: str
    noun: str
    key: str = ""  #: The field the address names it by; the primary key unless set.


#: By label of the model; others stand by their names.
PLACES = {
    "users.User": Place("people", "person"),
    "users.UserSession": Place("sessions", "session"),
    "feature_flags.FeatureFlag": Place("flags", "flag", "codename"),
    "feature_flags.Segment": Place("segments", "segment", "name"),
    "feature_flags.FlagToken": Place("flag-tokens", "flag-token"),
    "users.ServiceAccount": Place("service-accounts", "service-account", "name"),
    "users.AuditEvent": Place("audit", "audit-event"),
    "auth.Group": Place("groups", "group", "name"),
    "notifications.Message": Place("messages", "message", "uid"),
    "notifications.ProviderState": Place("providers", "provider"),
}


def place_of(model: Any) -> Place:
    if known := PLACES.get(model._meta.label):
        return known
    with in_english():
        one, many = str(model._meta.verbose_name), str(model._meta.verbose_name_plural)
    return Place(slugify(many), slugify(one))


def camel(name: str) -> str:
    """`send-code person` → `SendCodePerson`."""
    return "".join(word.capitalize() for word in name.replace("_", " ").replace("-", " ").split())
