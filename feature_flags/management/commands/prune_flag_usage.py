from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from feature_flags.runtime import usage
from lib.commands import Command as BaseCommand
from lib.commands import whole_number_from


class Command(BaseCommand):
    help = "Remove what was counted about the use of flags, but for the last days."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--days",
            type=whole_number_from(1, 36_500),
            default=settings.FLAGS_USAGE_KEEP_DAYS,
            help="how many to keep (default: %(default)s, FLAGS_USAGE_KEEP_DAYS)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        removed = sum(usage.prune(timezone.now() - timedelta(days=options["days"])))
        self.stdout.write(f"{removed} row{'' if removed == 1 else 's'} removed.")
