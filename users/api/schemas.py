"""Shapes on the wire, as the seed's clients know them (docs/api.md); unknown keys are ignored."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, StringConstraints, model_validator
from typing_extensions import TypeAliasType

from lib.api import Schema
from lib.schemas import STORABLE, Email, Name, Text
from lib.text import require_storable
from users.models import FACTOR_NAME_MAX_LENGTH, MfaDevice, User, UserSession

# Bodies are plain pydantic models: ninja's Schema would read attributes of any JSON value, a list's too. So are answers
# that are given often: a Schema that is made by us already is read once more, attribute by attribute.
# A number or a boolean is not a string here: the seed answers 422.
StrictText = Annotated[StrictStr, AfterValidator(require_storable), STORABLE]


class RegisterIn(BaseModel):
    email: Email
    password: Text
    first_name: Name
    last_name: Name


class UserOut(BaseModel):
    id: str
    email: str
    first_name: str
    last_name: str

    @classmethod
    def of(cls, user: User) -> "UserOut":
        return cls(id=user.id.hex, email=user.email, first_name=user.first_name, last_name=user.last_name)


class ProfileIn(BaseModel):
    """One field, both or none; null is refused."""

    first_name: Name = ""
    last_name: Name = ""


class EmailIn(BaseModel):
    email: Email


class AnyAddressIn(BaseModel):
    """Any string: an address without an account is answered like any other."""

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


class RefreshOut(BaseModel):
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


class SessionOut(BaseModel):
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
        same = {name: getattr(session, name) for name in cls.model_fields if name not in {"id", "is_current"}}
        return cls(**same, id=session.pk.hex, is_current=session.pk == current)


class SecurityEventOut(Schema):
    """`id` is what `before` takes; `by` is `you`, `staff`, `system` or `unknown` (without proof of who they are)."""

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


# --- Second factors ---------------------------------------------------------------------------------------------------

# Options and credentials are the JSON of WebAuthn level 3 (`parseCreationOptionsFromJSON`, `credential.toJSON()`).

FactorName = Annotated[
    StrictStr,
    StringConstraints(max_length=FACTOR_NAME_MAX_LENGTH, strip_whitespace=True),
    AfterValidator(require_storable),
    STORABLE,
]
#: A TOTP code or a recovery code, blanks and hyphens allowed.
Code = Annotated[StrictText, Field(min_length=1, max_length=64)]
#: Named in the description, because generators of clients stumble over one that is written out within alternatives.
Credential = TypeAliasType("Credential", dict[str, Any])


class FactorIn(BaseModel):
    name: FactorName = ""


class CodeIn(BaseModel):
    code: Code


class TotpOut(Schema):
    """Shown once: the secret in base32, the same as an `otpauth:` address and as a QR code (SVG)."""

    id: str
    secret: str
    otpauth_uri: str
    svg: str


class RecoveryCodesOut(Schema):
    """Shown once; empty where there are unspent ones already."""

    recovery_codes: list[str]


class DeviceOut(Schema):
    id: str
    kind: str
    name: str
    created_at: datetime
    last_used_at: datetime | None

    @classmethod
    def of(cls, device: MfaDevice) -> "DeviceOut":
        same = {name: getattr(device, name) for name in cls.model_fields if name != "id"}
        return cls(**same, id=device.pk.hex)


class FactorsOut(Schema):
    """`recovery_codes` is how many are unspent."""

    devices: list[DeviceOut]
    recovery_codes: int


class PasskeyAnswerIn(BaseModel):
    """What an authenticator has answered to the options that came with `ceremony`."""

    ceremony: StrictText
    credential: Credential


def _one_of(*alternatives: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Describe a shape by its alternatives, each the members it has (and all it needs, but for `credential`).

    Generators of clients look at nothing else once there are alternatives, so that each is whole.
    """

    def describe(schema: dict[str, Any]) -> None:
        members = schema.pop("properties")
        for member in members.values():
            member.pop("default", None)
        schema.pop("required", None)
        schema["anyOf"] = [
            {
                "title": f"{schema['title']}By{'Passkey' if 'credential' in given else next(reversed(given)).title()}",
                "type": "object",
                "properties": {name: {**members[name], **more} for name, more in given.items()},
                "required": [name for name in given if name != "credential"],
            }
            for given in alternatives
        ]

    return describe


#: In place of one that may be null.
_TYPED: dict[str, Any] = {"anyOf": [{"type": "string", "minLength": 1, "pattern": r"^[^\u0000]*$"}]}


class MfaVerifyIn(BaseModel):
    """`code` with `totp` and `recovery`; `ceremony` and `credential` with `webauthn`."""

    model_config = ConfigDict(
        json_schema_extra=_one_of(
            {"mfa_token": {}, "method": {"enum": ["totp", "recovery"]}, "code": {}},
            {"mfa_token": {}, "method": {"enum": ["webauthn"]}, "ceremony": {"minLength": 1}, "credential": {}},
        )
    )

    mfa_token: StrictText
    method: Literal["totp", "recovery", "webauthn"]
    code: Code = ""
    ceremony: StrictText = ""
    credential: Credential = {}

    @model_validator(mode="after")
    def _is_complete(self) -> "MfaVerifyIn":
        is_passkey = self.method == "webauthn"
        if not (self.ceremony if is_passkey else self.code):
            raise ValueError("ceremony and credential are needed" if is_passkey else "code is needed")
        return self


_PROOFS = ("password", "code", "ceremony")


class ReauthenticateIn(BaseModel):
    """One of `password`; `code` (of the app or a recovery code); `ceremony` with `credential`."""

    model_config = ConfigDict(
        json_schema_extra=_one_of({"password": _TYPED}, {"code": _TYPED}, {"ceremony": _TYPED, "credential": {}})
    )

    password: Text | None = None
    code: Code | None = None
    ceremony: StrictText | None = None
    credential: Credential = {}

    @model_validator(mode="after")
    def _is_one(self) -> "ReauthenticateIn":
        if sum(getattr(self, name) is not None for name in _PROOFS) != 1:
            raise ValueError("one of password, code or ceremony is needed")
        return self


class ReauthenticatedOut(Schema):
    auth_at: datetime


class LoginOptionsIn(BaseModel):
    """With the `mfa_token` of a sign-in under way the passkey is its second step, without one it stands alone."""

    mfa_token: StrictText | None = None


class CeremonyOut(Schema):
    """`options` go to the authenticator, `ceremony` comes back with its answer within five minutes."""

    ceremony: str
    options: dict[str, Any]
