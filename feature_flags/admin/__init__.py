"""The staff's product: flags, who gets them and why, their history, segments, tokens, use."""

from feature_flags.admin import flags, history, readers, segments

__all__ = ["flags", "history", "readers", "segments"]
