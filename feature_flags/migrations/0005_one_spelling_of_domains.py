"""Domains in rules and segments in the one spelling that people's addresses have."""

from django.db import migrations

from lib.addresses import normal_domain


def respell(apps, schema_editor):
    for model in ("FlagRule", "Segment"):
        for row in apps.get_model("feature_flags", model).objects.all():
            before = row.constraints
            row.constraints = [_respelt(constraint) for constraint in before]
            if row.constraints != before:
                row.save(update_fields=["constraints"])


def _respelt(constraint):
    if constraint.get("field") != "emailDomain" or not constraint.get("values"):
        return constraint
    return {**constraint, "values": [normal_domain(value) for value in constraint["values"]]}


class Migration(migrations.Migration):
    dependencies = [("feature_flags", "0004_payloads_as_written")]

    operations = [migrations.RunPython(respell, migrations.RunPython.noop)]
