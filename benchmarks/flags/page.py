"""From samples to FLAGS.md: the bars, what stands behind them, and the machine."""

import argparse
import math
import statistics
from collections.abc import Iterable, Sequence

from benchmarks import report
from benchmarks.flags import large, oracle, unleash, wire
from benchmarks.report import Bar, Samples, ratio

MB_PER_MIB = 1.048576
PACKAGES = ("Django", "psycopg", "uvicorn", "uvloop", "httptools", "mmh3", "django-waffle", "yggdrasil-engine")
SERVERS = {"bare": "bare ASGI function", "ours": "**the product**", "unleash": "Unleash's server"}
QUESTIONS = {
    "plain": ("a flag that is on, asked with a request", "waffle_plain"),
    "rollout_request": ("50 %, asked with a request", "waffle_percent"),
    "rollout": ("50 %, asked with a mapping", None),
    "constraints": ("two constraints, asked with a mapping", None),
    "variant": ("one of three variants, asked with a mapping", None),
}
REQUESTS = {
    "unchanged": "features document, 304",
    "features": "features document, 200, gzip as SDKs ask",
    "features_plain": "features document, 200, not compressed",
    "frontend": "frontend: 100 flags for one person",
    "bulk": "OFREP: 100 flags for one person",
    "single": "OFREP: one flag, 50 %",
}
DELAYS = {
    ("postgresql", "delay"): "another process, PostgreSQL",
    ("sqlite", "delay"): "another process, SQLite",
    ("client", "delay"): "event at an OFREP web client, PostgreSQL",
    ("large", "delay"): f"another process, PostgreSQL, {large.FLAGS:,} flags",
}


def p99(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * 0.99) - 1]


def bars(samples: Samples) -> list[Bar]:
    """Every bar whose parts were measured."""

    def median(*key: str) -> float | None:
        return statistics.median(samples[key]) if key in samples else None

    def best(*key: str) -> float | None:
        return min(samples[key]) if key in samples else None

    def slowest(*key: str) -> float | None:
        return p99(samples[key]) if key in samples else None

    def megabytes(*key: str) -> float | None:
        return samples[key][0] * MB_PER_MIB if key in samples else None

    def against(figure: str, server: str, other: str, of_other: str = "") -> float | None:
        return ratio(samples, (server, figure), (other, of_other or figure))

    many = f"{large.FLAGS:,} flags"
    wanted = [
        (
            f"differences from yggdrasil-engine in {oracle.COUNT:,} answers",
            median("oracle", "differences"),
            0,
            False,
            "",
        ),
        ("queries during evaluation", median("inside", "queries"), 0, False, ""),
        (
            "plain `is_enabled`, django-waffle cached ÷ ours",
            against("waffle_plain", "inside", "inside", "plain"),
            50,
            True,
            "×",
        ),
        ("plain `is_enabled`", median("inside", "plain"), 1, False, " µs"),
        ("50 % rollout", median("inside", "rollout"), 3, False, " µs"),
        ("two constraints", median("inside", "constraints"), 3, False, " µs"),
        ("variant", median("inside", "variant"), 3, False, " µs"),
        ("features 304, CPU, ours ÷ bare ASGI", against("unchanged_cpu", "ours", "bare"), 1.3, False, "×"),
        ("OFREP single, CPU, ours ÷ bare ASGI", against("single_cpu", "ours", "bare"), 2.5, False, "×"),
        (
            "features 200 of 100 flags, requests/s, ours ÷ Unleash",
            against("features", "ours", "unleash"),
            15,
            True,
            "×",
        ),
        ("frontend of 100 flags, requests/s, ours ÷ Unleash", against("frontend", "ours", "unleash"), 5, True, "×"),
        (
            "OFREP bulk of 100 flags ÷ Unleash's frontend, requests/s",
            against("bulk", "ours", "unleash", "frontend"),
            5,
            True,
            "×",
        ),
        ("memory of a worker, 100 flags", megabytes("ours", "memory"), 120, False, " MB"),
        ("switch to another process, PostgreSQL, p99", slowest("postgresql", "delay"), 100, False, " ms"),
        ("switch to another process, SQLite, p99", slowest("sqlite", "delay"), 100, False, " ms"),
        ("switch to event at a web client, p99", slowest("client", "delay"), 250, False, " ms"),
        ("SIGTERM with 100 open streams to exit", median("goodbye", "seconds"), 2, False, " s"),
        (f"{many}: switch to another process, p99", slowest("large", "delay"), 200, False, " ms"),
        (f"{many}: compiling after a change of one", best("large", "one_change"), 50, False, " ms"),
        (f"{many}: first build, reading included", best("large", "first_build"), 1000, False, " ms"),
        (f"{many}: all of them for one user", best("large", "one_user"), 50, False, " ms"),
        (f"{many}: memory of a worker", megabytes("large", "memory"), 250, False, " MB"),
    ]
    return [Bar(name, value, *rest) for name, value, *rest in wanted if value is not None]


def _number(values: Sequence[float] | None) -> str:
    if not values:
        return ""
    value = statistics.median(values)
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _questions(samples: Samples) -> list[str]:
    lines = [
        "Microseconds of one call of the Python API:",
        "",
        "| | ours | django-waffle, cached |",
        "| --- | ---: | ---: |",
    ]
    for name, (label, peer) in QUESTIONS.items():
        theirs = _number(samples.get(("inside", peer))) if peer else ""
        lines.append(f"| {label} | {_number(samples.get(('inside', name)))} | {theirs} |")
    return lines


def _wire(samples: Samples) -> list[str]:
    shown = [name for name in SERVERS if (name, "features") in samples]
    lines = []
    for title, suffix in (("Requests a second", ""), ("Microseconds of the server's CPU for one request", "_cpu")):
        lines += ["", f"{title}:", "", "| | " + " | ".join(SERVERS[name] for name in shown) + " |"]
        lines.append("| --- |" + " ---: |" * len(shown))
        for figure, label in REQUESTS.items():
            cells = [_number(samples.get((name, figure + suffix))) for name in shown]
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def _delays(samples: Samples) -> list[str]:
    lines = ["", "Milliseconds from a commit to:", "", "| | switches | median | p99 | longest |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for key, label in DELAYS.items():
        if values := samples.get(key):
            cells = (
                str(len(values)),
                *(_number([value]) for value in (statistics.median(values), p99(values), max(values))),
            )
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def facts(options: argparse.Namespace) -> list[str]:
    peer = (
        unleash.about() if unleash.is_installed() else "**Unleash's server is not installed: nothing is said about it**"
    )
    return [
        *report.machine(options, PACKAGES),
        peer,
        "django-waffle: a flag for everyone and one for 50 %, in Django's local-memory cache",
        f"{options.repeats} rounds of {options.seconds} s; one process of each server; `wrk -t1 -c{wire.CONNECTIONS}`, "
        "another person with each request",
    ]


def markdown(samples: Samples, met: list[Bar], about: list[str]) -> str:
    lines = ["# Benchmark results: feature flags", "", *report.bar_table(met), ""]
    if ("inside", "plain") in samples:
        lines += _questions(samples)
    if ("ours", "features") in samples:
        lines += _wire(samples)
    if any(key in samples for key in DELAYS):
        lines += _delays(samples)
    return "\n".join([*lines, "", "Machine and peers:", "", *(f"- {fact}" for fact in about), ""])
