from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("users", "0006_registrations_proved_by_token")]

    operations = [migrations.AddField("refreshtoken", "repeated_at", models.DateTimeField(null=True))]
