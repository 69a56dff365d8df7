"""What pages of the admin have in common, whatever the app."""

from typing import Any

from django.contrib.admin.utils import quote
from django.urls import NoReverseMatch, reverse


def may_see(user: Any, model: Any) -> bool:
    """Whether the user has Django's permission to view rows of this model."""
    return bool(user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"))


def address_of(model: Any, pk: Any = None) -> str:
    """The page of a row, or the list of all; empty where the admin has none."""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    try:
        return reverse(f"{name}_changelist") if pk is None else reverse(f"{name}_change", args=[quote(pk)])
    except NoReverseMatch:
        return ""


def because(reason: str) -> str:
    """The end of a log entry."""
    return f" Reason: {reason}" if reason else ""
