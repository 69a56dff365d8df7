"""Shapes on the wire."""

from ninja import Schema


class FlagOut(Schema):
    codename: str
    label: str | None
    description: str | None
    is_active: bool
