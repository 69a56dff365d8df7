"""The staff's product: flags, who gets them and why, their history, segments, tokens, use."""

from feature_flags.admin import flags, history, segments, tokens, usage

__all__ = ["flags", "history", "segments", "tokens", "usage"]
