from django.db import migrations, models


def rename_permissions(apps, schema_editor, old="chore", new="periodicjob", words="periodic job"):
    permissions = apps.get_model("auth", "Permission").objects.using(schema_editor.connection.alias)
    for verb in ("add", "change", "delete", "view"):
        found = permissions.filter(content_type__app_label="notifications", codename=f"{verb}_{old}")
        found.update(codename=f"{verb}_{new}", name=f"Can {verb} {words}")


def give_back_permissions(apps, schema_editor):
    rename_permissions(apps, schema_editor, "periodicjob", "chore", "chore")


class Migration(migrations.Migration):
    """Names and words only: no table is altered."""

    dependencies = [("notifications", "0006_release_unused_columns"), ("auth", "0001_initial")]

    operations = [
        migrations.AlterModelTable(name="chore", table="notifications_chore"),
        migrations.RenameModel("Chore", "PeriodicJob"),
        migrations.RunPython(rename_permissions, give_back_permissions, elidable=True),
        migrations.AlterModelOptions(
            name="periodicjob",
            options={"ordering": ("name",), "verbose_name": "periodic job", "verbose_name_plural": "periodic jobs"},
        ),
        migrations.AlterField(
            model_name="deliveryevent",
            name="refusal",
            field=models.CharField(
                blank=True,
                choices=[
                    ("dead", "no such mailbox"),
                    ("full", "mailbox full"),
                    ("content", "content refused"),
                    ("sender", "sender refused"),
                    ("listed", "on the provider's list"),
                    ("complained", "marked as spam"),
                    ("unsubscribed", "unsubscribed"),
                    ("other", "unspecified"),
                ],
                db_default="",
                default="",
                max_length=12,
                verbose_name="refusal",
            ),
        ),
        migrations.AlterField(
            model_name="suppression",
            name="source",
            field=models.CharField(
                blank=True, help_text="Who or what reported it.", max_length=200, verbose_name="source"
            ),
        ),
    ]
