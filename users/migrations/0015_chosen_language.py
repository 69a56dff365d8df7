from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("users", "0014_hourly_counts")]

    operations = [
        migrations.SeparateDatabaseAndState(
            # By hand: on SQLite AddField copies the whole table, and leaves the triggers of the search behind.
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE users_user ADD COLUMN chosen_language varchar(16) DEFAULT '' NOT NULL",
                    "ALTER TABLE users_user DROP COLUMN chosen_language",
                )
            ],
            state_operations=[
                migrations.AddField(
                    model_name="user",
                    name="chosen_language",
                    field=models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        editable=False,
                        help_text="What the pages of the admin are shown in; empty: as the browser asks.",
                        max_length=16,
                        verbose_name="chosen language",
                    ),
                )
            ],
        )
    ]
