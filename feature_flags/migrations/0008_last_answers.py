"""When each flag last answered yes, and no: so far as the hours that are kept know it."""

from django.db import migrations, models

_FILL = """
UPDATE feature_flags_flagseen SET
  yes_at = (SELECT MAX(hour) FROM feature_flags_flagusage AS u
            WHERE u.codename = feature_flags_flagseen.codename AND u.variant = '' AND u.yes > 0),
  no_at = (SELECT MAX(hour) FROM feature_flags_flagusage AS u
           WHERE u.codename = feature_flags_flagseen.codename AND u.variant = '' AND u.no > 0)
"""


class Migration(migrations.Migration):
    dependencies = [("feature_flags", "0007_drop_flag_parts")]

    operations = [
        migrations.AddField("flagseen", "yes_at", models.DateTimeField(null=True)),
        migrations.AddField("flagseen", "no_at", models.DateTimeField(null=True)),
        migrations.RunSQL(_FILL, migrations.RunSQL.noop),
    ]
