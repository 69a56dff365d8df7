from collections.abc import Callable
from typing import Any

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db.models.signals import post_migrate, pre_migrate
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from lib import actors


class UsersConfig(AppConfig):
    name = "users"
    verbose_name = _("Users")

    def ready(self) -> None:
        from users import events, flags, groups  # noqa: F401  (declare what this app brings)

        actors.audit_keeper = _note
        actors.staff_guard = _guard
        actors.proof_keeper = _require_proof
        user_logged_in.connect(_signed_in)
        user_logged_out.connect(_signed_out)
        pre_migrate.connect(groups.note_permissions, dispatch_uid="users.groups.before")
        post_migrate.connect(groups.make_groups, dispatch_uid="users.groups.after")


# What these need loads when something happens: most commands only read.


def _note(actor: actors.Actor, event: str, /, **details: Any) -> None:
    from users.services import staff

    staff.note(actor, event, **details)


def _require_proof(actor: actors.Actor) -> None:
    from users.services import staff

    staff.require_proof(actor)


def _guard(request: HttpRequest, run: Callable[[], Any], **more: Any) -> Any:
    from users.services import staff_calls

    return staff_calls.guard(request, run, **more)


def _signed_in(**kwargs: Any) -> None:
    from users import middleware

    middleware.open_admin_session(**kwargs)


def _signed_out(**kwargs: Any) -> None:
    from users import middleware

    middleware.end_admin_session(**kwargs)
