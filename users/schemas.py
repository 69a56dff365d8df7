"""Shapes on the wire; `contract.md` of the seed decides them, unknown keys are ignored."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Schema
from pydantic import AfterValidator, BaseModel, Field, StrictStr

from lib.addresses import Email
from lib.text import STORABLE, Name, Text, require_storable
from users.models import User, UserSession

# Bodies are plain pydantic models: ninja's Schema would read attributes of any JSON value, a list's too.
# A number or a boolean is not a string here: the seed answers 422.
StrictText = Annotated[StrictStr, AfterValidator(require_storable), STORABLE]


class RegisterIn(BaseModel):
    email: Email
    password: Text
    first_name: Name
    last_name: Name


class UserOut(Schema):
    id: str
    email: str
    first_name: str
    last_name: str

    @classmethod
    def of(cls, user: Any) -> "UserOut":
        return cls(id=user.id.hex, email=user.email, first_name=user.first_name, last_name=user.last_name)


class ProfileIn(BaseModel):
    """One field, both or none; null is refused."""

    first_name: Name = ""
    last_name: Name = ""


class EmailIn(BaseModel):
    email: Email


class AnyAddressIn(BaseModel):
    """Any string: an address nobody has is answered like any other."""

    email: Text


class VerificationOut(Schema):
    verification_token: str
    registration_code: str | None = None


class VerifyIn(BaseModel):
    token: StrictText
    registration_code: StrictText


class VerifiedOut(Schema):
    verified: bool = True


class LoginForm(BaseModel):
    """The password grant of OAuth 2 (RFC 6749, 4.3) as the seed takes it; all but the first two are ignored."""

    username: Annotated[Text, Field(min_length=1)]
    password: Annotated[Text, Field(min_length=1)]
    grant_type: Literal["password", ""] = "password"
    scope: str = ""
    client_id: str | None = None
    client_secret: str | None = None


class LoginOut(Schema):
    """Lives are whole seconds. `access_token` is left out where a cookie carries it."""

    access_token: str | None = None
    refresh_token: str
    token_type: str = "bearer"
    access_token_expiration: int
    refresh_token_expiration: int


class RefreshIn(BaseModel):
    token: StrictText


class RefreshOut(Schema):
    access_token: str | None = None
    access_token_expiration: int
    token_type: str = "bearer"
    refresh_token: str | None = None
    refresh_token_expiration: int | None = None


class LogoutOut(Schema):
    status: str = "success"


class TokenSentOut(Schema):
    token_sent: bool = True
    forgot_password_token: str | None = None


class ResetIn(BaseModel):
    email: Text
    token: StrictText
    password: Text


class PasswordResetOut(Schema):
    password_reset: bool = True


# --- One's own account ------------------------------------------------------------------------------------------------


class ChangePasswordIn(BaseModel):
    current_password: Text
    new_password: Text


class PasswordChangedOut(Schema):
    password_changed: bool = True


class TokenIn(BaseModel):
    token: StrictText


class EmailChangeOut(Schema):
    token_sent: bool = True


class EmailChangedOut(Schema):
    email_changed: bool = True


class EmailUndoneOut(Schema):
    email_change_undone: bool = True


class SessionOut(Schema):
    """`label` names the program (`Firefox on Linux`), `amr` how its person proved who they are (RFC 8176)."""

    id: str
    kind: str
    label: str
    ip: str
    user_agent: str
    amr: list[str]
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    is_current: bool

    @classmethod
    def of(cls, session: UserSession, current: UUID | None) -> "SessionOut":
        return cls(
            id=session.pk.hex,
            kind=session.kind,
            label=session.label,
            ip=session.ip,
            user_agent=session.user_agent,
            amr=session.amr,
            created_at=session.created_at,
            last_seen_at=session.last_seen_at,
            expires_at=session.expires_at,
            is_current=session.pk == current,
        )


class SecurityEventOut(Schema):
    """`id` is what `before` takes; `by` is `you`, `staff`, `system` or `unknown` (nobody who proved who they are)."""

    id: str
    at: datetime
    event: str
    outcome: str
    by: str
    door: str
    ip: str
    label: str
    session_id: str | None
    data: dict[str, Any]


class EventsQuery(BaseModel):
    before: Annotated[str, Field(max_length=200)] = ""


class DeletionOut(Schema):
    """The account is shut and goes for good at `delete_after_at`."""

    deletion_scheduled: bool = True
    delete_after_at: datetime


class UndeletedOut(Schema):
    undeleted: bool = True


class GreetingOut(Schema):
    message: str

    @classmethod
    def of(cls, user: User) -> "GreetingOut":
        return cls(message=f"Hello {user.first_name}!")
