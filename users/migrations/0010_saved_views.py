import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("users", "0009_user_search"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="user",
            options={
                "permissions": (
                    ("activate_user", "Can activate and unlock users"),
                    ("deactivate_user", "Can deactivate users"),
                    ("verify_user", "Can mark addresses as verified"),
                    ("send_reset_user", "Can send password resets"),
                    ("sign_out_user", "Can sign users out everywhere"),
                    ("remove_factor_user", "Can remove second factors"),
                    ("export_user", "Can export what is held of a user"),
                    ("export_list", "Can export lists as CSV"),
                ),
                "verbose_name": "user",
                "verbose_name_plural": "users",
            },
        ),
        migrations.CreateModel(
            name="SavedView",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("label", models.CharField(max_length=100)),
                ("name", models.CharField(max_length=60)),
                ("query", models.TextField(blank=True)),
                ("is_shared", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="saved_views",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        condition=models.Q(("is_shared", True)), fields=["label", "name"], name="saved_view_shared"
                    )
                ],
                "constraints": [models.UniqueConstraint(fields=("user", "label", "name"), name="saved_view_name")],
            },
        ),
    ]
