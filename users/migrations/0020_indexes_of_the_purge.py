"""What the hourly purge looks for is found by indexes, and so are the entries of the admin's log about one object."""

from typing import Any

from django.db import migrations, models
from django.db.models import Q

from lib.migrations import AddIndexConcurrently


class AddIndexOfLog(AddIndexConcurrently):
    """Of a table of Django's: it is no part of its models here."""

    def state_forwards(self, *states: Any) -> None:
        pass

    def database_forwards(self, app_label: str, *states: Any) -> None:
        super().database_forwards("admin", *states)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("users", "0019_events_of_webhooks"),
    ]
    operations = [
        AddIndexConcurrently(
            "user",
            models.Index(
                fields=["created_at"],
                condition=Q(
                    created_by="register",
                    email_verified_at=None,
                    password_changed_at=None,
                    is_active=True,
                    is_staff=False,
                ),
                name="user_never_verified",
            ),
        ),
        AddIndexConcurrently(
            "mfadevice",
            models.Index(fields=["created_at"], condition=Q(confirmed_at=None), name="mfa_device_unconfirmed"),
        ),
        AddIndexOfLog("logentry", models.Index(fields=["object_id", "content_type"], name="admin_log_of_object")),
    ]
