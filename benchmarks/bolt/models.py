"""The tables that benchmarks/fastapi_peer.py has made."""

import uuid

from django.db import models


class User(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.CharField(max_length=254, unique=True)
    password = models.CharField(max_length=128)
    first_name = models.CharField(max_length=150)
    last_name = models.CharField(max_length=150)
    is_active = models.BooleanField(default=True)
    email_verified_at = models.DateTimeField(null=True)

    class Meta:
        managed = False
        db_table = "users_user"


class UserSession(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    user = models.ForeignKey(User, models.CASCADE)
    kind = models.CharField(max_length=8, default="api")
    amr = models.JSONField()
    created_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    ip = models.CharField(max_length=45)
    user_agent = models.CharField(max_length=256)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        managed = False
        db_table = "users_usersession"


class RefreshToken(models.Model):
    hash = models.BinaryField(max_length=32, unique=True)
    session = models.ForeignKey(UserSession, models.CASCADE)
    created_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        managed = False
        db_table = "users_refreshtoken"


class FeatureFlag(models.Model):
    codename = models.CharField(max_length=100, unique=True)
    label = models.CharField(max_length=200, null=True)
    description = models.TextField(null=True)
    is_active = models.BooleanField(default=False)

    class Meta:
        managed = False
        db_table = "feature_flags_featureflag"
