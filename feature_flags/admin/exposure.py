"""Who got what of a flag, hour by hour, as a chart."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Sum
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext

from feature_flags.models import FlagUsage
from lib.admin.charts import Chart, Series

DAYS, VARIANTS_DRAWN = 7, 4


def chart(codename: str, now: datetime) -> Chart | None:
    """Answers by the hour of the last seven days, by one statement: each variant, what is on without one, and no.

    None for a flag that was not asked for in them.
    """
    hours = DAYS * 24
    begin = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
    rows = FlagUsage.objects.filter(codename=codename, hour__gte=begin).order_by()
    answers = {"yes": [0] * hours, "no": [0] * hours}
    variants: dict[str, list[int]] = {}
    for hour, variant, yes, no in rows.values_list("hour", "variant").annotate(yes=Sum("yes"), no=Sum("no")):
        at = int((hour - begin).total_seconds() // 3600)
        if at >= hours:
            continue
        if variant:
            variants.setdefault(variant, [0] * hours)[at] += yes
        else:
            answers["yes"][at] += yes
            answers["no"][at] += no
    if not any(answers["yes"]) and not any(answers["no"]):
        return None
    drawn = sorted(variants, key=lambda name: (-sum(variants[name]), name))[:VARIANTS_DRAWN]
    series = [Series(name, variants[name], f"chart-{number}") for number, name in enumerate(drawn, start=2)]
    # The hours of variants are written with the total; what is left over got none of those drawn.
    rest = [max(0, yes - sum(variants[name][at] for name in drawn)) for at, yes in enumerate(answers["yes"])]
    if any(rest) or not series:
        series.insert(0, Series(gettext("other variants or none") if drawn else gettext("yes"), rest, "chart-1"))
    series.append(Series(gettext("no"), answers["no"], "chart-no"))
    labels = [date_format(timezone.localtime(begin + timedelta(hours=at)), "DAY_AND_HOUR") for at in range(hours)]
    return Chart(gettext("Answers by the hour, last seven days"), series, labels)
