"""The groups that come with the product: *Support*, *Release* and *Admin*.

`migrate` makes the ones that are missing and gives each what it is for. In a group that exists it adds only permissions
that the same run has brought: what staff take from a group, or give to it, stays as they left it.
"""

from typing import Any

from django.apps import apps as installed
from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.db import connections
from django.db.models import Q, QuerySet

#: Of what they may do themselves.
_PROPOSALS = ("add_proposal", "view_proposal", "decide_proposal")
#: By name: which permissions.
GROUPS = {
    "Support": Q(
        content_type__app_label__in=("users", "notifications", "feature_flags"),
        codename__in=(
            *("view_user", "view_usersession", "view_auditevent", "view_mfadevice"),
            *("activate_user", "verify_user", "send_reset_user", "sign_out_user"),
            *("view_message", "view_preference", "view_suppression", "resend_message", "view_featureflag"),
            *_PROPOSALS,
        ),
    ),
    "Release": Q(content_type__app_label="feature_flags") | Q(content_type__app_label="users", codename__in=_PROPOSALS),
    "Admin": Q(),
}

#: By database: the permissions there were before this run of `migrate`.
_before: dict[str, set[int]] = {}


def note_permissions(*, sender: Any, using: str, apps: Apps, **kwargs: Any) -> None:
    """Before `migrate`."""
    if _is_last(sender) and (permissions := _permissions(apps, using)) is not None:
        _before[using] = set(permissions.values_list("pk", flat=True))


def make_groups(*, sender: Any, using: str, apps: Apps = installed, **kwargs: Any) -> None:
    """After `migrate`, and after a flush, which names no `apps`."""
    if not _is_last(sender):
        return
    # Our receiver may run before the one of django.contrib.auth.
    create_permissions(sender, verbosity=0, using=using, apps=apps)
    permissions = _permissions(apps, using)
    if permissions is None:
        return
    groups = apps.get_model("auth", "Group")._default_manager.using(using)
    known = _before.pop(using, None)
    for name, wanted in GROUPS.items():
        group, is_new = groups.get_or_create(name=name)
        found = permissions.filter(wanted)
        if not is_new:
            found = found.none() if known is None else found.exclude(pk__in=known)
        group.permissions.add(*found)


def _is_last(sender: Any) -> bool:
    """The signals come once for every app that has models; the last has seen the permissions of all."""
    last = [config for config in installed.get_app_configs() if config.models_module is not None][-1]
    return bool(sender.label == last.label)


def _permissions(apps: Apps, using: str) -> QuerySet[Any] | None:
    """None where their tables do not exist (yet, or any more)."""
    try:
        permission = apps.get_model("auth", "Permission")
    except LookupError:
        return None
    tables = connections[using].introspection.table_names()
    if not {"auth_permission", "auth_group_permissions", "django_content_type"} <= set(tables):
        return None
    return permission._default_manager.using(using).all()
