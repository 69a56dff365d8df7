"""What happened, for programs outside: declared by the apps, published in the transaction of the change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.utils.functional import Promise


@dataclass(frozen=True)
class EventType:
    """`example` is the whole of what an event of this name carries (docs/webhooks.md shows it), and `permission` what
    staff need to see that."""

    name: str
    label: str | Promise
    permission: str
    example: Mapping[str, Any]


class Event(NamedTuple):
    """`subject` names what it happened to (`user:<id>`): events of one subject are sent in order. `data` is JSON."""

    name: str
    subject: str
    data: Mapping[str, Any]


_declared: dict[str, EventType] = {}
#: Keeps what is published; set once, while the apps start.
keeper: Callable[[Sequence[Event]], None] | None = None


def declare(name: str, label: str | Promise, permission: str, /, **example: Any) -> None:
    _declared[name] = EventType(name, label, permission, example)


def declared() -> list[EventType]:
    """Every event there is, by name."""
    return [_declared[name] for name in sorted(_declared)]


def find(name: str) -> EventType | None:
    """None for one that this version of the product does not know."""
    return _declared.get(name)


def publish(name: str, /, *, subject: str, **data: Any) -> None:
    """Call it in the transaction of the change: without its commit nothing is sent.

    Raises ValueError for an event that is not declared, or members other than those of its example.
    """
    publish_all([Event(name, subject, data)])


def publish_all(events: Sequence[Event]) -> None:
    """The same for many at once."""
    for event in events:
        if event.name not in _declared or event.data.keys() != _declared[event.name].example.keys():
            raise ValueError(f"not to be published: {event.name} with {sorted(event.data)}")
    if keeper is not None and events:
        keeper(events)
