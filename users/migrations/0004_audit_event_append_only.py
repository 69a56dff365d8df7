"""The audit trail takes rows and gives none back: triggers refuse UPDATE and DELETE."""

from django.db import migrations

from users import audit_triggers


def create(apps, schema_editor):
    for statement in audit_triggers.CREATE[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


def drop(apps, schema_editor):
    for statement in audit_triggers.DROP[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("users", "0003_audit_trail_and_factors")]
    operations = [migrations.RunPython(create, drop)]
