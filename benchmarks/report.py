"""From samples to the page: medians, ratios against their bars, the plot."""

import argparse
import os
import platform
import signal
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psycopg

Samples = dict[tuple[str, str], list[float]]

SERVERS = {
    "bare": "bare ASGI function",
    "fastapi": "FastAPI, SQLAlchemy, asyncpg",
    "bolt": "django-bolt",
    "stock": "the product, stock Django handler",
    "before": "the product before",
    "ours": "**the product**",
}
_ANSWERS = {
    "status": "`GET /api/_status`",
    "unauthorized": "401 of `GET /api/users/user`",
    "not_found": "404 of `GET /api/nothing`",
    "flags": "`GET /api/feature-flags/feature-flags`",
    "user": "`GET /api/users/user`",
    "rename": "`PATCH /api/users/user`",
    "inbox": "`GET /api/notifications`",
    "unread": "`GET /api/notifications/unread-count`",
}
FIGURES = {
    **{name: (label, "requests/s") for name, label in _ANSWERS.items()},
    **{f"{name}_cpu": (label, "µs of CPU") for name, label in _ANSWERS.items()},
    "login": ("`POST /api/login` from known devices", "logins/s"),
    "login_cpu": ("the same", "µs of CPU"),
    "login_new": ("`POST /api/login` from new places, each mailed about", "logins/s"),
    "login_new_cpu": ("the same", "µs of CPU"),
    "login_beside": ("`POST /api/login` from known devices, with 200 `_status` a second", "logins/s"),
    "status_idle_p95": ("`_status` p95, idle", "ms"),
    "status_storm_p95": ("`_status` p95, 20 clients logging in", "ms"),
    "memory": ("memory after the run", "MiB"),
    "command": ("`manage.py list_feature_flags`", "s of CPU"),
    "serve": ("`manage.py serve` to its first answer", "s of CPU"),
}
PACKAGES = (
    "Django",
    "django-ninja",
    "psycopg",
    "asgiref",
    "uvicorn",
    "uvloop",
    "httptools",
    "fastapi",
    "SQLAlchemy",
    "asyncpg",
    "pydantic",
    "PyJWT",
    "argon2-cffi",
)


@dataclass(frozen=True)
class Bar:
    """One promise: what was measured, and the bound it must keep."""

    figure: str
    measured: float
    bound: float
    is_floor: bool = True
    unit: str = ""

    @property
    def is_met(self) -> bool:
        return self.measured >= self.bound if self.is_floor else self.measured <= self.bound


def ratio(samples: Samples, above: tuple[str, str], below: tuple[str, str]) -> float | None:
    """Median of the rounds' ratios; None when one of the two was not measured.

    Both values of a round were taken within seconds of each other, so a machine that is busy for a minute moves both.
    """
    if above not in samples or below not in samples:
        return None
    return statistics.median(a / b for a, b in zip(samples[above], samples[below], strict=True))


def _cpu(samples: Samples, answer: str, peer: str) -> float | None:
    return ratio(samples, ("ours", f"{answer}_cpu"), (peer, f"{answer}_cpu"))


def bars(samples: Samples) -> list[Bar]:
    """Every bar whose parts were measured."""
    cores = os.cpu_count() or 1
    checks = ("machine", "verifies_per_second")
    alone, beside = (ratio(samples, ("ours", name), checks) for name in ("login", "login_beside"))
    version = ("machine", "django_admin")
    memory = samples.get(("ours", "memory"), [None])[0]
    wanted = [
        *(
            (f"{_ANSWERS[name]}, CPU, ours ÷ FastAPI", _cpu(samples, name, "fastapi"), 0.6, False, "×")
            for name in ("status", "unauthorized", "not_found")
        ),
        ("flag list, ours ÷ stock Django", ratio(samples, ("ours", "flags"), ("stock", "flags")), 4, True, "×"),
        ("flag list, ours ÷ bare", ratio(samples, ("ours", "flags"), ("bare", "flags")), 0.85, True, "×"),
        ("current user, ours ÷ FastAPI", ratio(samples, ("ours", "user"), ("fastapi", "user")), 2.5, True, "×"),
        ("current user, ours ÷ django-bolt", ratio(samples, ("ours", "user"), ("bolt", "user")), 2, True, "×"),
        ("current user, ours ÷ before", ratio(samples, ("ours", "user"), ("before", "user")), 1.8, True, "×"),
        *(
            (f"{_ANSWERS[name]}, CPU, ours ÷ before", _cpu(samples, name, "before"), 0.5, False, "×")
            for name in ("rename", "inbox", "unread")
        ),
        ("current user, ours ÷ stock Django", ratio(samples, ("ours", "user"), ("stock", "user")), 3, True, "×"),
        (
            "`_status` p95 while 20 clients log in ÷ idle",
            ratio(samples, ("ours", "status_storm_p95"), ("ours", "status_idle_p95")),
            3,
            False,
            "×",
        ),
        (f"logins/s ÷ Argon2id checks/s of {cores} cores", alone, 0.9, True, "×"),
        ("the same with 200 `_status` a second beside them", beside, 0.6, True, "×"),
        ("command, CPU ÷ `django-admin version`", ratio(samples, ("ours", "command"), version), 4, False, "×"),
        ("`serve` to its first answer, CPU ÷ the same", ratio(samples, ("ours", "serve"), version), 6, False, "×"),
        ("memory of the worker after the run", memory, 90, False, " MiB"),
    ]
    return [Bar(name, value, *rest) for name, value, *rest in wanted if value is not None]


def add_database(parser: argparse.ArgumentParser) -> None:
    """`--database-url`, which BENCH_DATABASE_URL and TEST_DATABASE_URL stand in for."""
    default = os.environ.get("BENCH_DATABASE_URL") or os.environ.get("TEST_DATABASE_URL")
    parser.add_argument(
        "--database-url",
        default=default or "postgres://postgres@127.0.0.1:5432/postgres",
        help="a PostgreSQL where databases may be created (BENCH_DATABASE_URL, TEST_DATABASE_URL)",
    )


def begin(options: argparse.Namespace) -> None:
    """Note how busy the machine is, and have signals leave through the context managers, which clean up."""
    options.load = os.getloadavg()[0]
    if options.load > 0.5:
        print(f"The machine is busy (load {options.load:.1f}): expect the rounds to scatter.", file=sys.stderr)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: sys.exit(128 + received))


def behind(samples: Samples, figures: Mapping[str, tuple[str, str]], vendors: Mapping[str, str]) -> list[str]:
    """The table of what stands behind the bars: median and range of each figure (its label, its unit) by database."""
    lines = ["", "Behind these figures (median, and the range of the rounds):", ""]
    lines += [f"| | unit | {' | '.join(vendors.values())} |", f"| --- | --- |{' ---: |' * len(vendors)}"]
    for figure, (label, unit) in figures.items():
        cells = []
        for vendor in vendors:
            values = samples.get((vendor, figure), [])
            span = f" ({plain(min(values))} – {plain(max(values))})" if len(values) > 1 else ""
            cells.append(f"{plain(statistics.median(values))}{span}" if values else "")
        if any(cells):
            lines.append(f"| {label} | {unit} | {' | '.join(cells)} |")
    return lines


def plain(value: float) -> str:
    """Two digits behind the point where there are some and they matter."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def machine(options: argparse.Namespace, packages: Sequence[str] = PACKAGES) -> list[str]:
    """What the figures depend on, without the date: a rerun on the same machine changes only figures."""
    with psycopg.connect(options.database_url) as connection:
        database = connection.execute("SHOW server_version").fetchone()[0].split()[0]
    model = platform.machine()
    if (cpuinfo := Path("/proc/cpuinfo")).exists() and "model name" in (text := cpuinfo.read_text()):
        model = text.split("model name")[1].split(":", 1)[1].splitlines()[0].strip()
    return [
        f"{os.cpu_count()} cores ({model}), shared by server, PostgreSQL and load generator",
        f"Python {platform.python_version()}, PostgreSQL {database}",
        ", ".join(f"{package} {version(package)}" for package in packages),
        f"load average before the start: {options.load:.1f}"
        + (" (**busy**: other programs took part in these figures)" if options.load > 0.5 else ""),
    ]


def facts(options: argparse.Namespace) -> list[str]:
    return [
        *machine(options),
        f"{options.repeats} rounds of {options.seconds} s; one uvicorn worker each (uvloop, httptools); "
        "reads: `wrk -t1 -c32`; logins: `wrk -t1 -c20`, alone and with 200 `_status` a second beside them",
    ]


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def bar_table(bars: Iterable[Bar]) -> list[str]:
    lines = ["| figure | measured | bar | ok? |", "| --- | ---: | ---: | --- |"]
    for bar in bars:
        sign = "≥" if bar.is_floor else "≤"
        measured = str(bar.measured) if isinstance(bar.measured, int) else f"{bar.measured:.2f}"
        lines.append(
            f"| {bar.figure} | {measured}{bar.unit} | {sign} {bar.bound:g}{bar.unit} | "
            f"{'yes' if bar.is_met else '**no**'} |"
        )
    return lines


def markdown(samples: Samples, met: list[Bar], about: list[str]) -> str:
    """The whole page: bars, medians, machine."""
    shown = [name for name in SERVERS if any(server == name for server, _ in samples)]
    lines = ["# Benchmark results", "", *bar_table(met)]
    lines += ["", "Medians:", "", "| | unit | " + " | ".join(SERVERS[name] for name in shown) + " |"]
    lines.append("| --- | --- |" + " ---: |" * len(shown))
    for figure, (label, unit) in FIGURES.items():
        values = [samples.get((name, figure)) for name in shown]
        if any(values):
            cells = [_plain(statistics.median(value)) if value else "" for value in values]
            lines.append(f"| {label} | {unit} | " + " | ".join(cells) + " |")
    checks, each = (statistics.median(samples["machine", name]) for name in ("verifies_per_second", "verify_cpu"))
    verify = f"{checks:.1f} Argon2id checks a second on all cores at once, {each / 1000:.1f} ms of CPU each"
    lines += ["", "Machine:", "", *(f"- {fact}" for fact in about), f"- {verify}", ""]
    return "\n".join(lines)


def plot(samples: Samples, path: Path) -> None:
    """Bars at the medians, a dot for every round: how far the rounds agree is part of the result."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = {
        "bare": "#b8bfc8",
        "fastapi": "#3d9488",
        "bolt": "#8a5a9e",
        "before": "#9fb0d0",
        "stock": "#d09a45",
        "ours": "#35568f",
    }
    names = {
        "bare": "bare ASGI",
        "fastapi": "FastAPI",
        "bolt": "django-bolt",
        "before": "before",
        "stock": "stock Django",
        "ours": "Switchboard",
    }
    figure, all_axes = plt.subplots(2, 3, figsize=(12, 5.5), layout="constrained")
    wanted = ["status", "flags", "user", "login", "status_storm_p95", "memory"]
    for axes, key in zip(all_axes.flat, wanted, strict=True):
        # The ceiling is shown once: beside answers that ask a database it would flatten all other bars.
        shown = [name for name in SERVERS if (name, key) in samples and (name != "bare" or key == "status")][::-1]
        for row, name in enumerate(shown):
            values = samples[name, key]
            median = statistics.median(values)
            axes.barh(row, median, color=colours[name], height=0.65)
            axes.plot(values, [row] * len(values), "o", color="black", markersize=2.5)
            axes.annotate(
                f" {_plain(median)}", (max(values), row), va="center", xytext=(4, 0), textcoords="offset points"
            )
        axes.set_yticks(range(len(shown)), [names[name] for name in shown])
        axes.set_xlim(0, max(max(samples[name, key]) for name in shown) * 1.2)
        label, unit = FIGURES[key]
        axes.set_title(f"{label.replace('`', '')} [{unit}]", fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
