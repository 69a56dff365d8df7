"""Announcements by staff to many users, in the product and by mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction

from lib.db import batches
from lib.errors import ProductError
from notifications.services.outbox import queue

if TYPE_CHECKING:
    from users.models import User

TYPE = "notifications.announcement"
LIMIT = 1_000
_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Announced:
    people: int
    #: Addresses no mail can be written to.
    refused: int = 0


def announce(
    people: Sequence[User], *, title: str, body: str, url: str = "", severity: str = "", key: str
) -> Announced:
    """Queue the announcement for each of up to 1,000 people; each user gets one `key` once.

    ProductError `TOO_MANY_RECIPIENTS`, or `ANNOUNCEMENT_INVALID` when it cannot be sent to any of them.
    """
    if len(people) > LIMIT:
        raise ProductError("TOO_MANY_RECIPIENTS", f"At most {LIMIT:,} people at a time.")
    context = {"title": title, "body": body, "url": url, "severity": severity}
    context = {name: value for name, value in context.items() if value or name in {"title", "body"}}
    # Sorted, so that two calls at once wait for each other and do not deadlock.
    people = sorted(people, key=lambda person: str(person.pk))
    refused, cause = 0, ""
    # Not one long transaction: on SQLite no one else could write meanwhile. A repeat with the same key does the rest.
    for some in batches(people, _AT_ONCE):
        with transaction.atomic():
            for person in some:
                try:
                    with transaction.atomic():
                        address = getattr(person, person.get_email_field_name())
                        queue(TYPE, to=address, context=context, user=person, event_key=f"{TYPE}:{key}:{person.pk}")
                except ValueError as error:
                    refused, cause = refused + 1, cause or str(error)
    if people and refused == len(people):
        raise ProductError("ANNOUNCEMENT_INVALID", f"It cannot be sent: {cause}")
    return Announced(len(people) - refused, refused)
