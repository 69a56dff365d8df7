"""People, their sign-ins, their second factors and what happened to them. Nothing here holds a secret in clear."""

from users.models.audit import AuditEvent
from users.models.factors import MfaDevice, RecoveryCode
from users.models.limits import RateBucket
from users.models.people import User
from users.models.proofs import OneTimeToken, Registration, _nonce
from users.models.sessions import LiveSessions, RefreshToken, UserSession

__all__ = [
    "AuditEvent",
    "LiveSessions",
    "MfaDevice",
    "OneTimeToken",
    "RateBucket",
    "RecoveryCode",
    "RefreshToken",
    "Registration",
    "User",
    "UserSession",
    "_nonce",
]
