"""Seeds a migrated database of the product: `python -m benchmarks.flags.seed COUNT`; prints two tokens as JSON."""

import json
import os
import sys

import django

from benchmarks.flags import flagset
from lib.actors import Actor

WHO = {"actor": Actor.command("benchmark")}


def fill(count: int) -> dict[str, str]:
    """`count` flags with those that are declared in code; return a secret of each kind of token."""
    from feature_flags import flag_document
    from feature_flags.models import FeatureFlag
    from feature_flags.services import tokens

    missing = range(count - FeatureFlag.objects.count())
    flags = [FeatureFlag() for _ in missing]
    for number, flag in zip(missing, flags, strict=True):
        flag.document = flag_document.checked(flagset.document(number))
    # Past the services, which write history: ten thousand rows more than the measurements need.
    FeatureFlag.objects.bulk_create(flags)
    return {kind: tokens.create_token("benchmark", kind=kind, **WHO)[1] for kind in ("server", "frontend")}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    print(json.dumps(fill(int(sys.argv[1]))))
