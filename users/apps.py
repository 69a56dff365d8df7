from django.apps import AppConfig


class UsersConfig(AppConfig):
    name = "users"

    def ready(self) -> None:
        from users import flags, notifications, signals  # noqa: F401  (declare what this app brings)
