"""What pages of the admin have in common, whatever the app."""

from typing import Any


def may_see(user: Any, model: Any) -> bool:
    """Whether the user has Django's permission to view rows of this model."""
    return bool(user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"))
