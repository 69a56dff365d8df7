"""From samples to FLAGS.md: the bars, what stands behind them, and the machine."""

import argparse
import math
import statistics
from collections.abc import Callable, Iterable, Sequence

from benchmarks import report
from benchmarks.flags import large, oracle, unleash, wire
from benchmarks.report import Bar, Samples, ratio

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


def megabytes(values: Sequence[float]) -> float:
    return values[0] * 1.048576  # measured in MiB


def bars(samples: Samples) -> list[Bar]:
    """Every bar whose parts were measured."""
    found: list[Bar] = []

    def at_most(
        bound: float, unit: str, label: str, server: str, figure: str, summary: Callable[..., float] = statistics.median
    ) -> None:
        if values := samples.get((server, figure)):
            found.append(Bar(label, summary(values), bound, is_floor=False, unit=unit))

    def times(
        label: str, above: tuple[str, str], below: tuple[str, str], bound: float, *, is_floor: bool = True
    ) -> None:
        if (measured := ratio(samples, above, below)) is not None:
            found.append(Bar(label, measured, bound, is_floor, "×"))

    at_most(0, "", f"differences from yggdrasil-engine in {oracle.COUNT:,} answers", "oracle", "differences")
    at_most(0, "", "queries during evaluation", "inside", "queries")
    times("plain `is_enabled`, cached django-waffle ÷ ours", ("inside", "waffle_plain"), ("inside", "plain"), 50)
    at_most(1, " µs", "plain `is_enabled`", "inside", "plain", min)
    at_most(3, " µs", "50 % rollout", "inside", "rollout", min)
    at_most(3, " µs", "two constraints", "inside", "constraints", min)
    at_most(3, " µs", "variant", "inside", "variant", min)
    for figure, bound in (("unchanged", 1.3), ("single", 2.5)):
        pair = ("ours", f"{figure}_cpu"), ("bare", f"{figure}_cpu")
        times(f"{REQUESTS[figure]}: CPU, ours ÷ bare ASGI", *pair, bound, is_floor=False)
    for figure, peers, bound in (("features", "features", 15), ("frontend", "frontend", 5), ("bulk", "frontend", 5)):
        theirs = "Unleash" if figure == peers else f"Unleash's {peers}"
        times(f"{REQUESTS[figure]}: requests/s, ours ÷ {theirs}", ("ours", figure), ("unleash", peers), bound)
    at_most(120, " MB", "memory of a worker, 100 flags", "ours", "memory", megabytes)
    at_most(100, " ms", "switch to another process, PostgreSQL, p99", "postgresql", "delay", p99)
    at_most(100, " ms", "switch to another process, SQLite, p99", "sqlite", "delay", p99)
    at_most(250, " ms", "switch to event at a web client, p99", "client", "delay", p99)
    at_most(2, " s", "SIGTERM with 100 open streams to exit", "goodbye", "seconds")
    many = f"{large.FLAGS:,} flags"
    at_most(200, " ms", f"{many}: switch to another process, p99", "large", "delay", p99)
    at_most(50, " ms", f"{many}: compiling after a change of one", "large", "one_change", min)
    at_most(1000, " ms", f"{many}: first build, reading included", "large", "first_build", min)
    at_most(50, " ms", f"{many}: all of them for one user", "large", "one_user", min)
    at_most(250, " MB", f"{many}: memory of a worker", "large", "memory", megabytes)
    return found


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
        theirs = _number([min(samples["inside", peer])]) if peer else ""
        lines.append(f"| {label} | {_number([min(samples['inside', name])])} | {theirs} |")
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
