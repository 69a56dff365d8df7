"""The deliveries that the hourly purge looks for are found by an index."""

from django.db import migrations, models
from django.db.models import Q

from lib.migrations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("notifications", "0015_keep_the_trace_of_what_is_sent")]
    operations = [
        AddIndexConcurrently(
            "webhookdelivery",
            models.Index(fields=["created_at"], condition=Q(event="user.deleted"), name="webhook_user_deleted"),
        ),
    ]
