"""The refusals a caller can act on."""


class ProductError(Exception):
    """A refusal with a stable code; every door words it for its own callers.

    `code` is upper-case without prefix (`LOGIN_BAD_CREDENTIALS`), `message` a sentence for people. The API answers
    `{"detail": "ErrorCode.<code>", "code": "<code in lower case>"}` with `status`, or `{"detail": {"code", "reason"}}`
    when `nested`; `detail` replaces the wire's detail where the seed's clients expect other words. `retry_after` is
    in whole seconds. The admin shows `message`, a command prints it and exits 1.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 400,
        detail: str | None = None,
        slug: str | None = None,
        nested: bool = False,
        reason: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.detail = detail
        self.slug = slug or code.lower()
        self.nested = nested or reason is not None
        self.reason = reason
        self.retry_after = retry_after
