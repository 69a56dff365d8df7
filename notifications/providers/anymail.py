"""Providers reached over HTTP, through django-anymail. Imported by name only: it is optional (check E003)."""

from __future__ import annotations

import json
import ssl
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMultiAlternatives

from lib.mail_providers import PROVIDERS
from notifications.models import Attempt
from notifications.providers.base import Payload, Provider, Result, retry_after

Outcome = Attempt.Outcome

# Names of exceptions of requests and botocore: nothing has left yet. (botocore need not be installed.)
_NEVER_LEFT = {
    *("ConnectTimeout", "ConnectTimeoutError", "EndpointConnectionError", "NoCredentialsError", "NoRegionError"),
    *("PartialCredentialsError", "ProxyConnectionError", "ProxyError"),
}

# Timeout, misdirected, too early, too many requests: about the conversation, held against no message (RFC 9110, 15.5;
# RFC 8470, 5.2; RFC 6585, 4). SparkPost answers 420 when the account has used up its day or month.
_CONVERSATION = {408, 420, 421, 425, 429}

# The same of Amazon SES, which answers 400 (SESv2, SendEmail).
_SES_ACCOUNT = {
    *("AccountSuspendedException", "LimitExceededException"),
    *("MailFromDomainNotVerifiedException", "SendingPausedException"),
}

# Postal answers 200 to everything, Mailtrap to some: the body shows a refusal, and whether it is of the key.
_REFUSALS = {"error", "parameter-error"}
_REFUSED_KEYS = {"AccessDenied", "InvalidServerAPIKey", "ServerSuspended"}


class _Response(NamedTuple):
    """An HTTP answer, whichever library it came through."""

    status: int
    headers: Any
    text: str


class AnymailProvider(Provider):
    def __init__(self, alias: str) -> None:
        super().__init__()
        self.alias = alias
        self.capabilities = PROVIDERS[alias].takes

    def pack(self, mail: EmailMultiAlternatives, *, uid: str, tag: str) -> Payload:
        """Ask for nothing that this provider does not take: anymail would refuse it, or the provider would."""
        takes, headers = self.capabilities, dict(mail.extra_headers)
        if not takes.custom_headers:
            headers = {}
        if not takes.keeps_message_id:
            headers.pop("Message-ID", None)
        if not takes.keeps_date:
            headers.pop("Date", None)
        if self.alias == "postmark":
            headers["X-PM-KeepID"] = "true"
        if self.alias == "brevo":
            headers["idempotencyKey"] = uid
        mail.extra_headers = headers
        extra: Any = mail
        if takes.metadata:
            extra.metadata = {"uid": uid}
        if takes.tags:
            extra.tags = [tag] if takes.metadata else [uid, tag]
        return Payload(mail, uid)

    def send(self, payload: Payload) -> Result:
        if self.alias == "resend":
            self.backend.session.headers["Idempotency-Key"] = payload.uid
        try:
            sent = self.backend.send_messages([payload.mail])
        except Exception as error:
            return self._of(error, payload.mail)
        if not sent:
            return Result(Outcome.PERMANENT, "cancelled", "A receiver of anymail's pre_send signal cancelled it.")
        return self._accepted(payload.mail)

    def _accepted(self, mail: Any) -> Result:
        """anymail raised nothing; with Postmark's 422 that need not mean that the mail was accepted."""
        status = mail.anymail_status
        response = _read(status.esp_response)
        if response and not 200 <= response.status < 300:
            return self._of_status(response)
        if status.status and status.status <= {"failed"}:
            return Result(Outcome.PERMANENT, "failed", response.text if response else "")
        ids = status.message_id if isinstance(status.message_id, set) else {status.message_id}
        provider_id = next((str(one) for one in ids if one), "")
        return Result(Outcome.ACCEPTED, str(response.status) if response else "", provider_message_id=provider_id)

    def _of(self, error: Exception, mail: Any) -> Result:
        from anymail.exceptions import AnymailRecipientsRefused  # type: ignore[import-untyped]

        response = getattr(error, "response", None)
        if response is None:
            response = getattr(getattr(mail, "anymail_status", None), "esp_response", None)
        response = _read(response)
        if isinstance(error, AnymailRecipientsRefused):
            return Result(Outcome.PERMANENT, "refused", response.text if response else str(error))
        if response is None:
            return _of_no_answer(error)
        if 200 <= response.status < 300:
            if (refusal := _refusal(response.text)) is not None:
                needs_staff = refusal in _REFUSED_KEYS
                outcome = Outcome.TRANSPORT_DOWN if needs_staff else Outcome.PERMANENT
                return Result(outcome, refusal or "refused", response.text, needs_staff=needs_staff)
            # The provider has it; only its answer was not understood.
            text = f"{type(error).__name__}: {response.text}"
            return Result(Outcome.ACCEPTED, str(response.status), text, reason="unverified")
        return self._of_status(response)

    def _of_status(self, response: _Response) -> Result:
        code, text = str(response.status), response.text
        if response.status == 401 or (response.status == 403 and self.alias == "ses"):
            return Result(Outcome.TRANSPORT_DOWN, code, text, needs_staff=True)
        if response.status == 409 and self.capabilities.remembers_for:
            # It knows the uid: an earlier try is under way, or had been accepted (and the template was changed since).
            if "concurrent" in text:
                return Result(Outcome.TEMPORARY, code, text)
            return Result(Outcome.ACCEPTED, code, text, reason="unverified")
        is_conversation = response.status in _CONVERSATION or text.partition(":")[0] in _SES_ACCOUNT
        # 403 may concern everything, or a recipient outside a trial account, or text that a firewall rejects.
        if 400 <= response.status < 500 and not is_conversation and response.status != 403:
            return Result(Outcome.PERMANENT, code, text)
        wait = retry_after(response.headers.get("Retry-After"))
        return Result(Outcome.TEMPORARY, code, text, wait=wait, counts=not is_conversation, is_doubtful=True)


def _refusal(text: str) -> str | None:
    """The code of a refusal that comes with a success of HTTP, empty when it has none; None when this is none."""
    try:
        body = json.loads(text)
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    if body.get("status") in _REFUSALS:
        data = body.get("data")
        return str(data.get("code", ""))[:64] if isinstance(data, dict) else ""
    return "" if body.get("success") is False else None


def _of_no_answer(error: Exception) -> Result:
    """There is no HTTP answer: the request was never sent, or had no reply."""
    from anymail import exceptions  # type: ignore[import-untyped]

    if isinstance(error, exceptions.AnymailInvalidAddress):
        return Result(Outcome.PERMANENT, type(error).__name__, str(error))
    if isinstance(error, (exceptions.AnymailUnsupportedFeature, exceptions.AnymailSerializationError)):
        return Result(Outcome.RENDER_ERROR, type(error).__name__, str(error))
    cause = error.__cause__ or error
    code, text = type(cause).__name__, str(cause)
    if isinstance(error, ImproperlyConfigured) or _never_left(cause):
        return Result(Outcome.TRANSPORT_DOWN, code, text)
    return Result(Outcome.AMBIGUOUS, code, text, is_doubtful=True)


def _never_left(cause: BaseException) -> bool:
    from urllib3.exceptions import NewConnectionError

    if {kind.__name__ for kind in type(cause).__mro__} & _NEVER_LEFT:
        return True
    # requests packs urllib3's errors, which pack those of the socket.
    reason = getattr(cause.args[0] if cause.args else None, "reason", None)
    if isinstance(reason, NewConnectionError):
        return True
    inner = reason.args[0] if isinstance(reason, Exception) and reason.args else None
    # A TLS connection that ends is a cut like any other; all else of TLS is the handshake.
    return isinstance(inner, ssl.SSLError) and not isinstance(inner, (ssl.SSLEOFError, ssl.SSLZeroReturnError))


def _read(response: Any) -> _Response | None:
    if isinstance(response, dict):  # boto3
        meta = response.get("ResponseMetadata", {})
        problem = response.get("Error", {})
        headers = {name.title(): value for name, value in meta.get("HTTPHeaders", {}).items()}
        text = f"{problem.get('Code', '')}: {problem.get('Message', '')}" if problem else ""
        return _Response(int(meta["HTTPStatusCode"]), headers, text) if "HTTPStatusCode" in meta else None
    if response is None:
        return None
    return _Response(response.status_code, response.headers, response.text)
