"""Indexes for the admin's search by the beginning of a name. SQLite is for sizes that need none."""

from django.db import migrations

NAMES = ("first_name", "last_name")


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name in NAMES:
            schema_editor.execute(
                f"CREATE INDEX user_{name}_upper ON users_user (UPPER({name}::text) text_pattern_ops)"
            )


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name in NAMES:
            schema_editor.execute(f"DROP INDEX user_{name}_upper")


class Migration(migrations.Migration):
    dependencies = [("users", "0001_initial")]
    operations = [migrations.RunPython(create, drop)]
