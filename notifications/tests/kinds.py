"""The types these tests queue, so that they depend on no app that declares real ones."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

import notifications
from notifications import registry

TEMPLATES = Path(__file__).parent / "templates"
CODE = "481516"


class Context(BaseModel):
    model_config = ConfigDict(extra="forbid")

    first_name: str = "Ada"
    number: int = 0


def derive(context):
    if context["number"] < 0:
        raise notifications.Withdrawn("superseded")
    if context["number"] == 666:
        raise ValueError(f"the code {CODE} is not for logs")
    return {"code": CODE}


def declare():
    for code, options in {
        "tests.hello": {},
        "tests.once": {"on_ambiguous": "hold"},
        "tests.bulk": {"priority": notifications.BULK},
        "tests.broken": {},
    }.items():
        notifications.declare(code, label=code, context=Context, secrets=("code",), derive=derive, **options)


def forget():
    for kind in registry.declared_types():
        if kind.code.startswith("tests."):
            registry.forget(kind.code)
