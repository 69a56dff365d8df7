#!/bin/sh
# croniter 7.0.0: a daily job in the hour that autumn repeats is due twice that day; with 6.0.0 it was due once.
#
# Versions: croniter 6.0.0 and 7.0.0, cronsim 2.8, APScheduler 3.11.3 (PyPI); Python 3.11. "30 2 * * *" in Europe/Berlin.
# One guesses: a job at a fixed hour and minute is due once a day, as cron(8) has it, or that whichever way a library
# takes, it keeps it from one release to the next. In spring one guesses 03:00 or no run.
# Seen: 7.0.0 mends the day after (6.0.0 is an hour late on the 26th of October), and runs the job twice on the 25th.
# APScheduler does so too, and in spring names 02:30, a time that the clock never shows. cronsim follows Debian's cron.
# The wall clock says 02:30 for both runs: a key of the day, or of local time without offset, takes the second for the
# first one repeated.
# Output (the first three times from noon of the 24th of October 2026, and the first from noon of the 28th of March):
#   croniter 6.0.0      10-25T02:30+02:00 10-26T03:30+01:00 10-27T02:30+01:00   03-29T02:30+01:00
#   croniter 7.0.0      10-25T02:30+02:00 10-25T02:30+01:00 10-26T02:30+01:00   03-29T03:00+02:00
#   cronsim 2.8         10-25T02:30+02:00 10-26T02:30+01:00 10-27T02:30+01:00   03-29T03:00+02:00
#   apscheduler 3.11.3  10-25T02:30+02:00 10-25T02:30+01:00 10-26T02:30+01:00   03-29T02:30+01:00
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat > "$dir/check.py" <<'PYTHON'
import sys
from datetime import datetime
from importlib.metadata import version
from zoneinfo import ZoneInfo

DAILY, BERLIN = "30 2 * * *", ZoneInfo("Europe/Berlin")


def of_croniter(start):
    from croniter import croniter

    times = croniter(DAILY, start)
    while True:
        yield times.get_next(datetime)


def of_cronsim(start):
    from cronsim import CronSim

    return CronSim(DAILY, start)


def of_apscheduler(start):
    from apscheduler.triggers.cron import CronTrigger

    trigger, last = CronTrigger.from_crontab(DAILY, timezone=BERLIN), None
    while True:
        last = trigger.get_next_fire_time(last, last or start)
        yield last


def first(times, count):
    return [next(times).isoformat(timespec="minutes")[5:] for _ in range(count)]


SUMMER, TWICE = "10-25T02:30+02:00", "10-25T02:30+01:00"
AFTER = ["10-26T02:30+01:00", "10-27T02:30+01:00"]
GAP, THREE = "03-29T02:30+01:00", "03-29T03:00+02:00"
WANTED = {
    "croniter 6.0.0": [SUMMER, "10-26T03:30+01:00", AFTER[1], GAP],
    "croniter 7.0.0": [SUMMER, TWICE, AFTER[0], THREE],
    "cronsim 2.8": [SUMMER, *AFTER, THREE],
    "apscheduler 3.11.3": [SUMMER, TWICE, AFTER[0], GAP],
}
wrong = False
for library in sys.argv[1:]:
    times = globals()[f"of_{library}"]
    autumn = first(times(datetime(2026, 10, 24, 12, tzinfo=BERLIN)), 3)
    spring = first(times(datetime(2026, 3, 28, 12, tzinfo=BERLIN)), 1)
    name = f"{library} {version(library)}"
    print(f"{name:19}", *autumn, " ", *spring)
    wrong = wrong or WANTED[name] != [*autumn, *spring]
sys.exit(wrong)
PYTHON
python3 -m venv "$dir/venv"
pip() { "$dir/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
pip croniter==6.0.0 tzdata==2026.6
"$dir/venv/bin/python" "$dir/check.py" croniter
pip croniter==7.0.0 cronsim==2.8 apscheduler==3.11.3
"$dir/venv/bin/python" "$dir/check.py" croniter cronsim apscheduler
