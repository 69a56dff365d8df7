"""The index of what staff did holds their events of the API, too."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("users", "0012_user_filters"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="auditevent",
            name="audit_staff",
        ),
        migrations.AddIndex(
            model_name="auditevent",
            index=models.Index(
                condition=models.Q(
                    ("door__in", ("admin", "command")),
                    (
                        "event__in",
                        (
                            "template.saved",
                            "template.restored",
                            "announcement.sent",
                            "announcement.paused",
                            "announcement.resumed",
                            "announcement.cancelled",
                            "message.sent",
                            "message.retried",
                            "message.cancelled",
                            "message.resent",
                            "suppression.added",
                            "suppression.lifted",
                            "provider.paused",
                            "provider.resumed",
                            "flags.exported",
                            "flag_token.created",
                            "flag_token.revoked",
                        ),
                    ),
                    _connector="OR",
                ),
                fields=["id"],
                name="audit_by_staff",
            ),
        ),
    ]
