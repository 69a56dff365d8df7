"""Fields of forms."""

from datetime import UTC
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

_STAYS = _("It stays in the history.")


def reason_field(
    *, required: bool = True, help_text: Any = _STAYS, widget: forms.Widget | None = None
) -> forms.CharField:
    """Why staff do something, in at most 200 characters."""
    return forms.CharField(
        label=_("Reason"),
        required=required,
        max_length=200,
        help_text=help_text,
        widget=widget or forms.TextInput({"class": "vTextField", "autocomplete": "off"}),
        error_messages={"required": _("Say why.")},
    )


def focus(form: forms.Form) -> None:
    """Put the cursor where something is to be mended, else into the first field."""
    name = next((name for name in form.fields if form.is_bound and name in form.errors), next(iter(form.fields)))
    form.fields[name].widget.attrs["autofocus"] = True


class UtcDateTimeField(forms.DateTimeField):
    """A moment that is typed and shown in UTC, whichever zone the rest of the page is in: its label says so."""

    def to_python(self, value: Any) -> Any:
        with timezone.override(UTC):
            return super().to_python(value)

    def prepare_value(self, value: Any) -> Any:
        with timezone.override(UTC):
            return super().prepare_value(value)
