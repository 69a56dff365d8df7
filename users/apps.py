from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class UsersConfig(AppConfig):
    name = "users"

    def ready(self) -> None:
        from lib import actors
        from users import flags, groups, middleware, notifications  # noqa: F401  (declare what this app brings)
        from users.services import staff

        actors.audit_keeper = staff.note
        pre_migrate.connect(groups.note_permissions, dispatch_uid="users.groups.before")
        post_migrate.connect(groups.make_groups, dispatch_uid="users.groups.after")
