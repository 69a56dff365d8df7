"""What staff did, for the trail that the app of accounts keeps: the apps below it say it here."""

from __future__ import annotations

from typing import Any, Protocol

from django.http import HttpRequest


class Keeper(Protocol):
    def __call__(self, request: HttpRequest, event: str, /, **details: Any) -> None: ...


_keepers: list[Keeper] = []


def keep(keeper: Keeper) -> None:
    """From now on `keeper` writes what is noted; called once, while the apps start."""
    _keepers[:] = [keeper]


def note(request: HttpRequest, event: str, /, **details: Any) -> None:
    """Put on record what whoever sent the request did, in the transaction that does it.

    `email` or `user_id` says to whom, `reason` is in their own words; what else there may be is listed in
    users/services/audit.py.
    """
    for keeper in _keepers:
        keeper(request, event, **details)
