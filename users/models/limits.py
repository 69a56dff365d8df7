"""The counters of the limiter."""

from django.db import models


class RateBucket(models.Model):
    """One counter of the limiter. Times are milliseconds since 1970, so that one SQL text serves both databases."""

    key = models.BinaryField(primary_key=True, max_length=32)
    scope = models.CharField(max_length=32)
    count = models.IntegerField()
    blocked_until = models.BigIntegerField()
    reset_at = models.BigIntegerField()
    max_count = models.IntegerField()
    pause = models.BigIntegerField()
    doublings = models.IntegerField()
    slides = models.BooleanField()
    at = models.BigIntegerField()

    class Meta:
        indexes = (models.Index(fields=["reset_at"], name="rate_bucket_reset_at"),)
