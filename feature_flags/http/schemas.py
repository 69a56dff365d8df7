"""Shapes on the wire, as the API's own description shows them: the answers themselves are ready bytes."""

from typing import Any, Literal

from ninja import Schema
from pydantic import ConfigDict, Field, RootModel


class FlagOut(Schema):
    codename: str
    label: str | None
    description: str | None
    is_active: bool


# --- OFREP ------------------------------------------------------------------------------------------------------------


class _Open(Schema):
    model_config = ConfigDict(extra="allow")


class EvaluationIn(Schema):
    context: dict[str, Any] = Field(
        {},
        description="What describes the user: texts, numbers, booleans. Without `userId`, `targetingKey` is it.",
        examples=[{"targetingKey": "7f9c", "country": "IT"}],
    )


class EvaluationOut(Schema):
    """No `value`: the default in the caller's code holds."""

    key: str
    value: Any = None
    reason: Literal["STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "DEFAULT", "UNKNOWN"]
    variant: str


class EventStreamOut(Schema):
    type: Literal["sse"]
    url: str
    inactivityDelaySec: int  # noqa: N815


class BulkOut(Schema):
    flags: list[EvaluationOut]
    metadata: dict[str, int]
    eventStreams: list[EventStreamOut] = []  # noqa: N815


class FailureOut(Schema):
    errorCode: str  # noqa: N815
    errorDetails: str  # noqa: N815


class FlagFailureOut(FailureOut):
    key: str


# --- Unleash ----------------------------------------------------------------------------------------------------------


class FeaturesOut(_Open):
    """The document of Unleash's client API, version 2. `segments` only for clients of specification 4.2.0 and newer."""

    version: int
    features: list[dict[str, Any]]
    segments: list[dict[str, Any]] = []
    query: dict[str, str]
    meta: dict[str, Any]


class FrontendIn(Schema):
    context: dict[str, Any] = {}


class VariantOut(Schema):
    name: str
    enabled: bool
    payload: dict[str, str] | None = None
    feature_enabled: bool
    featureEnabled: bool  # noqa: N815


class ToggleOut(Schema):
    name: str
    enabled: bool
    impressionData: bool  # noqa: N815
    variant: VariantOut


class TogglesOut(Schema):
    toggles: list[ToggleOut]


class RefusalOut(Schema):
    """As everywhere under `/api`; the request's id stands in the header alone."""

    detail: str
    code: str


class MetricsIn(_Open):
    """What cannot be counted is left out, whatever its shape: no report is refused for it."""

    appName: Any = ""  # noqa: N815
    bucket: Any = Field(
        None,
        description="What was counted since the last report.",
        examples=[{"start": "…", "stop": "…", "toggles": {"FF_A": {"yes": 3, "no": 1, "variants": {"blue": 2}}}}],
    )


class BulkMetricsIn(_Open):
    metrics: list[dict[str, Any]] = Field(
        [], examples=[[{"featureName": "FF_A", "appName": "shop", "yes": 3, "no": 1, "variants": {"blue": 2}}]]
    )


class DeltaOut(_Open):
    """`hydration` holds everything; then `feature-updated`, `feature-removed`, `segment-updated`, `segment-removed`."""

    events: list[dict[str, Any]]


class RegistrationIn(RootModel[Any]):
    """Not read: every application may register."""
