"""From samples to NOTIFICATIONS.md: the bars on both databases, the faults, what stands behind them, the machine."""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import report
from benchmarks.notifications.faults import Seen
from benchmarks.notifications.scene import LEASE, SETTINGS
from benchmarks.report import Bar, Samples

PACKAGES = ("Django", "psycopg", "uvicorn", "uvloop", "pydantic", "django-tasks", "django-tasks-db")
VENDORS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}

Figure = Callable[[Samples, str], float | None]
Summary = Callable[[Sequence[float]], float]


@dataclass(frozen=True)
class Row:
    label: str
    unit: str
    bars: dict[str, Bar]


def _of(figure: str, summary: Summary = max) -> Figure:
    return lambda samples, vendor: summary(values) if (values := samples.get((vendor, figure))) else None


def _ratio(above: str, below: str) -> Figure:
    return lambda samples, vendor: report.ratio(samples, (vendor, above), (vendor, below))


median: Summary = statistics.median
#: Label, unit, measured, bound (for both, or by database), floor.
BARS: list[tuple[str, str, Figure, float | dict[str, float], bool]] = [
    ("workers killed ten times, 1,000 mails: lost", "", _of("retry_lost"), 0, False),
    ("… sent twice", "", _of("retry_doubled"), 10, False),
    ("… with another Message-ID than the first", "", _of("retry_foreign"), 0, False),
    ("the same with `hold`: lost", "", _of("hold_lost"), 0, False),
    ("… sent twice", "", _of("hold_doubled"), 0, False),
    ("worker and receiver of webhooks killed ten times each, 1,000 events: lost", "", _of("webhooks_lost"), 0, False),
    ("… with another `webhook-id` than the first", "", _of("webhooks_foreign"), 0, False),
    ("… subjects out of order", "", _of("webhooks_disordered"), 0, False),
    ("four workers racing for 1,000 mails: lost", "", _of("race_lost"), 0, False),
    ("… sent twice", "", _of("race_doubled"), 0, False),
    (f"recovery after a crash, lease {LEASE} s: longest", " s", _of("recovery"), LEASE + 1, False),
    ("web process killed five times: answered requests without their mail", "", _of("web_lost"), 0, False),
    ("provider away for 10 s, 200 mails: lost", "", _of("outage_lost"), 0, False),
    ("… attempts burnt", "", _of("outage_burnt"), 0, False),
    ("… last one sent after it is back", " s", _of("outage_seconds"), 15, False),
    (
        "request that queues mail, p95: provider of 300 ms ÷ mail off",
        "×",
        _ratio("request_sending", "request_off"),
        1.3,
        False,
    ),
    ("CPU of a worker for one mail ÷ django-tasks-db", "×", _ratio("ours_cpu", "peer_cpu"), 0.35, False),
    ("CPU of a worker for one mail", " ms", _of("ours_cpu", median), 4, False),
    (
        "mails a second, one worker, instant provider",
        "",
        _of("ours_rate", median),
        {"sqlite": 150, "postgresql": 120},
        True,
    ),
    ("`queue` in autocommit, p50", " ms", _of("enqueue", min), {"sqlite": 0.5}, False),
    ("subject, text and html, CPU", " ms", _of("render", min), 0.5, False),
    ("start of sending after COMMIT, embedded, at rest, p50", " ms", _of("wake", median), 50, False),
    ("claim of ten: 1.1 million rows kept ÷ 2,000", "×", _ratio("claim_kept", "claim_few"), 1.5, False),
    ("claim of ten: 100,000 due tomorrow ÷ 2,000 kept", "×", _ratio("claim_tomorrow", "claim_few"), 1.5, False),
    ("… statements that walk the table", "", _of("claim_scans"), 0, False),
]
BEHIND = {
    "retry_doubled": ("sent twice after ten kills, `retry`", ""),
    "webhooks_again": ("webhooks sent again after ten kills of worker and receiver", ""),
    "hold_unknown": ("left for staff to decide after ten kills, `hold`", ""),
    "peer_lost": ("django-tasks-db after the same ten kills: never sent", ""),
    "peer_doubled": ("django-tasks-db after the same ten kills: sent twice", ""),
    "peer_running": ("django-tasks-db after the same ten kills: tasks left `RUNNING`", ""),
    "recovery": ("recovery after a crash", "s"),
    "web_answered": ("web process killed: requests answered", ""),
    "web_unanswered": ("web process killed: requests without an answer", ""),
    "web_doubled": ("web process killed: mails sent twice", ""),
    "outage_attempts_noted": ("provider away: tries noted", ""),
    "request_off": ("request that queues mail, mail off, p95", "ms"),
    "request_sending": ("request that queues mail, provider of 300 ms, p95", "ms"),
    "ours_rate": ("mails a second, one worker", ""),
    "peer_rate": ("mails a second, one worker of django-tasks-db", ""),
    "ours_cpu": ("CPU of a worker for one mail", "ms"),
    "peer_cpu": ("CPU of a worker of django-tasks-db for one mail", "ms"),
    "enqueue": ("`queue` in autocommit, p50", "ms"),
    "peer_enqueue": ("`enqueue` of django-tasks-db in autocommit, p50", "ms"),
    "render": ("subject, text and html, CPU", "ms"),
    "build": ("the same with its MIME message, CPU", "ms"),
    "wake": ("start of sending after COMMIT, embedded", "ms"),
    "claim_few": ("claim of ten, 2,000 rows kept, p50", "ms"),
    "claim_kept": ("claim of ten, 1.1 million rows kept, p50", "ms"),
    "claim_tomorrow": ("claim of ten, 100,000 rows due tomorrow, p50", "ms"),
}


def rows(samples: Samples) -> list[Row]:
    """Every bar whose parts were measured."""
    found = []
    for label, unit, figure, bounds, is_floor in BARS:
        bars = {}
        for vendor in VENDORS:
            bound = bounds.get(vendor) if isinstance(bounds, dict) else bounds
            measured = figure(samples, vendor)
            if bound is not None and measured is not None:
                bars[vendor] = Bar(label, measured, bound, is_floor, unit)
        if bars:
            found.append(Row(label, unit, bars))
    return found


def _cells(bar: Bar | None) -> list[str]:
    if bar is None:
        return ["", "", ""]
    bound = f"{'≥' if bar.is_floor else '≤'} {bar.bound:g}{bar.unit}"
    return [f"{report.plain(bar.measured)}{bar.unit}", bound, "yes" if bar.is_met else "**no**"]


def _bar_table(found: list[Row]) -> list[str]:
    lines = [
        "| figure | SQLite | bar | ok? | PostgreSQL | bar | ok? |",
        "| --- | ---: | ---: | --- | ---: | ---: | --- |",
    ]
    for row in found:
        cells = [cell for vendor in VENDORS for cell in _cells(row.bars.get(vendor))]
        lines.append(f"| {row.label} | {' | '.join(cells)} |")
    return lines


def _fault_table(seen: dict[str, list[Seen]]) -> list[str]:
    lines = []
    for vendor, happened in seen.items():
        lines += [
            "",
            f"Faults, {VENDORS[vendor]}:",
            "",
            "| fault | must happen | seen | ok? |",
            "| --- | --- | --- | --- |",
        ]
        for one in happened:
            same = "the same" if one.seen == one.expected else one.seen
            lines.append(f"| {one.fault} | {one.expected} | {same} | {'yes' if one.is_met else '**no**'} |")
    return lines


def facts(options: argparse.Namespace) -> list[str]:
    return [
        *report.machine(options, PACKAGES),
        f"{options.repeats} rounds; {options.mails:,} mails; {options.kills} kills of two workers",
        "settings: "
        + ", ".join(f"`{name}={value}`" for name, value in SETTINGS.items())
        + "; all others at their defaults",
        "django-tasks-db: `db_worker --interval 0.2`, the same templates and mail server, by Django's SMTP backend",
    ]


def markdown(samples: Samples, found: list[Row], seen: dict[str, list[Seen]], about: list[str]) -> str:
    lines = ["# Benchmark results: notifications", ""]
    if found:
        lines += _bar_table(found)
    lines += _fault_table(seen)
    lines += report.behind(samples, BEHIND, VENDORS)
    return "\n".join([*lines, "", "Machine, settings and peer:", "", *(f"- {fact}" for fact in about), ""])
