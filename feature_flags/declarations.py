"""Flags that code declares. Imports no model, so that any app may declare at start."""

from __future__ import annotations

from dataclasses import dataclass

from django.core import checks

from feature_flags import names


@dataclass(frozen=True)
class Flag:
    """A flag used in code. Its row appears at the next `migrate`; until then the default is the answer."""

    codename: str
    default: bool
    label: str = ""
    description: str = ""
    protected: bool = False
    exposed: bool = True
    kind: str = "release"

    def __str__(self) -> str:
        return self.codename


_declared: dict[str, Flag] = {}
_conflicts: set[str] = set()


def declare(
    codename: str,
    *,
    default: bool,
    label: str = "",
    description: str = "",
    protected: bool = False,
    exposed: bool = True,
    kind: str = "release",
) -> Flag:
    """Make a flag known to the product. The first declaration of a name holds; another default fails the checks.

    `kind` (release, experiment, operational, kill_switch, permission) sets how long it is expected to live.
    """
    if problem := names.problem(codename):
        raise ValueError(f"Flag {codename!r}: {problem}")
    flag = Flag(codename, default, label, description, protected, exposed, kind)
    first = _declared.setdefault(codename, flag)
    if first.default != default:
        _conflicts.add(codename)
    return flag


def declared() -> list[Flag]:
    """Every declared flag, in codename order."""
    return sorted(_declared.values(), key=str)


def is_declared(codename: str) -> bool:
    return codename in _declared


def find(codename: str) -> Flag | None:
    """The declaration of this name."""
    return _declared.get(codename)


def check_declarations(**kwargs: object) -> list[checks.CheckMessage]:
    """One name, one default: anything else would answer differently by who asks."""
    return [
        checks.Error(
            f"Flag {codename} is declared with different defaults.",
            hint="Declare it once and import it where it is asked.",
            id="feature_flags.E001",
        )
        for codename in sorted(_conflicts)
    ]
