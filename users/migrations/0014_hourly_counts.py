from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("users", "0013_events_of_staff_at_any_door"),
    ]

    operations = [
        migrations.CreateModel(
            name="SignInCount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hour", models.DateTimeField()),
                ("kind", models.CharField(max_length=40)),
                ("count", models.PositiveIntegerField()),
            ],
            options={
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("hour", "kind"), name="sign_in_count_once")],
            },
        ),
    ]
