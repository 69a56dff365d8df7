"""From samples to ACCOUNTS.md: every bar with the figure and its command, what stands behind, the machine."""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import report
from benchmarks.accounts.scene import SETTINGS
from benchmarks.accounts.secrets import KNOWN
from benchmarks.report import Bar, Samples

PACKAGES = ("Django", "django-ninja", "psycopg", "uvicorn", "uvloop", "argon2-cffi", "schemathesis", "hypothesis")
VENDORS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
#: What a thread that hashes takes.
HASH_MIB = 19
#: Answers a second of the seed on two cores: the better of its figures for the first two.
SEED_READS, SEED_LOGINS = 79, 3.1

Figure = Callable[[Samples, str], float | None]
Summary = Callable[[Sequence[float]], float]
median: Summary = statistics.median


@dataclass(frozen=True)
class Row:
    part: str
    label: str
    bars: dict[str, Bar]


def _of(figure: str, summary: Summary = max, only: str = "") -> Figure:
    def found(samples: Samples, vendor: str) -> float | None:
        values = samples.get((vendor, figure)) if only in {"", vendor} else None
        return summary(values) if values else None

    return found


def _ratio(above: str, below: str) -> Figure:
    return lambda samples, vendor: report.ratio(samples, (vendor, above), (vendor, below))


def _worst(prefix: str, suffix: str) -> Figure:
    """The worst of the figures that were measured with these names."""

    def found(samples: Samples, vendor: str) -> float | None:
        names = [name for place, name in samples if place == vendor and name.startswith(prefix)]
        values = [value for name in names if name.endswith(suffix) for value in samples[vendor, name]]
        return max(values) if values else None

    return found


def _timings() -> list[tuple[str, str, str, Figure, float, bool]]:
    calls = {
        "login": "wrong password",
        "forgot": "forgot password",
        "code": "request a code, not verified",
        "code_verified": "request a code, verified",
        "reset": "reset with a foreign token",
    }
    lines: list[tuple[str, str, str, Figure, float, bool]] = []
    for name, label in calls.items():
        lines.append(
            ("timing", f"{label}, known and unknown address: medians apart", " ms", _of(f"timing_{name}"), 5, False)
        )
        lines.append(("timing", "… after the limit", " ms", _of(f"timing_{name}_after"), 5, False))
    return [
        *lines,
        ("timing", "… answers that differ in status, headers or body", "", _worst("timing_", "_differ"), 0, False),
    ]


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[max(0, round(len(values) * 0.99) - 1)]


def _races() -> list[tuple[str, str, str, Figure, float, bool]]:
    once = {
        "reset": "one reset link, 8 at once: rounds without one 200 and seven 400",
        "verify": "one code, 8 at once: rounds without one 200 and seven 400",
        "recovery": "one recovery code, 8 sign-ins at once: the same",
        "totp": "one code of an authenticator, 8 sign-ins at once: the same",
    }
    return [
        ("races", "one refresh token, 8 at once: answers that are not 200", "", _of("races_refresh_refused"), 0, False),
        ("races", "… forks", "", _of("races_refresh_forks"), 0, False),
        *(("races", label, "", _of(f"races_{name}_wrong"), 0, False) for name, label in once.items()),
        ("races", "20 wrong codes at once: counted at most", "", _of("races_guesses_counted"), 5, False),
        ("races", "… counted at least", "", _of("races_guesses_fewest", min), 5, True),
        ("races", "… right code accepted afterwards", "", _of("races_guesses_opened"), 0, False),
        ("races", "50 wrong passwords at once: compared at most", "", _of("races_passwords_compared"), 5, False),
        ("races", "any race: answers nobody promised", "", _worst("races_", "_errors"), 0, False),
        (
            "revocation",
            "revoked key, refused by another process after: p99",
            " ms",
            _of("revoked_ms", _p99),
            100,
            False,
        ),
        ("revocation", "… calls begun after the revocation, and accepted", "", _of("revoked_late"), 0, False),
    ]


#: Part, label, unit, measured, bound, floor.
BARS: list[tuple[str, str, str, Figure, float, bool]] = [
    ("api", "schemathesis over the whole OpenAPI document: cases", "", _of("api_cases", min), 10_000, True),
    ("api", "… failed checks", "", _of("api_failures"), 0, False),
    ("api", "… answers of 5xx", "", _of("api_answers_5xx"), 0, False),
    *_timings(),
    ("queries", "statements: authenticated call", "", _of("queries_authenticated"), 1, False),
    ("queries", "… login on SQLite", "", _of("queries_login", only="sqlite"), 9, False),
    ("queries", "… login on PostgreSQL", "", _of("queries_login", only="postgresql"), 3, False),
    ("queries", "… failed login, known or unknown", "", _worst("queries_failed", ""), 3, False),
    ("queries", "… refresh on SQLite", "", _of("queries_refresh", only="sqlite"), 4, False),
    ("queries", "… refresh on PostgreSQL", "", _of("queries_refresh", only="postgresql"), 3, False),
    *_races(),
    ("storm", "flag list p95, 40 clients logging in ÷ idle", "×", _ratio("storm_flags", "storm_flags_idle"), 3, False),
    ("storm", "`_status` median, 12 clients logging in", " ms", _of("storm_status", median), 20, False),
    ("storm", "event loop lag, 40 clients logging in: p95", " ms", _of("storm_lag_p95", median), 20, False),
    ("storm", "… longest", " ms", _of("storm_lag_max", median), 100, False),
    ("speed", "`/users/user` a second", "", _of("speed_user", median), 5 * SEED_READS, True),
    ("speed", "refreshes a second", "", _of("speed_refresh", median), 5 * SEED_READS, True),
    ("speed", "logins a second", "", _of("speed_login", median), 10 * SEED_LOGINS, True),
    ("secrets", "secrets of a journey found in log or database", "", _of("secrets_found"), 0, False),
]
BEHIND = {
    "api_checks": ("schemathesis: kinds of checks", ""),
    "api_answers_2xx": ("… answers of 2xx", ""),
    "api_answers_3xx": ("… answers of 3xx", ""),
    "api_answers_4xx": ("… answers of 4xx", ""),
    "timing_login_known": ("wrong password, known address, median", "ms"),
    "timing_login_unknown": ("wrong password, unknown address, median", "ms"),
    "timing_login_after_known": ("… paused, known", "ms"),
    "timing_login_after_unknown": ("… paused, unknown", "ms"),
    "timing_reset_known": ("foreign reset token, known address, median", "ms"),
    "timing_reset_unknown": ("foreign reset token, unknown address, median", "ms"),
    "storm_flags_idle": ("flag list p95, idle", "ms"),
    "storm_flags": ("flag list p95, 40 clients logging in", "ms"),
    "storm_memory": ("memory over idle, 40 clients logging in", "MiB"),
    "secrets_used": ("secrets used on the journey", ""),
    "secrets_places": ("log lines and values searched", ""),
    "secrets_errors": ("errors provoked, with traceback in the log", ""),
}


def rows(samples: Samples, hash_workers: int) -> list[Row]:
    """Every bar whose parts were measured."""
    memory = ("storm", "memory over idle, 40 clients logging in", " MiB", _of("storm_memory"))
    found = []
    for part, label, unit, figure, bound, is_floor in [*BARS, (*memory, HASH_MIB * hash_workers + 30, False)]:
        bars = {}
        for vendor in VENDORS:
            measured = figure(samples, vendor)
            if measured is not None:
                bars[vendor] = Bar(label, measured, bound, is_floor, unit)
        if bars:
            found.append(Row(part, label, bars))
    return found


def _cells(bar: Bar | None) -> list[str]:
    return [f"{report.plain(bar.measured)}{bar.unit}", "yes" if bar.is_met else "**no**"] if bar else ["", ""]


def _bar_table(found: list[Row]) -> list[str]:
    lines = [
        "| figure | bar | SQLite | ok? | PostgreSQL | ok? | `--only` |",
        "| --- | ---: | ---: | --- | ---: | --- | --- |",
    ]
    for row in found:
        one = next(iter(row.bars.values()))
        bound = f"{'≥' if one.is_floor else '≤'} {one.bound:,.10g}{one.unit}"
        cells = [bound, *(cell for vendor in VENDORS for cell in _cells(row.bars.get(vendor)))]
        lines.append(f"| {row.label} | {' | '.join(cells)} | `{row.part}` |")
    return lines


def facts(options: argparse.Namespace, hash_workers: int) -> list[str]:
    return [
        *report.machine(options, PACKAGES),
        f"{options.tries} tries of each side; races of {options.rounds} rounds on two workers; "
        f"{options.repeats} rounds of {options.seconds:g} s; {options.examples} examples of each operation and phase; "
        f"{hash_workers} hashing threads",
        "settings: "
        + ", ".join(f"`{name}={value}`" for name, value in SETTINGS.items())
        + "; all others at their defaults, production",
        "not looked for: " + "; ".join(f"`{place}`, {why}" for place, why in KNOWN.items()),
    ]


def markdown(samples: Samples, found: list[Row], notes: list[str], about: list[str]) -> str:
    lines = ["# Benchmark results: accounts", ""]
    lines += ["Each line comes from `python -m benchmarks.accounts --only <name in the last column>`.", ""]
    lines += _bar_table(found)
    if notes:
        lines += ["", "Notes:", "", *(f"- {note}" for note in notes)]
    lines += report.behind(samples, BEHIND, VENDORS)
    return "\n".join([*lines, "", "Machine and settings:", "", *(f"- {fact}" for fact in about), ""])
