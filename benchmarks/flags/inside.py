"""In one process: what a question to the Python API costs, beside the same question to django-waffle.

`python -m benchmarks.flags.inside REPEATS`, with a DATABASE_URL it may fill; prints the figures of each round as JSON.
"""

import json
import os
import sys
from collections import defaultdict
from itertools import cycle
from timeit import Timer
from typing import Any

import django

from benchmarks import report
from benchmarks.flags import children, flagset, seed

#: What is timed, in the order of the report. `people` are mappings, `request` is the same signed-in person for both.
QUESTIONS = {
    "plain": "is_enabled(PLAIN, request)",
    "rollout": "is_enabled(ROLLOUT, next(people))",
    "constraints": "is_enabled(CONSTRAINTS, next(people))",
    "variant": "variant(VARIANT, next(people))",
    "rollout_request": "is_enabled(ROLLOUT, request)",
    "waffle_plain": "flag_is_active(request, PLAIN)",
    "waffle_percent": "flag_is_active(request, ROLLOUT)",
}


def microseconds(question: str, names: dict[str, Any]) -> float:
    """Of one call, the best of five short runs: what the machine does beside it only adds."""
    timer = Timer(question, globals=names)
    number = max(timer.autorange()[0] // 4, 1)
    return min(timer.repeat(5, number)) / number * 1e6


def queries(names: dict[str, Any]) -> int:
    """Asked of the database while each of our questions is asked a hundred times."""
    from django.db import connection

    seen = []

    def count(execute, sql, *rest):
        seen.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(count):
        for name, question in QUESTIONS.items():
            if not name.startswith("waffle"):
                Timer(question, globals=names).timeit(100)
    return len(seen)


def prepare() -> dict[str, Any]:
    """Flags and a person; the names that QUESTIONS use."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.test import RequestFactory
    from waffle import flag_is_active
    from waffle.models import Flag

    from feature_flags import evaluation as flags

    call_command("migrate", verbosity=0)
    seed.fill(100)
    Flag.objects.create(name=flagset.PLAIN, everyone=True)
    Flag.objects.create(name=flagset.ROLLOUT, percent=50)
    # One request for all calls: waffle draws once for a request and then knows, which is its quickest way.
    request = RequestFactory().get("/")
    request.user = get_user_model().objects.create_user("ada@example.org", None)
    names = {name: getattr(flagset, name) for name in ("PLAIN", "ROLLOUT", "CONSTRAINTS", "VARIANT")}
    people = cycle([flagset.context(person) for person in range(flagset.PEOPLE)])
    names |= {"is_enabled": flags.is_enabled, "variant": flags.variant, "flag_is_active": flag_is_active}
    return {**names, "request": request, "people": people}


def check(names: dict[str, Any]) -> None:
    """Both sides must give the answers that are to be timed, and ask nobody for them."""
    ask, ask_waffle, request = names["is_enabled"], names["flag_is_active"], names["request"]
    on = sum(ask(flagset.ROLLOUT, flagset.context(person)) for person in range(1000))
    answers = [
        ask(flagset.PLAIN, request) is True,
        ask_waffle(request, flagset.PLAIN) is True,
        400 < on < 600,
        ask(flagset.CONSTRAINTS, flagset.context(0)) is True,
        names["variant"](flagset.VARIANT, flagset.context(0)).payload is not None,
    ]
    if not all(answers):
        sys.exit(f"Not the answers that were to be timed: {answers}, {on} of 1000 in the rollout.")
    for question in QUESTIONS.values():
        Timer(question, globals=names).timeit(100)


def measure(database_url: str, *, repeats: int) -> report.Samples:
    """`samples["inside", figure]`, in a process of its own: microseconds, and how many queries there were."""
    figures = children.answer("benchmarks.flags.inside", str(repeats), env=children.environment(database_url))
    return {("inside", name): values for name, values in figures.items()}


def main() -> None:
    names = prepare()
    check(names)
    samples = defaultdict(list)
    for _ in range(int(sys.argv[1])):
        for name, question in QUESTIONS.items():
            samples[name].append(microseconds(question, names))
    samples["queries"].append(queries(names))
    print(json.dumps(samples))


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.flags.with_waffle"
    django.setup()
    main()
