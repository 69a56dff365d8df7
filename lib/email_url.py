"""`EMAIL_URL` to Django's mail settings: the only place that knows the spelling. No message repeats the address."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_DJANGO, _ANYMAIL = "django.core.mail.backends", "anymail.backends"
_LOCAL = {"consolemail": "console", "filemail": "filebased", "memorymail": "locmem", "dummymail": "dummy"}
_SMTP = ("smtp", "smtps", "smtp+ssl", "smtp+tls")
# The name under which django-anymail expects the key.
_KEYS = {
    "mailersend": "MAILERSEND_API_TOKEN",
    "mailgun": "MAILGUN_API_KEY",
    "postmark": "POSTMARK_SERVER_TOKEN",
    "resend": "RESEND_API_KEY",
    "brevo": "BREVO_API_KEY",
    "sendgrid": "SENDGRID_API_KEY",
}
_MAILGUN_REGIONS = {"us": "https://api.mailgun.net/v3", "eu": "https://api.eu.mailgun.net/v3"}


def parse(url: str, *, timeout: int = 10) -> dict[str, Any]:
    """Django's settings for the address of a way out.

    `consolemail://`, `filemail:///abs/dir`, `memorymail://`, `dummymail://`; `smtp://`, `smtp+tls://user:pass@host:587`,
    `smtp+ssl://…:465`, `smtps://` (TLS on port 465, else STARTTLS); with django-anymail `mailersend://TOKEN@`,
    `mailgun://KEY@domain?region=eu`, `postmark://TOKEN@`, `resend://KEY@`, `brevo://KEY@`, `sendgrid://KEY@`,
    `ses://?region=…` and `ses://ID:SECRET@?region=…`. Raises ImproperlyConfigured.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname
    except ValueError:
        # Without the cause, which repeats what it could not read.
        raise _unreadable() from None
    scheme = parts.scheme
    if scheme in _LOCAL:
        return _local(parts)
    if scheme in _SMTP:
        return _smtp(parts, timeout)
    if scheme in _KEYS:
        return _http(parts, timeout)
    if scheme == "ses":
        return _ses(parts, timeout)
    known = ", ".join(f"{name}://" for name in [*_LOCAL, *_SMTP, *_KEYS, "ses"])
    raise ImproperlyConfigured(f"EMAIL_URL starts with none of {known}.")


def mailersend(token: str) -> str:
    """The address that the seed's NOTIFICATIONS_API_TOKEN stands for; empty without one."""
    return f"mailersend://{quote(token, safe='')}@" if token else ""


def _local(parts: SplitResult) -> dict[str, Any]:
    _options(parts)
    settings = {"EMAIL_BACKEND": f"{_DJANGO}.{_LOCAL[parts.scheme]}.EmailBackend"}
    path = unquote(parts.path)
    if parts.scheme == "filemail":
        if parts.netloc or not path.strip("/") or "\0" in path:
            raise ImproperlyConfigured("EMAIL_URL=filemail:// needs a directory: filemail:///var/mail/outbox.")
        return {**settings, "EMAIL_FILE_PATH": path}
    if parts.netloc or path.strip("/"):
        raise ImproperlyConfigured(f"EMAIL_URL={parts.scheme}:// takes nothing after it.")
    return settings


def _smtp(parts: SplitResult, timeout: int) -> dict[str, Any]:
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise _unreadable()
    if not parts.hostname:
        raise ImproperlyConfigured("EMAIL_URL names no mail server.")
    user, password = _word(parts.username), _word(parts.password)
    if bool(user) != bool(password):
        raise ImproperlyConfigured("EMAIL_URL holds a user without a password, or a password without a user.")
    implicit_tls = parts.scheme == "smtp+ssl" or (parts.scheme == "smtps" and parts.port in (None, 465))
    starttls = parts.scheme == "smtp+tls" or (parts.scheme == "smtps" and not implicit_tls)
    return {
        "EMAIL_BACKEND": f"{_DJANGO}.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or (465 if implicit_tls else 587 if starttls else 25),
        "EMAIL_HOST_USER": user,
        "EMAIL_HOST_PASSWORD": password,
        "EMAIL_USE_SSL": implicit_tls,
        "EMAIL_USE_TLS": starttls,
        "EMAIL_TIMEOUT": timeout,
    }


def _http(parts: SplitResult, timeout: int) -> dict[str, Any]:
    scheme = parts.scheme
    options = _options(parts, *(["region"] if scheme == "mailgun" else []))
    key = _word(parts.username)
    if not key or parts.password is not None:
        raise ImproperlyConfigured(f"EMAIL_URL={scheme}:// needs its key, and nothing else, before an @.")
    anymail: dict[str, Any] = {_KEYS[scheme]: key, "REQUESTS_TIMEOUT": timeout}
    if scheme == "mailgun":
        if not parts.hostname or options.get("region", "us") not in _MAILGUN_REGIONS:
            raise ImproperlyConfigured("EMAIL_URL must be like mailgun://KEY@mg.example.org?region=eu (or us).")
        anymail["MAILGUN_SENDER_DOMAIN"] = parts.hostname
        anymail["MAILGUN_API_URL"] = _MAILGUN_REGIONS[options.get("region", "us")]
    elif parts.hostname or parts.port:
        raise ImproperlyConfigured(f"EMAIL_URL={scheme}:// takes nothing after the @.")
    return {"EMAIL_BACKEND": f"{_ANYMAIL}.{scheme}.EmailBackend", "ANYMAIL": anymail}


def _ses(parts: SplitResult, timeout: int) -> dict[str, Any]:
    region = _options(parts, "region").get("region")
    user, password = _word(parts.username), _word(parts.password)
    if (
        parts.hostname
        or bool(user) != bool(password)
        or (region is not None and not re.fullmatch(r"[a-z0-9-]+", region))
    ):
        raise ImproperlyConfigured(
            "EMAIL_URL must be like ses://?region=eu-west-1 or ses://ID:SECRET@?region=eu-west-1."
        )
    # One try: the outbox repeats, and knows of it.
    config = {"connect_timeout": timeout, "read_timeout": timeout, "retries": {"total_max_attempts": 1}}
    client: dict[str, Any] = {"config": config}
    if region:
        client["region_name"] = region
    if user:
        client |= {"aws_access_key_id": user, "aws_secret_access_key": password}
    return {
        "EMAIL_BACKEND": f"{_ANYMAIL}.amazon_ses.EmailBackend",
        "ANYMAIL": {"AMAZON_SES_CLIENT_PARAMS": client},
    }


def _options(parts: SplitResult, *known: str) -> dict[str, str]:
    """What stands behind the `?`; nothing given is ignored."""
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    if set(given) - set(known) or parts.fragment or (known and parts.path.strip("/")):
        raise ImproperlyConfigured(f"EMAIL_URL={parts.scheme}:// has an option or a part that it does not know.")
    return given


def _word(value: str | None) -> str:
    """A user, password or key. Neither the protocol of mail nor that of the web can carry other signs in them."""
    word = unquote(value or "")
    if not re.fullmatch(r"[ -~]*", word) or word != word.strip():
        raise ImproperlyConfigured("The user, password or key in EMAIL_URL must be printable ASCII.")
    return word


def _unreadable() -> ImproperlyConfigured:
    return ImproperlyConfigured(
        "EMAIL_URL cannot be read as an address; percent-encode the special characters of its password."
    )
