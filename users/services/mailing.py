"""How often mails are sent on a stranger's word, and on staff's."""

from __future__ import annotations

from lib.actors import Actor
from users.services import limiter


def count_mail(actor: Actor) -> None:
    """Count a mail asked for from the caller's IP address, sent or not; TOO_MANY_REQUESTS (429)."""
    limiter.count_ip(limiter.MAIL_IP, actor.request.ip)


def may_mail(kind: str, email: str) -> bool:
    """Whether one more mail of this kind may go to the address; beyond it callers are answered alike."""
    return _reserve(kind, email) is None


def require_mail(kind: str, email: str, *, actor: Actor) -> None:
    """Count a mail that staff ask for, by the same counters; TOO_MANY_REQUESTS (429)."""
    count_mail(actor)
    if block := _reserve(kind, email):
        raise limiter.too_many(block)


def _reserve(kind: str, email: str) -> limiter.Block | None:
    return limiter.reserve(*(limit.of(kind, email) for limit in limiter.MAIL))
