"""The tables and columns that flag documents replace."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("feature_flags", "0006_flag_documents")]

    operations = [
        migrations.DeleteModel(name="FlagPrerequisite"),
        migrations.DeleteModel(name="FlagTarget"),
        migrations.DeleteModel(name="FlagVariant"),
        migrations.DeleteModel(name="FlagRule"),
        migrations.RemoveConstraint(model_name="featureflag", name="feature_flag_rollout_percent"),
        migrations.RemoveField(model_name="featureflag", name="group_id"),
        migrations.RemoveField(model_name="featureflag", name="impression_data"),
        migrations.RemoveField(model_name="featureflag", name="off_value"),
        migrations.RemoveField(model_name="featureflag", name="rollout_percent"),
        migrations.RemoveField(model_name="featureflag", name="stickiness"),
    ]
