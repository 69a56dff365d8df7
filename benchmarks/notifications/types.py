"""What the benchmark sends: a code like that of a registration, whose secret is derived and stored nowhere."""

import hashlib

from django.apps import AppConfig
from pydantic import BaseModel, ConfigDict

MAIL, HOLD = "benchmarks.mail", "benchmarks.hold"


class Context(BaseModel):
    """`poisoned` names a template that is not there."""

    model_config = ConfigDict(extra="forbid")

    first_name: str = "Ada"
    number: int = 0
    poisoned: bool = False


def code(number: int) -> str:
    digest = hashlib.sha256(f"benchmark {number}".encode()).digest()
    return f"{int.from_bytes(digest[:4]) % 1_000_000:06}"


def derive(context: dict[str, object]) -> dict[str, str]:
    return {"code": code(int(str(context["number"])))}


class TypesConfig(AppConfig):
    name = "benchmarks.notifications"
    label = "notifications_benchmark"

    def ready(self) -> None:
        import notifications

        for name, policy in ((MAIL, "retry"), (HOLD, "hold")):
            notifications.declare(
                name,
                label=name,
                context=Context,
                secrets=("code",),
                derive=derive,
                backoff="prompt",
                on_ambiguous=policy,  # type: ignore[arg-type]
            )
