"""The peer: the same four endpoints as a careful team writes them with FastAPI, SQLAlchemy 2 and asyncpg.

Pooled connections, one joined query per bearer, columns instead of whole entities, no BEGIN around a read,
hashing in a bounded pool. `python -m benchmarks.fastapi_peer` creates the tables and the rows.
"""

import asyncio
import hashlib
import os
import secrets
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import parse_qs

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from sqlalchemy import JSON, DateTime, ForeignKey, LargeBinary, Row, String, Text, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks import seed

AUDIENCE = "users:ACCESS_TOKEN"
ACCESS_SECONDS, REFRESH_SECONDS = 900, 30 * 86400
SECRET = os.environ.get("TOKEN_SECRET", "")

# No overflow: connections beyond the pool would be opened and closed again under load.
engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=10, max_overflow=0)
Writing = async_sessionmaker(engine, expire_on_commit=False)
Reading = async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"))
hasher = PasswordHasher(memory_cost=19456, time_cost=2, parallelism=1)
hashing = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))


def now() -> datetime:
    return datetime.now(UTC)


# --- Tables -----------------------------------------------------------------------------------------------------------


class Base(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True)}


class User(Base):
    __tablename__ = "users_user"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    password: Mapped[str] = mapped_column(String(128))
    first_name: Mapped[str] = mapped_column(String(150))
    last_name: Mapped[str] = mapped_column(String(150))
    is_active: Mapped[bool] = mapped_column(default=True)
    email_verified_at: Mapped[datetime | None]


class UserSession(Base):
    __tablename__ = "users_usersession"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id), index=True)
    kind: Mapped[str] = mapped_column(String(8), default="api")
    amr: Mapped[list[str]] = mapped_column(JSON, default=lambda: ["pwd"])
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_seen_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    ip: Mapped[str] = mapped_column(String(45))
    user_agent: Mapped[str] = mapped_column(String(256))
    revoked_at: Mapped[datetime | None]


class RefreshToken(Base):
    __tablename__ = "users_refreshtoken"

    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    session_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(UserSession.id), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    used_at: Mapped[datetime | None]


class FeatureFlag(Base):
    __tablename__ = "feature_flags_featureflag"

    id: Mapped[int] = mapped_column(primary_key=True)
    codename: Mapped[str] = mapped_column(String(100), unique=True)
    label: Mapped[str | None] = mapped_column(String(200))
    description: Mapped[str | None] = mapped_column(Text)
    is_active: Mapped[bool] = mapped_column(default=False)


# --- Shapes -----------------------------------------------------------------------------------------------------------


class StatusOut(BaseModel):
    status: str


class FlagOut(BaseModel, from_attributes=True):
    codename: str
    label: str | None
    description: str | None
    is_active: bool


class UserOut(BaseModel):
    id: str
    email: str
    first_name: str
    last_name: str


class TokensOut(BaseModel):
    access_token: str
    refresh_token: str
    token_type: str = "bearer"
    access_token_expiration: int = ACCESS_SECONDS
    refresh_token_expiration: int = REFRESH_SECONDS


# --- Endpoints --------------------------------------------------------------------------------------------------------

application = FastAPI()
bearer = HTTPBearer(auto_error=False)


async def signed_in(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Row:
    """The user's row behind a bearer; 401 unless token, session and user are all good."""
    refusal = HTTPException(401, "Unauthorized", {"WWW-Authenticate": "Bearer"})
    if credentials is None:
        raise refusal
    try:
        claims = jwt.decode(credentials.credentials, SECRET, algorithms=["HS256"], audience=AUDIENCE)
    except jwt.InvalidTokenError:
        raise refusal from None
    query = (
        select(User.id, User.email, User.first_name, User.last_name, User.is_active)
        .join(UserSession, UserSession.user_id == User.id)
        .where(
            UserSession.id == uuid.UUID(claims["sid"]),
            UserSession.revoked_at.is_(None),
            UserSession.expires_at > now(),
        )
    )
    async with Reading() as session:
        user = (await session.execute(query)).one_or_none()
    if user is None or not user.is_active:
        raise refusal
    return user


@application.get("/api/_status")
async def status() -> StatusOut:
    return StatusOut(status="running")


@application.get("/api/feature-flags/feature-flags")
async def feature_flags() -> list[FlagOut]:
    columns = select(FeatureFlag.codename, FeatureFlag.label, FeatureFlag.description, FeatureFlag.is_active)
    async with Reading() as session:
        rows = await session.execute(columns.order_by(FeatureFlag.codename))
        return [FlagOut.model_validate(row) for row in rows]


@application.get("/api/users/user")
async def read_user(user: Annotated[Row, Depends(signed_in)]) -> UserOut:
    return UserOut(id=user.id.hex, email=user.email, first_name=user.first_name, last_name=user.last_name)


def _matches(hashed: str, password: str) -> bool:
    try:
        return hasher.verify(hashed, password)
    except VerifyMismatchError:
        return False


@application.post("/api/login")
async def login(request: Request) -> TokensOut:
    # Read by hand: FastAPI's Form() needs one more package, and the hash outweighs this by a thousand.
    form = parse_qs((await request.body()).decode())
    email, password = form["username"][0].lower(), form["password"][0]
    async with Reading() as session:
        user = (await session.execute(select(User).where(User.email == email))).scalar_one_or_none()
    # No connection is held while hashing.
    is_right = user is not None and await asyncio.get_running_loop().run_in_executor(
        hashing, _matches, user.password, password
    )
    if not is_right or not user.is_active or user.email_verified_at is None:
        raise HTTPException(400, "ErrorCode.LOGIN_BAD_CREDENTIALS")
    refresh = f"rt_{secrets.token_urlsafe(32)}"
    sid = uuid.uuid4()
    async with Writing.begin() as session:
        session.add(
            UserSession(
                id=sid,
                user_id=user.id,
                expires_at=now() + timedelta(seconds=REFRESH_SECONDS),
                ip=request.client.host if request.client else "",
                user_agent=request.headers.get("user-agent", "")[:256],
            )
        )
        await session.flush()
        session.add(RefreshToken(hash=hashlib.sha256(refresh.encode()).digest(), session_id=sid))
    issued = int(now().timestamp())
    claims = {
        "user_id": user.id.hex,
        "email": user.email,
        "first_name": user.first_name,
        "aud": AUDIENCE,
        "iss": "peer",
        "sid": sid.hex,
        "jti": uuid.uuid4().hex,
        "iat": issued,
        "exp": issued + ACCESS_SECONDS,
    }
    return TokensOut(access_token=jwt.encode(claims, SECRET, headers={"typ": "at+jwt"}), refresh_token=refresh)


async def create() -> None:
    """Tables, flags and people, in an empty database."""
    password = hasher.hash(seed.PASSWORD)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with Writing.begin() as session:
        session.add_all(FeatureFlag(**seed.flag(number)) for number in range(seed.FLAGS))
        session.add_all(
            User(
                email=seed.email(number),
                password=password,
                first_name=seed.FIRST_NAME,
                last_name=seed.LAST_NAME,
                email_verified_at=now(),
            )
            for number in range(seed.PEOPLE)
        )
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(create())
