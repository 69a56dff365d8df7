"""What people may switch off: a type by mail and one in the product, declared for one test."""

from typing import Any

from pydantic import BaseModel, ConfigDict

import notifications


class Offer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str = "Hello"
    url: str = ""
    severity: str = "info"
    data: dict[str, Any] = {}


def declare():
    options = {"context": Offer, "category": "announcement", "priority": notifications.BULK}
    notifications.declare("tests.offer", label="Offer", channels=("email", "in_app"), **options)
    notifications.declare("tests.hint", label="Hint", channels=("in_app",), **options)
