import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Announcements as rows of their own, and of each message which one it tells. No row that exists is rewritten."""

    dependencies = [
        ("notifications", "0008_subject_says_what_is_hidden"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Announcement",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("words", models.JSONField(default=dict, verbose_name="words")),
                ("url", models.CharField(blank=True, max_length=2000, verbose_name="link")),
                (
                    "severity",
                    models.CharField(
                        choices=[("info", "Info"), ("success", "Success"), ("warning", "Warning"), ("error", "Error")],
                        default="info",
                        max_length=8,
                        verbose_name="severity",
                    ),
                ),
                ("channels", models.JSONField(default=list, verbose_name="channels")),
                ("audience", models.CharField(max_length=32, verbose_name="audience")),
                ("choice", models.CharField(blank=True, max_length=300)),
                ("audience_label", models.CharField(max_length=300, verbose_name="audience")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("draft", "Draft"),
                            ("sending", "Sending"),
                            ("paused", "Paused"),
                            ("done", "Done"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="draft",
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                ("version", models.PositiveIntegerField(default=1)),
                ("cursor", models.CharField(blank=True, max_length=64)),
                ("counts", models.JSONField(default=dict)),
                ("counted_at", models.DateTimeField(null=True, verbose_name="counted")),
                ("expected", models.JSONField(default=dict)),
                ("delivery", models.JSONField(default=dict)),
                ("is_settled", models.BooleanField(default=True)),
                ("note", models.CharField(blank=True, max_length=200, verbose_name="why")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="created")),
                ("created_by", models.CharField(blank=True, max_length=64)),
                ("updated_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="changed")),
                ("updated_by", models.CharField(blank=True, max_length=64)),
                ("started_at", models.DateTimeField(null=True, verbose_name="sent")),
                ("started_by", models.CharField(blank=True, max_length=64)),
                ("written_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True, verbose_name="finished")),
                ("people", models.ManyToManyField(blank=True, related_name="+", to=settings.AUTH_USER_MODEL)),
            ],
            options={
                "verbose_name": "announcement",
                "verbose_name_plural": "announcements",
                "ordering": ("-pk",),
                "default_permissions": ("view",),
            },
        ),
        migrations.AddField(
            model_name="message",
            name="announcement",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="messages",
                to="notifications.announcement",
                verbose_name="announcement",
            ),
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("announcement__isnull", False)),
                fields=["announcement", "state", "id"],
                name="message_announcement_state",
            ),
        ),
        migrations.AddConstraint(
            model_name="announcement",
            constraint=models.CheckConstraint(
                condition=models.Q(("state", "draft"), ("started_at__isnull", False), _connector="OR"),
                name="announcement_sent_has_time",
            ),
        ),
    ]
