import pytest
from django.core.exceptions import ImproperlyConfigured

from lib import email_url

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("consolemail://", {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}),
        ("memorymail://", {"EMAIL_BACKEND": "django.core.mail.backends.locmem.EmailBackend"}),
        ("dummymail://", {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}),
        ("filemail:///var/a%20b", {"EMAIL_FILE_PATH": "/var/a b"}),
        ("smtp://mail", {"EMAIL_HOST": "mail", "EMAIL_PORT": 25, "EMAIL_USE_TLS": False, "EMAIL_USE_SSL": False}),
        ("smtp+tls://mail", {"EMAIL_PORT": 587, "EMAIL_USE_TLS": True, "EMAIL_TIMEOUT": 7}),
        ("smtp+ssl://mail", {"EMAIL_PORT": 465, "EMAIL_USE_SSL": True}),
        ("smtps://mail", {"EMAIL_PORT": 465, "EMAIL_USE_SSL": True}),
        ("smtps://mail:587", {"EMAIL_PORT": 587, "EMAIL_USE_TLS": True, "EMAIL_USE_SSL": False}),
        ("smtp://u%40x:p%2F%23%25@[::1]:2525", {"EMAIL_HOST": "::1", "EMAIL_HOST_USER": "u@x", "EMAIL_PORT": 2525}),
        ("smtp://u%40x:p%2F%23%25@mail", {"EMAIL_HOST_PASSWORD": "p/#%"}),
    ],
)
def test_an_address_becomes_settings(url, wanted):
    settings = email_url.parse(url, timeout=7)

    assert {name: settings[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("url", "backend", "anymail"),
    [
        ("mailersend://T%2Fk@", "mailersend", {"MAILERSEND_API_TOKEN": "T/k", "REQUESTS_TIMEOUT": 7}),
        ("postmark://Tk@", "postmark", {"POSTMARK_SERVER_TOKEN": "Tk", "REQUESTS_TIMEOUT": 7}),
        ("resend://Tk@", "resend", {"RESEND_API_KEY": "Tk", "REQUESTS_TIMEOUT": 7}),
        ("brevo://Tk@", "brevo", {"BREVO_API_KEY": "Tk", "REQUESTS_TIMEOUT": 7}),
        ("sendgrid://Tk@", "sendgrid", {"SENDGRID_API_KEY": "Tk", "REQUESTS_TIMEOUT": 7}),
        (
            "mailgun://Tk@mg.example.org?region=eu",
            "mailgun",
            {
                "MAILGUN_API_KEY": "Tk",
                "MAILGUN_SENDER_DOMAIN": "mg.example.org",
                "MAILGUN_API_URL": "https://api.eu.mailgun.net/v3",
                "REQUESTS_TIMEOUT": 7,
            },
        ),
    ],
)
def test_a_providers_address_becomes_anymails_settings(url, backend, anymail):
    assert email_url.parse(url, timeout=7) == {
        "EMAIL_BACKEND": f"anymail.backends.{backend}.EmailBackend",
        "ANYMAIL": anymail,
    }


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
