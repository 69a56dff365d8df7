from pathlib import Path

import django
import pytest
from anymail import backends
from django.core.exceptions import ImproperlyConfigured

from lib import email_url
from lib.mail_providers import PROVIDERS

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    ("url", "backend", "wanted"),
    [
        ("consolemail://", "console", {}),
        ("memorymail://", "locmem", {}),
        ("dummymail://", "dummy", {}),
        ("filemail:///var/a%20b", "filebased", {"file_path": "/var/a b"}),
        ("smtp://mail", "smtp", {"host": "mail", "port": 25, "use_tls": False, "use_ssl": False}),
        ("smtp+tls://mail", "smtp", {"port": 587, "use_tls": True, "timeout": 7}),
        ("smtp+ssl://mail", "smtp", {"port": 465, "use_ssl": True}),
        ("smtps://mail", "smtp", {"port": 465, "use_ssl": True}),
        ("smtps://mail:587", "smtp", {"port": 587, "use_tls": True, "use_ssl": False}),
        ("smtp://u%40x:p%2F%23%25@[::1]:2525", "smtp", {"host": "::1", "username": "u@x", "port": 2525}),
        ("smtp://u%40x:p%2F%23%25@mail", "smtp", {"password": "p/#%"}),
    ],
)
def test_an_address_becomes_settings(url, backend, wanted):
    mailer = email_url.parse(url, timeout=7)["MAILERS"]["default"]

    assert mailer["BACKEND"] == f"django.core.mail.backends.{backend}.EmailBackend"
    assert {name: mailer["OPTIONS"][name] for name in wanted} == wanted


@pytest.mark.skipif(django.VERSION >= (6, 1), reason="Django reads MAILERS itself")
def test_djangos_own_functions_find_the_mailer():
    mailers = email_url.parse("smtp+tls://u:p@mail", timeout=7)["MAILERS"]

    found = email_url.for_django(mailers)

    assert found == {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": "mail",
        "EMAIL_PORT": 587,
        "EMAIL_HOST_USER": "u",
        "EMAIL_HOST_PASSWORD": "p",
        "EMAIL_USE_SSL": False,
        "EMAIL_USE_TLS": True,
        "EMAIL_TIMEOUT": 7,
    }


@pytest.mark.parametrize(
    ("url", "backend", "anymail"),
    [
        ("mailersend://T%2Fk@", "mailersend", {"MAILERSEND_API_TOKEN": "T/k"}),
        ("postmark://Tk@", "postmark", {"POSTMARK_SERVER_TOKEN": "Tk"}),
        ("resend://Tk@", "resend", {"RESEND_API_KEY": "Tk"}),
        ("brevo://Tk@", "brevo", {"BREVO_API_KEY": "Tk"}),
        ("sendgrid://Tk@", "sendgrid", {"SENDGRID_API_KEY": "Tk"}),
        ("mailjet://Tk:S%2Fk@", "mailjet", {"MAILJET_API_KEY": "Tk", "MAILJET_SECRET_KEY": "S/k"}),
        ("mandrill://Tk@", "mandrill", {"MANDRILL_API_KEY": "Tk"}),
        ("mailtrap://Tk@", "mailtrap", {"MAILTRAP_API_TOKEN": "Tk"}),
        ("mailtrap://Tk@?sandbox=12", "mailtrap", {"MAILTRAP_API_TOKEN": "Tk", "MAILTRAP_SANDBOX_ID": "12"}),
        (
            "postal://Tk@Post.example.org:8443",
            "postal",
            {"POSTAL_API_KEY": "Tk", "POSTAL_API_URL": "https://post.example.org:8443"},
        ),
        (
            "scaleway://Tk@?project=6f1a-2b",
            "scaleway",
            {"SCALEWAY_SECRET_KEY": "Tk", "SCALEWAY_PROJECT_ID": "6f1a-2b", "SCALEWAY_REGION": "fr-par"},
        ),
        (
            "sparkpost://Tk@?region=eu&subaccount=3",
            "sparkpost",
            {
                "SPARKPOST_API_KEY": "Tk",
                "SPARKPOST_API_URL": "https://api.eu.sparkpost.com/api/v1",
                "SPARKPOST_SUBACCOUNT": "3",
            },
        ),
        (
            "unisender-go://Tk@go2.unisender.ru",
            "unisender_go",
            {
                "UNISENDER_GO_API_KEY": "Tk",
                "UNISENDER_GO_API_URL": "https://go2.unisender.ru/ru/transactional/api/v1",
            },
        ),
        (
            "mailgun://Tk@mg.example.org?region=eu",
            "mailgun",
            {
                "MAILGUN_API_KEY": "Tk",
                "MAILGUN_SENDER_DOMAIN": "mg.example.org",
                "MAILGUN_API_URL": "https://api.eu.mailgun.net/v3",
            },
        ),
    ],
)
def test_a_providers_address_becomes_anymails_settings(url, backend, anymail):
    assert email_url.parse(url, timeout=7) == {
        "MAILERS": {"default": {"BACKEND": f"anymail.backends.{backend}.EmailBackend", "OPTIONS": {}}},
        "ANYMAIL": {"REQUESTS_TIMEOUT": 7, **anymail},
    }


def test_every_provider_of_anymail_has_an_address():
    folder = Path(backends.__file__).parent
    names = {path.stem for path in folder.glob("*.py")} - {"__init__", "base", "base_requests", "console", "test"}

    # Sendinblue is the old name of Brevo.
    assert {row.backend or scheme for scheme, row in PROVIDERS.items()} == names - {"sendinblue"}


def test_ses_tries_once_and_takes_its_region_and_keys():
    found = email_url.parse("ses://AKIA:sec%2Fret@?region=eu-west-1", timeout=7)["ANYMAIL"]

    client = found["AMAZON_SES_CLIENT_PARAMS"]
    assert client["region_name"] == "eu-west-1"
    assert (client["aws_access_key_id"], client["aws_secret_access_key"]) == ("AKIA", "sec/ret")
    assert client["config"] == {"connect_timeout": 7, "read_timeout": 7, "retries": {"total_max_attempts": 1}}
    assert "aws_access_key_id" not in email_url.parse("ses://")["ANYMAIL"]["AMAZON_SES_CLIENT_PARAMS"]


def test_the_seeds_token_means_mailersend():
    url = email_url.mailersend("mlsn./token?#@")

    assert email_url.parse(url)["ANYMAIL"]["MAILERSEND_API_TOKEN"] == "mlsn./token?#@"
    assert email_url.mailersend("") == ""


@pytest.mark.parametrize(
    "url",
    [
        f"pigeon://user:{SECRET}@loft",
        f"smtp://user:{SECRET}#more@mail",
        f"smtp://user:{SECRET}/more@mail",
        f"smtp://user:{SECRET}?more@mail",
        f"smtp://mail:{SECRET}",
        f"smtp://user:{SECRET}@mail:99999",
        f"smtp://user:{SECRET}@mail?{SECRET}=1",
        f"smtp://user:{SECRET}@[::1",
        f"smtp://:{SECRET}@mail",
        f"smtp://{SECRET}@mail",
        f"smtp://user:{SECRET}@",
        f"smtp://user:{SECRET}ä@mail",
        f"smtp://user:{SECRET}%00@mail",
        f"smtp://user:{SECRET}%0D%0A@mail",
        f"mailersend://{SECRET}",
        "mailersend://",
        f"mailersend://{SECRET}@host",
        f"mailersend://{SECRET}:x@",
        f"mailersend://{SECRET}@?region=eu",
        f"mailgun://{SECRET}@",
        f"mailgun://{SECRET}@mg.example.org?region=mars",
        f"mailgun://{SECRET}@mg.example.org?domain=x",
        f"postmark://{SECRET}%20@",
        f"mailjet://{SECRET}@",
        f"mandrill://{SECRET}:x@",
        f"mailtrap://{SECRET}@?sandbox=x",
        f"postal://{SECRET}@",
        f"postal://{SECRET}@host/path",
        f"scaleway://{SECRET}@?region=fr-par",
        f"scaleway://{SECRET}@?project=",
        f"sparkpost://{SECRET}@?region=mars",
        f"unisender-go://{SECRET}@",
        f"ses://{SECRET}@?region=eu-west-1",
        f"ses://a:{SECRET}@?region=eu.west",
        "ses://?region=",
        "filemail://",
        f"filemail://{SECRET}/x",
        "filemail:///x%00y",
        f"consolemail://{SECRET}",
        f"memorymail://?{SECRET}=1",
        "smtp:",
        "://",
        SECRET,
    ],
)
def test_what_cannot_be_read_is_refused_without_repeating_it(url):
    with pytest.raises(ImproperlyConfigured) as refusal:
        email_url.parse(url)

    words = str(refusal.value)
    assert SECRET not in words
    assert "EMAIL_URL" in words
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None or refusal.value.__suppress_context__
