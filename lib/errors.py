"""The refusals a caller can act on."""

from dataclasses import KW_ONLY, dataclass, field
from typing import Any

#: `detail` and `code` of an answer with this status, where no refusal brings its own.
STATUS_WORDS = {
    307: ("Temporary Redirect", "redirect"),
    400: ("Bad Request", "bad_request"),
    401: ("Unauthorized", "unauthorized"),
    403: ("Forbidden", "forbidden"),
    404: ("Not Found", "not_found"),
    405: ("Method Not Allowed", "method_not_allowed"),
    409: ("Conflict", "conflict"),
    412: ("Precondition Failed", "precondition_failed"),
    413: ("Payload Too Large", "payload_too_large"),
    422: ("Unprocessable Content", "invalid"),
    428: ("Precondition Required", "precondition_required"),
    429: ("Too Many Requests", "too_many_requests"),
    500: ("Internal Server Error", "internal"),
    503: ("Service Unavailable", "unavailable"),
}


@dataclass(eq=False, repr=False)
class ProductError(Exception):
    """A refusal with a stable code; every door words it for its own callers.

    `code` is upper-case without prefix (`LOGIN_BAD_CREDENTIALS`), `message` a sentence for people. The API answers
    `{"detail": "ErrorCode.<code>", "code": "<code in lower case>"}` with `status`, or `{"detail": {"code", "reason"}}`
    when `nested`; `detail` replaces the wire's where the seed's clients expect other words, and as a list of problems
    (422). `retry_after` is in whole seconds; `extra` are further members of the answer. The admin shows `message`, a
    command prints it and exits 1.
    """

    code: str
    message: str
    _: KW_ONLY
    status: int = 400
    detail: str | list[dict[str, Any]] | None = None
    slug: str = ""
    nested: bool = False
    reason: str | None = None
    retry_after: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.message)
        self.slug = self.slug or self.code.lower()
        self.nested = self.nested or self.reason is not None
