from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notifications", "0016_deliveries_of_deletions")]
    operations = [
        migrations.AddField("webhookendpoint", "resumed_at", models.DateTimeField(null=True)),
        migrations.AddField("webhookendpoint", "deleted_at", models.DateTimeField(null=True)),
    ]
