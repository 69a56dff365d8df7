"""Flags as code sees them: declare once, ask anywhere. Imports no model, so that any app may declare at start."""

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

    def __str__(self) -> str:
        return self.codename


_declared: dict[str, Flag] = {}
_conflicts: set[str] = set()


def declare(codename: str, *, default: bool, label: str = "", description: str = "") -> Flag:
    """Make a flag known to the product. The first declaration of a name holds; another default fails the checks."""
    if problem := names.problem(codename):
        raise ValueError(f"Flag {codename!r}: {problem}")
    flag = Flag(codename, default, label, description)
    first = _declared.setdefault(codename, flag)
    if first.default != default:
        _conflicts.add(codename)
    return flag


def declared() -> list[Flag]:
    """Every declared flag, in codename order."""
    return sorted(_declared.values(), key=str)


def is_enabled(flag: Flag | str) -> bool:
    """The stored switch; without a row or a database the declared default; for an unknown name False."""
    # Late: the store reads the database, and apps declare before models are loaded.
    from feature_flags import store

    codename = str(flag)
    known = store.states().get(codename)
    if known is not None:
        return known
    declaration = _declared.get(codename)
    return declaration is not None and declaration.default


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
