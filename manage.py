#!/usr/bin/env python
"""The operators' door: `manage.py <command>`."""

import gc
import os
import sys
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def _open_standard_streams() -> None:
    """Closed ones (`>&-`) lead nowhere, and no database or socket is given their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest free number is given, so 0 comes before 1.
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115


def collect_later() -> None:
    """What a start makes stays: to look for garbage in it would take a fifth of its time. Once more has been made than
    any start does, garbage is collected as usual."""
    usual = gc.get_threshold()

    def collect_as_usual(phase: str, info: dict[str, Any]) -> None:
        gc.callbacks.remove(collect_as_usual)
        gc.set_threshold(*usual)

    gc.callbacks.append(collect_as_usual)
    gc.set_threshold(300_000)


def main() -> None:
    _open_standard_streams()
    collect_later()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # A wrong setting is the operator's to mend: one sentence, no traceback.
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        # 128 + SIGINT, as shells put it.
        sys.exit(130)


if __name__ == "__main__":
    main()
