"""Shapes on the wire of second factors and passkeys. Options and credentials are the JSON of WebAuthn level 3
(`PublicKeyCredential.parseCreationOptionsFromJSON`, `credential.toJSON()`)."""

from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, StringConstraints, model_validator

from lib.text import STORABLE, Text, require_storable
from users.models import MfaDevice
from users.models.factors import FACTOR_NAME_MAX_LENGTH
from users.schemas import StrictText

FactorName = Annotated[
    StrictStr,
    StringConstraints(max_length=FACTOR_NAME_MAX_LENGTH, strip_whitespace=True),
    AfterValidator(require_storable),
    STORABLE,
]
#: A TOTP code or a recovery code, blanks and hyphens allowed.
Code = Annotated[StrictText, Field(min_length=1, max_length=64)]
Credential = dict[str, Any]


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
        return cls(
            id=device.pk.hex,
            kind=device.kind,
            name=device.name,
            created_at=device.created_at,
            last_used_at=device.last_used_at,
        )


class FactorsOut(Schema):
    """`recovery_codes` is how many are unspent."""

    devices: list[DeviceOut]
    recovery_codes: int


class PasskeyAnswerIn(BaseModel):
    """What an authenticator has answered to the options that came with `ceremony`."""

    ceremony: StrictText
    credential: Credential


class MfaVerifyIn(BaseModel):
    """`code` with `totp` and `recovery`; `ceremony` and `credential` with `webauthn`."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"properties": {"method": {"enum": ["totp", "recovery"]}}, "required": ["code"]},
                {
                    "properties": {"method": {"const": "webauthn"}, "ceremony": {"minLength": 1}},
                    "required": ["ceremony"],
                },
            ]
        }
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
        json_schema_extra={
            "anyOf": [
                {
                    "properties": {name: {"type": "string" if name == given else "null"} for name in _PROOFS},
                    "required": [given],
                }
                for given in _PROOFS
            ]
        }
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
