"""The four endpoints of benchmarks/fastapi_peer.py. Synchronous handlers, which django-bolt runs on threads that keep
their connections: its asynchronous ones go to the same threads once for every query."""

import hashlib
import secrets
import uuid
from datetime import timedelta
from urllib.parse import parse_qs

import jwt
import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django_bolt import BoltAPI
from django_bolt.auth import IsAuthenticated, JWTAuthentication
from django_bolt.exceptions import HTTPException
from django_bolt.request import Request

from benchmarks.bolt.models import FeatureFlag, RefreshToken, User, UserSession

AUDIENCE = "users:ACCESS_TOKEN"
ACCESS_SECONDS, REFRESH_SECONDS = 900, 30 * 86400

urlpatterns: list[object] = []
api = BoltAPI(enable_logging=False, compression=False)
hasher = PasswordHasher(memory_cost=19456, time_cost=2, parallelism=1)


class StatusOut(msgspec.Struct):
    status: str


class FlagOut(msgspec.Struct):
    codename: str
    label: str | None
    description: str | None
    is_active: bool


class UserOut(msgspec.Struct):
    id: str
    email: str
    first_name: str
    last_name: str


class TokensOut(msgspec.Struct):
    access_token: str
    refresh_token: str
    token_type: str = "bearer"
    access_token_expiration: int = ACCESS_SECONDS
    refresh_token_expiration: int = REFRESH_SECONDS


@api.get("/api/_status")
async def status() -> StatusOut:
    return StatusOut("running")


@api.get("/api/feature-flags/feature-flags")
def feature_flags() -> list[FlagOut]:
    columns = FeatureFlag.objects.order_by("codename").values_list("codename", "label", "description", "is_active")
    return [FlagOut(*row) for row in columns]


@api.get("/api/users/user", auth=[JWTAuthentication(audience=AUDIENCE)], guards=[IsAuthenticated()])
def read_user(request: Request) -> UserOut:
    live = UserSession.objects.filter(
        pk=uuid.UUID(request["context"]["auth_claims"]["sid"]), revoked_at=None, expires_at__gt=timezone.now()
    )
    fields = "user_id", "user__email", "user__first_name", "user__last_name", "user__is_active"
    row = live.values_list(*fields).first()
    if row is None or not row[-1]:
        raise HTTPException(401, "Unauthorized")
    return UserOut(row[0].hex, *row[1:4])


@api.post("/api/login")
def login(request: Request) -> TokensOut:
    form = parse_qs(request.body.decode())
    user = User.objects.filter(email=form["username"][0].lower()).first()
    try:
        is_right = user is not None and hasher.verify(user.password, form["password"][0])
    except VerifyMismatchError:
        is_right = False
    if not is_right or not user.is_active or user.email_verified_at is None:
        raise HTTPException(400, "ErrorCode.LOGIN_BAD_CREDENTIALS")
    refresh, now = f"rt_{secrets.token_urlsafe(32)}", timezone.now()
    with transaction.atomic():
        session = UserSession.objects.create(
            user=user,
            amr=["pwd"],
            created_at=now,
            last_seen_at=now,
            expires_at=now + timedelta(seconds=REFRESH_SECONDS),
            ip="127.0.0.1",
            user_agent=request.headers.get("user-agent", "")[:256],
        )
        digest = hashlib.sha256(refresh.encode()).digest()
        RefreshToken.objects.create(hash=digest, session=session, created_at=now)
    issued = int(now.timestamp())
    claims = {
        "sub": user.id.hex,
        "email": user.email,
        "first_name": user.first_name,
        "aud": AUDIENCE,
        "iss": "peer",
        "sid": session.id.hex,
        "jti": uuid.uuid4().hex,
        "iat": issued,
        "exp": issued + ACCESS_SECONDS,
    }
    return TokensOut(jwt.encode(claims, settings.SECRET_KEY), refresh)
