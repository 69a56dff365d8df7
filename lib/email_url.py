"""`EMAIL_URL` to Django's mail settings: the only place that knows the spelling."""

from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_BACKENDS = "django.core.mail.backends"
_LOCAL = {
    "consolemail": f"{_BACKENDS}.console.EmailBackend",
    "filemail": f"{_BACKENDS}.filebased.EmailBackend",
    "memorymail": f"{_BACKENDS}.locmem.EmailBackend",
    "dummymail": f"{_BACKENDS}.dummy.EmailBackend",
}
_SMTP = {"smtp", "smtps", "smtp+tls", "smtp+ssl"}


def parse(url: str, *, timeout: int = 10) -> dict[str, Any]:
    """Django settings for `consolemail://`, `filemail:///abs/dir`, `memorymail://`, `dummymail://`, `smtp://`,
    `smtp+tls://user:pass@host:587`, `smtp+ssl://…:465` or `smtps://` (TLS on port 465, else STARTTLS).

    Raises ImproperlyConfigured, without repeating the address: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ImproperlyConfigured("EMAIL_URL cannot be read as an address.") from error
    scheme = parts.scheme
    if scheme in _LOCAL:
        settings: dict[str, Any] = {"EMAIL_BACKEND": _LOCAL[scheme]}
        if scheme == "filemail":
            if not parts.path.strip("/"):
                raise ImproperlyConfigured("EMAIL_URL=filemail:// needs a directory: filemail:///var/mail/outbox.")
            settings["EMAIL_FILE_PATH"] = unquote(parts.path)
        return settings
    if scheme not in _SMTP:
        known = ", ".join(f"{name}://" for name in [*_LOCAL, *sorted(_SMTP)])
        raise ImproperlyConfigured(f"EMAIL_URL starts with none of {known}.")
    if not parts.hostname:
        raise ImproperlyConfigured("EMAIL_URL names no mail server.")
    implicit_tls = scheme == "smtp+ssl" or (scheme == "smtps" and port in (None, 465))
    starttls = scheme == "smtp+tls" or (scheme == "smtps" and not implicit_tls)
    return {
        "EMAIL_BACKEND": f"{_BACKENDS}.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port or (465 if implicit_tls else 587 if starttls else 25),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": implicit_tls,
        "EMAIL_USE_TLS": starttls,
        "EMAIL_TIMEOUT": timeout,
    }
