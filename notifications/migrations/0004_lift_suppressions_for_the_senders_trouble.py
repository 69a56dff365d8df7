"""Addresses were suppressed for whatever began with 5.1, the sender's own limits among it (5.1.20, 5.1.90)."""

from django.db import migrations

DEAD = r"^[0-9]{3} 5\.1\.(1|2|3|6|10)([^0-9.]|$)"


def lift(apps, schema_editor):
    listed = apps.get_model("notifications", "Suppression").objects.filter(scope="all", reason="bounce")
    listed.filter(source__regex=r"^[0-9]{3} 5\.1\.[0-9]").exclude(source__regex=DEAD).delete()


class Migration(migrations.Migration):
    dependencies = [("notifications", "0003_delivery_event_refusal")]

    operations = [migrations.RunPython(lift, migrations.RunPython.noop, elidable=True)]
