"""Whether the way out is open."""

from __future__ import annotations

from notifications.models import ProviderState


def pause_provider(alias: str, *, by_label: str, reason: str) -> None:
    """Stop sending this way until somebody resumes."""
    paused = {"paused": True, "paused_until": None, "paused_by": by_label[:64], "reason": reason[:500]}
    ProviderState.objects.update_or_create(alias=alias, defaults=paused)


def resume_provider(alias: str, *, by_label: str) -> None:
    """End the pause."""
    ProviderState.objects.filter(alias=alias).update(
        paused=False, paused_until=None, paused_by="", reason="", failures=0
    )


def provider_states() -> list[ProviderState]:
    return list(ProviderState.objects.order_by("alias"))
