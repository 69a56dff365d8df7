"""Seeds a migrated database of the product: `python -m benchmarks.flags.seed COUNT`; prints two tokens as JSON."""

import json
import os
import sys

import django

from benchmarks.flags import flagset

WHO = {"by": None, "by_label": "command:benchmark", "door": "command"}


def fill(count: int) -> dict[str, str]:
    """`count` flags with those that are declared in code; return a secret of each kind of token."""
    from django.db import transaction

    from feature_flags import flag_document
    from feature_flags.models import FeatureFlag, FlagRule, FlagVariant
    from feature_flags.services import storage, tokens

    missing = range(count - FeatureFlag.objects.count())
    documents = {number: flag_document.checked(flagset.document(number)) for number in missing}
    flags, rules, variants = {}, {}, []
    for number, document in documents.items():
        flags[number] = FeatureFlag()
        storage.fill(flags[number], document)
        for position, rule in enumerate(document["rules"]):
            own = {key: value for key, value in rule.items() if key not in {"segments", "variants"}}
            rules[number] = FlagRule(flag=flags[number], position=position, **own)
            for place, variant in enumerate(rule["variants"]):
                variants.append(FlagVariant(flag=flags[number], rule=rules[number], position=place, **variant))
    # Past the verbs, which write history: ten thousand of them would take longer than all measurements.
    with transaction.atomic():
        FeatureFlag.objects.bulk_create(flags.values(), batch_size=1000)
        FlagRule.objects.bulk_create(rules.values(), batch_size=1000)
        FlagVariant.objects.bulk_create(variants, batch_size=1000)
    return {kind: tokens.create_token("benchmark", kind=kind, **WHO)[1] for kind in ("server", "frontend")}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    print(json.dumps(fill(int(sys.argv[1]))))
