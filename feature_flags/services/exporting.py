"""All flags and segments as one file."""

from __future__ import annotations

from django.utils import timezone

from feature_flags.formats import switchboard, unleash
from feature_flags.models import FeatureFlag, Segment
from feature_flags.runtime import snapshot

FORMATS = ("switchboard", "unleash")


def text(name: str, *, has_segments: bool = True) -> str:
    """The file in this format; our own can do without segments."""
    if name == "unleash":
        # Not the store's: that would start a watcher, and serve what it knows when the database is away.
        return unleash.dump(snapshot.build(None, timezone.now()).features.body)
    with snapshot.one_view():
        documents = FeatureFlag.objects.documents().values()
        segments = [segment.document for segment in Segment.objects.all()] if has_segments else []
    return switchboard.dump(documents, segments)
