"""The database of a benchmark, asked in JSON: `python -m benchmarks.accounts.box`."""

import os
from collections import Counter
from importlib import import_module
from typing import Any
from uuid import UUID

import django

from benchmarks import seed
from benchmarks.notifications import verbs
from lib.actors import Actor

WHO = {"actor": Actor.command("benchmark")}


def people(first: int, count: int, fields: dict[str, Any]) -> None:
    """`count` people from number `first` on; one hash for all, since making each would take longer than measuring."""
    from django.contrib.auth.hashers import make_password
    from django.utils import timezone

    from users.models import User

    common = {"password": make_password(seed.PASSWORD), "email_verified_at": timezone.now()}
    common |= {"first_name": seed.FIRST_NAME, "last_name": seed.LAST_NAME, **fields}
    numbers = range(first, first + count)
    User.objects.bulk_create((User(email=seed.email(number), **common) for number in numbers), batch_size=500)


def something_to_see(email: str) -> dict[str, str]:
    """A notification and a mail for one person, and what stands for them in paths."""
    from notifications.models import InAppNotification, Message
    from notifications.services import outbox, preferences
    from users.models import User

    context = {"title": "Hello", "body": "A word to all."}
    outbox.queue("notifications.announcement", to=email, user=User.objects.get(email=email), context=context)
    return {
        "notification_id": str(InAppNotification.objects.latest("pk").pk),
        "uid": str(Message.objects.latest("pk").uid),
        "code": "users.welcome",
        "type": "users.welcome",
        "language": "en",
        "token": preferences.unsubscribe_url(email, "announcement").rpartition("/")[2],
    }


def api_keys(first: int, count: int) -> list[list[str]]:
    """A key with every scope for each of `count` people from number `first` on: its id and secret."""
    from users.models import User
    from users.services import api_keys, key_scopes

    owners = [User.objects.get(email=seed.email(number)) for number in range(first, first + count)]
    made = (api_keys.create(owner, name="benchmark", scopes=key_scopes.SCOPES, **WHO) for owner in owners)
    return [[key.pk.hex, secret] for key, secret in made]


def staff_things(most: int) -> dict[str, list[str]]:
    """A playground, and keys of what is there: by the part of the path under `/api/staff` that says of what."""
    from django.conf import settings
    from django.contrib import admin

    from project import demo
    from project.staff_places import place_of

    import_module(settings.ROOT_URLCONF)  # which finds the pages
    demo.fill(**WHO)
    flag_tokens()  # which the cases revoke, and not those they come with
    found = {}
    for model in admin.site._registry:
        place = place_of(model)
        keys = [getattr(row, place.key or "pk") for row in model._default_manager.all()[:most]]
        found[place.path] = [key.hex if isinstance(key, UUID) else str(key) for key in keys]
    return {path: keys for path, keys in found.items() if keys}


def flag_tokens() -> dict[str, str]:
    from feature_flags.services import tokens

    return {kind: tokens.create_token("benchmark", kind=kind, **WHO)[1] for kind in ("server", "frontend")}


def chains() -> dict[str, int]:
    """How the refresh tokens hang together. A fork: a session with more than one token that was not used yet."""
    from users.models import RefreshToken

    unused = Counter(RefreshToken.objects.filter(used_at=None).values_list("session_id", flat=True))
    return {
        "sessions": len(unused),
        "tokens": RefreshToken.objects.count(),
        "forks": sum(count - 1 for count in unused.values()),
    }


def attempts() -> list[int]:
    """Guesses counted for each code that is open."""
    from users.models import OneTimeToken

    return list(OneTimeToken.objects.filter(purpose="verify", used_at=None).values_list("attempts", flat=True))


def forget_limits() -> None:
    from users.models import RateBucket

    RateBucket.objects.all().delete()


def make_superuser(email: str) -> None:
    from users.models import User

    User.objects.filter(email=email).update(is_staff=True, is_superuser=True)


def count_unsent() -> int:
    from notifications.models import Message

    return Message.objects.filter(state__in=Message.OPEN).count()


def rename_table(name: str, other: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {name} RENAME TO {other}")


def cells() -> list[list[str]]:
    """Every value of every table as text: [table.column, value]. Bytes are shown as they are and in hexadecimal."""
    from django.db import connection

    found = set()
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            names = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                for name, value in zip(names, row, strict=True):
                    found.update((f"{table}.{name}", text) for text in _texts(value))
    return sorted(map(list, found))


def _texts(value: Any) -> list[str]:
    if isinstance(value, (bytes, memoryview)):
        raw = bytes(value)
        return [raw.decode("latin-1"), raw.hex()]
    return [] if value is None else [str(value)]


def main() -> None:
    filling = (people, make_superuser, something_to_see, staff_things, api_keys, flag_tokens)
    changing = (forget_limits, rename_table)
    reading = (chains, attempts, count_unsent, cells)
    verbs.serve({verb.__name__: verb for verb in (*filling, *changing, *reading)})


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    main()
