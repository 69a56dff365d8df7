"""Seeds the product's own database: `python -m benchmarks.seed_data`, after `migrate`."""

import os

import django

from benchmarks import seed


def main() -> None:
    from django.contrib.auth import get_user_model
    from django.contrib.auth.hashers import make_password
    from django.utils import timezone

    from feature_flags.models import FeatureFlag

    # Declared flags exist after `migrate` and count: the list is as long as the peers'.
    missing = seed.FLAGS - FeatureFlag.objects.count()
    FeatureFlag.objects.bulk_create(FeatureFlag(**seed.flag(number)) for number in range(missing))
    # One hash for all: making a hundred would take longer than a measurement.
    password, now = make_password(seed.PASSWORD), timezone.now()
    User = get_user_model()  # noqa: N806
    User.objects.bulk_create(
        User(
            email=seed.email(number),
            password=password,
            first_name=seed.FIRST_NAME,
            last_name=seed.LAST_NAME,
            email_verified_at=now,
        )
        for number in range(seed.PEOPLE)
    )


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    main()
