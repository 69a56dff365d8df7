"""Finds what staff did among what millions did at the API; it holds the staff's events alone."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("users", "0010_saved_views"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="auditevent",
            index=models.Index(
                condition=models.Q(("door__in", ["admin", "command"])), fields=["id"], name="audit_staff"
            ),
        ),
    ]
