"""Mail providers: each turns an answer into an outcome. EMAIL_URL decides which one is used."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from lib import email_url
from lib.mail_providers import PROVIDERS
from notifications.providers.base import LOCAL, LocalProvider, Provider


def module() -> str:
    """`django.core.mail.backends.smtp` or `anymail.backends.postmark`."""
    return email_url.mailer()[0].rpartition(".")[0]


def configured() -> Provider:
    """A new one, for one thread. Only its own module is loaded: every command asks whether mail leaves the machine."""
    package, _, name = module().rpartition(".")
    for alias, row in PROVIDERS.items():
        if package == "anymail.backends" and name == (row.backend or alias):
            from notifications.providers.anymail import AnymailProvider

            return AnymailProvider(alias)
    if package == "django.core.mail.backends" and name == "smtp":
        from notifications.providers.smtp import SmtpProvider

        return SmtpProvider()
    return LocalProvider(LOCAL.get(name, name)[:32])


def aliases() -> list[str]:
    """What rows and metrics call them."""
    from notifications.providers.smtp import SmtpProvider

    return [SmtpProvider.alias, *sorted(PROVIDERS), *LOCAL.values()]


def is_real() -> bool:
    """Whether mail leaves this machine."""
    return not isinstance(configured(), LocalProvider)


def credentials() -> list[str]:
    """Secrets of the provider, to be scrubbed from its answers before they are stored."""
    anymail: dict[str, Any] = getattr(settings, "ANYMAIL", {})
    keys = [value for name, value in anymail.items() if name.endswith(("_KEY", "_TOKEN")) and isinstance(value, str)]
    ses = anymail.get("AMAZON_SES_CLIENT_PARAMS", {}).get("aws_secret_access_key", "")
    return [word for word in (email_url.mailer()[1].get("password"), ses, *keys) if word]
