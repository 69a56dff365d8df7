"""Columns that nothing reads or writes any more leave the models, and stay in the tables for one more release.

`Message.headers`, `Message.group_key`, and `group_key`, `count`, `expires_at` of `InAppNotification` held nothing but
their defaults. Processes of the release before go on beside this schema: they name all five in every INSERT and SELECT,
and still may. Those of this release name none of them, so the database fills them in by itself (`expires_at` may be
empty). Undone, the models have the columns back and no row lacks a value.

The release after this one may drop them, once no process of the release before is left.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notifications", "0005_one_spelling_of_addresses")]

    operations = [
        migrations.AlterField("message", "headers", models.JSONField(default=dict, db_default={})),
        migrations.AlterField(
            "message", "group_key", models.CharField(max_length=100, blank=True, default="", db_default="")
        ),
        migrations.AlterField(
            "inappnotification", "group_key", models.CharField(max_length=100, blank=True, default="", db_default="")
        ),
        migrations.AlterField("inappnotification", "count", models.PositiveIntegerField(default=1, db_default=1)),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveField("message", "headers"),
                migrations.RemoveField("message", "group_key"),
                migrations.RemoveField("inappnotification", "group_key"),
                migrations.RemoveField("inappnotification", "count"),
                migrations.RemoveField("inappnotification", "expires_at"),
            ]
        ),
    ]
