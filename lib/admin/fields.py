"""Fields of forms."""

from datetime import UTC
from typing import Any

from django import forms
from django.utils import timezone


class UtcDateTimeField(forms.DateTimeField):
    """A moment that is typed and shown in UTC, whichever zone the rest of the page is in: its label says so."""

    def to_python(self, value: Any) -> Any:
        with timezone.override(UTC):
            return super().to_python(value)

    def prepare_value(self, value: Any) -> Any:
        with timezone.override(UTC):
            return super().prepare_value(value)
