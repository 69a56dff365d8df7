"""Tickets open a stream of “something changed” and nothing else: browsers cannot send a token with an EventSource."""

from __future__ import annotations

from functools import lru_cache

from django.utils.crypto import constant_time_compare, salted_hmac

from lib.text import whole_number

# Whoever asks within the same slot gets the same ticket, so that a page need not reconnect for a new one.
_SLOT_SECONDS = 6 * 3600
#: Good for at least 12 hours, at most 18.
_SLOTS = 3


def slot(now: float) -> int:
    return int(now // _SLOT_SECONDS)


@lru_cache(maxsize=1024)
def make(token_id: int, issued: int) -> str:
    """The ticket of a token for the slot `issued`: its id, the slot, and a mac over both."""
    return f"{token_id}.{issued}.{_mac(token_id, issued)}"


def token_id(ticket: str, now: float) -> int | None:
    """Whose ticket this is; None for one that is forged, broken or too old."""
    parts = ticket.split(".")
    if len(parts) != 3:
        return None
    owner, issued = whole_number(parts[0]), whole_number(parts[1])
    if owner is None or issued is None:
        return None
    is_ours = constant_time_compare(parts[2], _mac(owner, issued))
    return owner if is_ours and slot(now) < issued + _SLOTS else None


def _mac(token_id: int, issued: int) -> str:
    return salted_hmac("feature_flags.tickets", f"{token_id}.{issued}", algorithm="sha256").hexdigest()[:32]
