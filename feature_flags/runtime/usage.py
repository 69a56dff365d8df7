"""How often flags were evaluated, by application and result: counted in memory, written in batches by the watcher.
A cell is `[yes, no]` and only ever grows; a flush writes what has come since the last one. `cell[0] += 1` needs no
lock: CPython switches threads at calls and jumps, and there is none between its read and its write."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import Error, connection, transaction

from feature_flags import names
from feature_flags.engine.model import Result
from lib import hourly, metrics
from lib.db import adapted, batches, marks, slices

if TYPE_CHECKING:
    from feature_flags.runtime.snapshot import Token

logger = logging.getLogger("switchboard.flags")

MAX_KEYS = 10_000
MAX_UNKNOWN = 200
#: Names that one token may bring in an hour: of applications, and of unknown flags. A frontend token is public: its
#: names of unknown flags are not kept.
MAX_NAMES = {"server": 50, "frontend": 5}
#: What all further names are counted as.
OTHER = "other"
#: The variant of a flag without variants, as Unleash's SDKs call it.
_NO_VARIANT = "disabled"
#: No count of an hour goes beyond; sums of many such hours fit into a column, too.
MAX_COUNT = 10**12
#: What our own process and OFREP clients, which send no name, are called.
IN_PROCESS, OFREP = "switchboard", "ofrep"
_APP_LENGTH = 100

EVALUATIONS = metrics.Counter(
    "flags_evaluations_total", "Evaluations counted: here, for OFREP, or reported by an SDK.", ("source", "result")
)
Cell = list[int]


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """Results that are returned together and counted as one."""

    results: Sequence[Result]


class Key(NamedTuple):
    codename: str
    hour: datetime
    app_name: str
    variant: str = ""


#: By name and variant (empty: the total); they live as long as the process.
_cells: dict[tuple[str, str], Cell] = {}
_flushed: dict[tuple[str, str], tuple[int, int]] = {}
_evaluated: Counter[Result | Results] = Counter()
_lock = Lock()
_counts: dict[Key, Cell] = {}
_unknown: dict[tuple[str, str], int] = {}
_tokens: set[int] = set()
_failures = 0
dropped = 0


def cell(codename: str, variant: str = "") -> Cell:
    """The cell of evaluations by this process."""
    return _cells.setdefault((codename, variant), [0, 0])


#: Count results returned to OFREP clients. No lock either: the whole of an update is one step of the interpreter.
count = _evaluated.update


def token_used(token_id: int) -> None:
    _tokens.add(token_id)


def count_unknown(codename: str, app_name: str = IN_PROCESS, token: Token | None = None) -> bool:
    """Count a name that no flag has; True for its first time since the last flush."""
    if names.problem(codename):
        return False
    if token is not None:
        codename = _admitted(codename, "flag", token) if token.kind == "server" else OTHER
        app_name = _admitted(app_name, "app", token)
    key = codename, app_name
    if key not in _unknown and len(_unknown) >= MAX_UNKNOWN:
        return False
    _unknown[key] = _unknown.get(key, 0) + 1
    return _unknown[key] == 1


def report(
    app_name: Any,
    toggles: Mapping[str, Any],
    known: Mapping[str, Collection[str]],
    token: Token,
    at: datetime | None = None,
) -> None:
    """Add what an SDK counted: `{name: {"yes", "no", "variants": {name: count}}}` (Unleash metrics bucket).

    `known` are the flags the token may see, each with the names of its variants; other variants are counted as one.
    What cannot be counted is left out: other shapes, negative numbers, names that no flag can have.
    """
    hour = hourly.hour_of(at or datetime.now(UTC))
    text = app_name if isinstance(app_name, str) else ""
    app_name = text.encode(errors="ignore").decode().replace("\0", "").strip()[:_APP_LENGTH] or "unnamed"
    app_name = _admitted(app_name, "app", token)
    for codename, counted in toggles.items():
        if names.problem(codename) or not isinstance(counted, dict):
            continue
        yes, no = _number(counted.get("yes")), _number(counted.get("no"))
        if codename not in known:
            if yes or no:
                count_unknown(codename, app_name, token)
            continue
        _add(Key(codename, hour, app_name), yes, no)
        variants = counted.get("variants")
        for variant, times in variants.items() if isinstance(variants, dict) else ():
            is_known = variant in known[codename] or variant == _NO_VARIANT
            _add(Key(codename, hour, app_name, variant if is_known else OTHER), _number(times), 0)


def flush(now: datetime | None = None) -> int:
    """Write what has been counted since the last time; return the number of rows. A failure is tried again, twice."""
    global _failures, _counts, _unknown, _tokens, dropped
    now = now or datetime.now(UTC)
    _collect(hourly.hour_of(now))
    with _lock:
        counts, _counts = _counts, {}
    unknown, _unknown = _unknown, {}
    used, _tokens = _tokens, set()
    if not counts and not unknown and not used:
        return 0
    try:
        with transaction.atomic():
            _write(counts, unknown, used, now)
    except Error as error:
        _failures += 1
        logger.warning("usage of flags not written", extra={"error": type(error).__name__, "tries": _failures})
        if _failures <= 2:
            for key, (yes, no) in counts.items():
                _add(key, yes, no)
            _tokens |= used
        else:
            _failures = 0
            dropped += len(counts)
        return 0
    _failures = 0
    for key, (yes, no) in counts.items():
        if not key.variant:
            source = {IN_PROCESS: "process", OFREP: "ofrep"}.get(key.app_name, "sdk")
            EVALUATIONS.add(source, "on", number=yes)
            EVALUATIONS.add(source, "off", number=no)
    return len(counts)


def forget() -> None:
    """Begin anew, for tests."""
    global _failures, dropped
    with _lock:
        _counts.clear()
    _flushed.update({key: (counted[0], counted[1]) for key, counted in list(_cells.items())})
    _evaluated.clear()
    _unknown.clear()
    _tokens.clear()
    _admitted_names.clear()
    _failures = dropped = 0


def _collect(hour: datetime) -> None:
    for (codename, variant), (yes, no) in list(_cells.items()):
        before = _flushed.get((codename, variant), (0, 0))
        if (yes, no) != before:
            _flushed[codename, variant] = (yes, no)
            _add(Key(codename, hour, IN_PROCESS, variant), yes - before[0], no - before[1])
    for evaluated in list(_evaluated):
        times = _evaluated.pop(evaluated)
        for result in evaluated.results if isinstance(evaluated, Results) else (evaluated,):
            _add(Key(result.flag, hour, OFREP), *((times, 0) if result.enabled else (0, times)))
            if result.variant.enabled:
                _add(Key(result.flag, hour, OFREP, result.variant.name), times, 0)


def _add(key: Key, yes: int, no: int) -> None:
    global dropped
    if not yes and not no:
        return
    with _lock:
        counted = _counts.get(key)
        if counted is None:
            if len(_counts) >= MAX_KEYS:
                dropped += 1
                return
            counted = _counts[key] = [0, 0]
        counted[0] = min(counted[0] + yes, MAX_COUNT)
        counted[1] = min(counted[1] + no, MAX_COUNT)


#: Of the present hour alone: by token and kind.
_admitted_names: dict[datetime, dict[tuple[int, str], set[str]]] = {}


def _admitted(name: str, kind: str, token: Token) -> str:
    """The name, or `other` when its token has brought as many of this kind in this hour as it may."""
    hour = hourly.hour_of(datetime.now(UTC))
    if hour not in _admitted_names:
        _admitted_names.clear()
    admitted = _admitted_names.setdefault(hour, {}).setdefault((token.id, kind), set())
    if name not in admitted and len(admitted) >= MAX_NAMES[token.kind]:
        return OTHER
    admitted.add(name)
    return name


def _number(value: Any) -> int:
    is_count = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < MAX_COUNT
    return int(value) if is_count else 0


# By hand, since the ORM's bulk_create cannot add to the row that it meets. Compared with MAX_COUNT before they are
# added: a sum beyond the column would fail the whole statement.
_USAGE_SQL = """
INSERT INTO feature_flags_flagusage AS u (codename, hour, app_name, variant, yes, no) VALUES {}
ON CONFLICT (codename, hour, app_name, variant) DO UPDATE SET
  yes = CASE WHEN u.yes < 1000000000000 - excluded.yes THEN u.yes + excluded.yes ELSE 1000000000000 END,
  no = CASE WHEN u.no < 1000000000000 - excluded.no THEN u.no + excluded.no ELSE 1000000000000 END
"""
_SEEN_SQL = """
INSERT INTO feature_flags_flagseen AS s (codename, first_seen_at, last_seen_at, yes_at, no_at) VALUES {}
ON CONFLICT (codename) DO UPDATE SET
  last_seen_at = excluded.last_seen_at,
  yes_at = COALESCE(excluded.yes_at, s.yes_at), no_at = COALESCE(excluded.no_at, s.no_at)
"""
_UNKNOWN_SQL = """
INSERT INTO feature_flags_unknownflag AS u (codename, app_name, count, last_seen_at) VALUES {}
ON CONFLICT (codename, app_name) DO UPDATE SET count = u.count + excluded.count, last_seen_at = excluded.last_seen_at
"""


def _write(counts: Mapping[Key, Cell], unknown: Mapping[tuple[str, str], int], used: set[int], now: datetime) -> None:
    # Models are not loaded yet when apps import this module to declare flags.
    from feature_flags.models import FlagToken, UnknownFlag

    # Sorted: two processes that write the same rows in different orders would wait for each other.
    _upsert(_USAGE_SQL, [(*key, *counts[key]) for key in sorted(counts)])
    seen: dict[str, list[datetime | None]] = {}
    for key, (yes, no) in sorted(counts.items()):
        last = seen.setdefault(key.codename, [None, None])
        last[:] = [now if yes else last[0], now if no else last[1]]
    _upsert(_SEEN_SQL, [(codename, now, now, *last) for codename, last in seen.items()])
    _upsert(_UNKNOWN_SQL, [(*key, times, now) for key, times in sorted(unknown.items())])
    if unknown:
        newest = UnknownFlag.objects.order_by("-last_seen_at", "-pk").values_list("pk", flat=True)
        if oldest := list(newest[MAX_UNKNOWN : MAX_UNKNOWN + 500]):
            UnknownFlag.objects.filter(pk__in=oldest).delete()
    if used:
        FlagToken.objects.filter(pk__in=used).exclude(last_used_on=now.date()).update(last_used_on=now.date())


def _upsert(statement: str, rows: list[tuple[Any, ...]]) -> None:
    for part in batches(rows):
        values = ", ".join(f"({marks(row)})" for row in part)
        with connection.cursor() as cursor:
            cursor.execute(statement.format(values), adapted(*(value for row in part for value in row)))


def prune(before: datetime) -> Iterator[int]:
    """Delete the hours that ended before, a slice at a time; yields the number of rows."""
    from feature_flags.models import FlagUsage

    for keys in slices(FlagUsage.objects.filter(hour__lt=before), by="hour"):
        yield FlagUsage.objects.filter(pk__in=keys).delete()[0]
