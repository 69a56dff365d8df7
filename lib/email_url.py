"""`EMAIL_URL` to Django's mail settings, and the mail backend they describe. No message repeats the address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from lib.mail_providers import PROVIDERS

_DJANGO, _ANYMAIL = "django.core.mail.backends", "anymail.backends"
_LOCAL = {"consolemail": "console", "filemail": "filebased", "memorymail": "locmem", "dummymail": "dummy"}
_SMTP = ("smtp", "smtps", "smtp+ssl", "smtp+tls")

#: Cannot be left out, unlike the others.
_NEEDED = {"project"}


def parse(url: str, *, timeout: int = 10) -> dict[str, Any]:
    """`MAILERS` (Django 6.1) with a `default`, and `ANYMAIL` where django-anymail sends.

    `consolemail://`, `filemail:///abs/dir`, `memorymail://`, `dummymail://`; `smtp://`, `smtp+tls://user:pass@host:587`,
    `smtp+ssl://…:465`, `smtps://` (TLS on port 465, else STARTTLS); with django-anymail those of PROVIDERS, `ses://?region=…`
    and `ses://ID:SECRET@?region=…`. Raises ImproperlyConfigured.
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
    if scheme == "ses":
        return _ses(parts, timeout)
    if scheme in PROVIDERS:
        return _http(parts, timeout)
    known = ", ".join(f"{name}://" for name in [*_LOCAL, *_SMTP, *PROVIDERS])
    raise ImproperlyConfigured(f"EMAIL_URL starts with none of {known}.")


def mailersend(token: str) -> str:
    """The address that the seed's NOTIFICATIONS_API_TOKEN stands for; empty without one."""
    return f"mailersend://{quote(token, safe='')}@" if token else ""


def _local(parts: SplitResult) -> dict[str, Any]:
    _options(parts)
    backend = f"{_DJANGO}.{_LOCAL[parts.scheme]}.EmailBackend"
    path = unquote(parts.path)
    if parts.scheme == "filemail":
        if parts.netloc or not path.strip("/") or "\0" in path:
            raise ImproperlyConfigured("EMAIL_URL=filemail:// needs a directory: filemail:///var/mail/outbox.")
        return _mailers(backend, file_path=path)
    if parts.netloc or path.strip("/"):
        raise ImproperlyConfigured(f"EMAIL_URL={parts.scheme}:// takes nothing after it.")
    return _mailers(backend)


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
    return _mailers(
        f"{_DJANGO}.smtp.EmailBackend",
        host=parts.hostname,
        port=parts.port or (465 if implicit_tls else 587 if starttls else 25),
        username=user,
        password=password,
        use_ssl=implicit_tls,
        use_tls=starttls,
        timeout=timeout,
    )


def _http(parts: SplitResult, timeout: int) -> dict[str, Any]:
    api = PROVIDERS[parts.scheme]
    defaults = {option: default for option, (_, _, default) in api.options.items() if default}
    given = {**defaults, **_options(parts, *api.options)}
    key, secret, host = _word(parts.username), _word(parts.password), parts.netloc.rpartition("@")[2].lower()
    given_parts = ((api.key, key), (api.secret, secret), (api.host, host))
    wrong = ImproperlyConfigured(f"EMAIL_URL must be like {api.example}.")
    # What has no name here must not be given, and what has one must.
    if any(bool(name) != bool(value) for name, value in given_parts) or _NEEDED & set(api.options) - set(given):
        raise wrong
    if parts.path.strip("/") or not re.fullmatch(r"([a-z0-9.-]+(:\d+)?)?", host):
        raise wrong
    anymail: dict[str, Any] = {"REQUESTS_TIMEOUT": timeout, **{name: value for name, value in given_parts if name}}
    if api.host:
        anymail[api.host] = api.host_as.format(host)
    for option, value in given.items():
        name, values, _ = api.options[option]
        if isinstance(values, dict) and value in values:
            anymail[name] = values[value]
        elif isinstance(values, re.Pattern) and values.fullmatch(value):
            anymail[name] = value
        else:
            raise wrong
    return {**_mailers(f"{_ANYMAIL}.{api.backend or parts.scheme}.EmailBackend"), "ANYMAIL": anymail}


def _ses(parts: SplitResult, timeout: int) -> dict[str, Any]:
    region = _options(parts, "region").get("region")
    user, password = _word(parts.username), _word(parts.password)
    is_region = region is None or re.fullmatch(r"[a-z0-9-]+", region)
    if parts.hostname or bool(user) != bool(password) or not is_region:
        raise ImproperlyConfigured(f"EMAIL_URL must be like {PROVIDERS['ses'].example}.")
    # One try: the outbox repeats.
    config = {"connect_timeout": timeout, "read_timeout": timeout, "retries": {"total_max_attempts": 1}}
    client: dict[str, Any] = {"config": config}
    if region:
        client["region_name"] = region
    if user:
        client |= {"aws_access_key_id": user, "aws_secret_access_key": password}
    return {**_mailers(f"{_ANYMAIL}.amazon_ses.EmailBackend"), "ANYMAIL": {"AMAZON_SES_CLIENT_PARAMS": client}}


def _mailers(backend: str, **options: Any) -> dict[str, Any]:
    return {"MAILERS": {"default": {"BACKEND": backend, "OPTIONS": options}}}


#: Where Django before 6.1 looks for the options of a backend.
_BEFORE_MAILERS = {
    "host": "EMAIL_HOST",
    "port": "EMAIL_PORT",
    "username": "EMAIL_HOST_USER",
    "password": "EMAIL_HOST_PASSWORD",
    "use_ssl": "EMAIL_USE_SSL",
    "use_tls": "EMAIL_USE_TLS",
    "timeout": "EMAIL_TIMEOUT",
    "file_path": "EMAIL_FILE_PATH",
}


def for_django(mailers: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by which Django's own functions (`send_mail`, `mail_admins`) find the default mailer."""
    if django.VERSION >= (6, 1):
        return {}
    mailer = mailers["default"]
    options = {_BEFORE_MAILERS[name]: value for name, value in mailer["OPTIONS"].items()}
    return {"EMAIL_BACKEND": mailer["BACKEND"], **options}


def mailer() -> tuple[str, dict[str, Any]]:
    """The dotted path of the configured mail backend, and its options."""
    configured = settings.MAILERS["default"]
    return configured["BACKEND"], configured.get("OPTIONS", {})


def create_backend(backend_class: Any = None) -> Any:
    """A mail backend with the options of the default mailer, not yet open, of its class or of a subclass of it."""
    path, options = mailer()
    # Django 6.1 takes a backend without an alias for one that the deprecated settings describe.
    alias = {"alias": "default"} if django.VERSION >= (6, 1) else {}
    return (backend_class or import_string(path))(**alias, **options)


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
