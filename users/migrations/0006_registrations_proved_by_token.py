"""Pending registrations belong to whoever holds their token; a network and a user agent prove nothing any more.

The column `network_mac` stays in the database, with a default, for the release before this one, which writes it.
"""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models


def unbind(apps: Any, schema_editor: Any) -> None:
    """What was bound by network and user agent is unproved."""
    rows = apps.get_model("users", "OneTimeToken").objects.using(schema_editor.connection.alias)
    rows.filter(purpose="verify").exclude(registration=None).update(registration=None)


class Migration(migrations.Migration):
    dependencies = [("users", "0005_indexes_of_the_staff_list")]

    operations = [
        migrations.AddField("registration", "is_contested", models.BooleanField(default=False, db_default=False)),
        migrations.AlterField("registration", "network_mac", models.CharField(max_length=64, db_default="")),
        migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("registration", "network_mac")]),
        migrations.AlterField(
            "onetimetoken",
            "registration",
            models.ForeignKey("users.registration", on_delete=django.db.models.deletion.SET_NULL, null=True),
        ),
        migrations.RunPython(unbind, migrations.RunPython.noop),
    ]
