import sys
from argparse import ArgumentParser
from io import TextIOWrapper
from typing import Any

from django.utils import timezone

from feature_flags.formats import switchboard, unleash
from feature_flags.models import FeatureFlag, Segment
from feature_flags.runtime import snapshot
from lib.commands import Command as BaseCommand


class Command(BaseCommand):
    help = "Write all flags and segments to stdout: as our own format, or as the document Unleash clients read."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--format", choices=("switchboard", "unleash"), default="switchboard")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["format"] == "unleash":
            # Not the store's: that would start a watcher, and serve what it knows when the database is away.
            text = unleash.dump(snapshot.build(None, timezone.now()).features.body)
        else:
            with snapshot.one_view():
                documents = FeatureFlag.objects.documents().values()
                segments = [segment.document for segment in Segment.objects.all()]
            text = switchboard.dump(documents, segments)
        if isinstance(sys.stdout, TextIOWrapper):
            # A file of ours is UTF-8, whatever the terminal speaks, and the same bytes everywhere.
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        self.stdout.write(text, ending="")
