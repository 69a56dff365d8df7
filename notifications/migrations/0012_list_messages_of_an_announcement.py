from django.db import migrations, models


class Migration(migrations.Migration):
    """An index of all messages of an announcement in the order of the list; of those alone that tell one."""

    dependencies = [
        ("notifications", "0011_field_names"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("announcement__isnull", False)),
                fields=["announcement", "id"],
                name="message_announcement",
            ),
        ),
    ]
