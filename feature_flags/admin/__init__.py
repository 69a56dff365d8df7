"""The staff's product: flags, who gets them and why, their history, segments, tokens, use."""

from feature_flags.admin import clients, flags, history, segments

__all__ = ["clients", "flags", "history", "segments"]
