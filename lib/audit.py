"""What staff did in the apps below `users`, whose audit log keeps it."""

from __future__ import annotations

from typing import Any, Protocol

from lib.actors import Actor


class Keeper(Protocol):
    def __call__(self, actor: Actor, event: str, /, **details: Any) -> None: ...


_keepers: list[Keeper] = []


def keep(keeper: Keeper) -> None:
    """From now on `keeper` writes what is noted; called once, while the apps start."""
    _keepers[:] = [keeper]


def note(actor: Actor, event: str, /, **details: Any) -> None:
    """Record what the actor did, in the transaction that does it.

    `email` or `user_id` is the account concerned, `reason` a text typed by staff; further keys are listed in
    users/services/audit.py.
    """
    for keeper in _keepers:
        keeper(actor, event, **details)
