from django.db import migrations
from django.db.models import F


def fill(apps, schema_editor):
    """The group of a flag is its first codename: the hash of a rollout begins with it."""
    apps.get_model("feature_flags", "FeatureFlag").objects.filter(group_id="").update(group_id=F("codename"))


class Migration(migrations.Migration):
    dependencies = [("feature_flags", "0002_rules_segments_variants")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
