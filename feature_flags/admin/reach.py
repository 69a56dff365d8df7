"""Whom a flag reaches: who got what of it, hour by hour, and what a save would change, before it is done."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Sum
from django.utils.translation import gettext

from feature_flags import descriptions, flag_document
from feature_flags.context import flat
from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.model import RANDOM
from feature_flags.flag_document import Document
from feature_flags.models import FlagUsage
from feature_flags.runtime import store
from feature_flags.unleash_feature import definition
from lib import hourly
from lib.admin.charts import Chart, Series, hour_labels

VARIANTS_DRAWN = 4
#: How many of the newest people are looked at: an estimate, in a few hundredths of a second.
LOOKED_AT = 1_000


def chart(codename: str, now: datetime) -> Chart | None:
    """Answers by the hour of the last seven days, by one statement: each variant, what is on without one, and no.

    None for a flag that was not asked for in them.
    """
    hours = hourly.last_hours(now, hourly.DAYS * 24)
    rows = FlagUsage.objects.filter(codename=codename, hour__gte=min(hours)).order_by()
    yeses, noes = [0] * len(hours), [0] * len(hours)
    variants: dict[str, list[int]] = {}
    for hour, variant, yes, no in rows.values_list("hour", "variant").annotate(yes=Sum("yes"), no=Sum("no")):
        if (at := hours.get(hour)) is None:
            continue
        if variant:
            variants.setdefault(variant, [0] * len(hours))[at] = yes
        else:
            yeses[at], noes[at] = yes, no
    if not any(yeses) and not any(noes):
        return None
    drawn = sorted(variants, key=lambda name: (-sum(variants[name]), name))[:VARIANTS_DRAWN]
    series = [Series(name, variants[name], f"chart-{number}") for number, name in enumerate(drawn, start=2)]
    # The hours of variants are written with the total; what is left over got none of those drawn.
    rest = [max(0, yes - sum(variants[name][at] for name in drawn)) for at, yes in enumerate(yeses)]
    if any(rest) or not series:
        series.insert(0, Series(gettext("other variants or none") if drawn else gettext("yes"), rest, "chart-1"))
    series.append(Series(gettext("no"), noes, "chart-no"))
    return Chart(gettext("Answers by the hour, last seven days"), series, hour_labels(hours))


def outlook(before: Document, changes: Document, people: Iterable[Any]) -> dict[str, Any]:
    """Lines for the page. Raises: FLAG_INVALID (400)."""
    after = flag_document.checked({**before, **changes}, stored=before)
    found: dict[str, Any] = {"lines": descriptions.describe_changes(flag_document.diff(before, after))}
    snapshot = store.current()
    if not found["lines"] or snapshot is None:
        return found
    # Of a flag that is off, what it would be once it is on.
    ids = {name: pk for pk, name in snapshot.segment_names.items()}
    old, new = (
        compile_flag(definition({**document, "is_active": True}, ids), snapshot.segments)
        for document in (before, after)
    )
    looked_at = changed = reached = 0
    for person in people:
        context = {**flat(person), RANDOM: str(looked_at)}
        answers = [flag.evaluate(context, snapshot.flags) for flag in (old, new)]
        looked_at += 1
        changed += answers[0].value != answers[1].value or answers[0].enabled != answers[1].enabled
        reached += answers[1].enabled
    return found | {
        "looked_at": looked_at,
        "changed": changed,
        "reached": reached,
        "is_on": before["is_active"],
        "broken": new.error,
    }
