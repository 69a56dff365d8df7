"""Every setting with a wrong, an odd and an old value: refused in one sentence that keeps the value to itself, or in
effect. The module is run anew for each, without a process (test_start.py has those)."""

import re
import runpy
from pathlib import Path

import pytest
from django.conf import settings as ours
from django.core.exceptions import ImproperlyConfigured

from project.tests.processes import environment

ROOT = Path(ours.BASE_DIR)
KNOWN = re.findall(r"^([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
SOUND = {
    "ENV_FILE": "",
    "SECRET_KEY": "settings-0123456789-abcdefghijklmnopqrstuvwxyz",
    "USERS_TOKEN_SECRET": "settings-token-secret-0123456789-abcdefghijkl",
    "APP_URL": "https://app.example.org",
    "BASE_URL": "https://api.example.org",
    "DEFAULT_FROM_EMAIL": "noreply@example.org",
    "EMAIL_URL": "dummymail://",
}
PG = "postgres://u:hunter2@db:5432/name"


@pytest.fixture
def start(monkeypatch):
    """The settings with these values in the environment, and nothing else there."""

    def run(**values):
        for name in [*KNOWN, "POSTGRES_URL", "ACCESS_TOKEN_SECRET"]:
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(f"{name}_FILE", raising=False)
        for name, value in (SOUND | values).items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(ROOT / "project/settings.py"))

    return run


WRONG = {
    "DEBUG": ["yep"],
    "SECRET_KEY": ["", "short"],
    "SECRET_KEY_FALLBACKS": ["short-one"],
    "USERS_TOKEN_SECRET_FALLBACKS": ["short-one"],
    "USERS_ACCESS_TOKEN_SECRET": ["short-one"],
    "USERS_REFRESH_TOKEN_SECRET": ["short-one"],
    "USERS_VERIFICATION_TOKEN_SECRET": ["short-one"],
    "USERS_FORGOT_PASSWORD_TOKEN_SECRET": ["short-one"],
    "USERS_ENCRYPTION_KEYS": ["short-one"],
    "METRICS_TOKEN": ["short-one"],
    "HOST": ["http://0.0.0.0", "0.0.0.0:8000", "a b"],
    "PORT": ["0", "65536", "8000/tcp", "9" * 5000],
    "WEB_CONCURRENCY": ["0", "auto"],
    "API_LANES": ["0", "1.5"],
    "BASE_URL": [
        *("", "api.example.org", "ftp://api.example.org", "https://", "https://user:hunter2@api.example.org"),
        *("https://api.example.org/switchboard", "https://api.example.org/?x=1", "https://api.example.org/#x"),
        *("https://api.example.org:0", "https://api example.org", "https://*.example.org"),
    ],
    "APP_URL": ["", "app.example.org", "https://app.example.org?x=1", "https://user:hunter2@app.example.org"],
    "ALLOWED_HOSTS": ["*", "https://api.example.org", "api.example.org:8000", "*.example.org", "api.example.org/x"],
    "CORS_ORIGINS": [
        *("*", "null", "app.example.org", "https://app.example.org/path", "https://app.example.org:99999"),
        *("https://*", "https://*.org", "https://*.*.example.org", "https://app*.example.org", "*://app.example.org"),
        *("https://a.*.example.org", "https://user@app.example.org", "https://app.example.org?x"),
    ],
    "TRUSTED_PROXIES": ["*", "proxy", "10.0.0.1/8", "10.0.0.0/99"],
    "PRODUCT_NAME": ["Two\nlines", "Bell\a"],
    "SUPPORT_EMAIL": ["https://help.example.org", "help", "Help <help@example.org>"],
    "LOG_LEVEL": ["verbose", "critical"],
    "USERS_ACCESS_TOKEN_COOKIE_SAME_SITE": ["no"],
    "USERS_SESSION_IDLE_SECONDS": ["59", "-1"],
    "USERS_WEBAUTHN_RP_ID": ["https://app.example.org", "app.example.org:443", "*.example.org"],
    "USERS_WEBAUTHN_ORIGINS": ["app.example.org", "https://*.example.org"],
    "USERS_PASSWORD_POLICY": ["strict"],
    "USERS_ARGON2_MEMORY": ["7", "99999999"],
    "DATABASE_URL": [
        *("mysql://u:hunter2@db/name", "other://u:hunter2@db/name", "db:5432/name", "postgres://u:hunter2@db"),
        f"{PG}?schema=public",
        *(f"{PG}?pgbouncer=true", f"{PG}?sslmode=maybe", f"{PG}?connect_timeout=soon", f"{PG}?sslmode"),
        *(f"{PG}?sslmode=", f"{PG}?sslmode=require&sslmode=prefer", f"{PG}?atomic_requests=true", f"{PG}#hunter2"),
        *("postgres://u:a?hunter2=x@db/name", "sqlite://", "sqlite:///", "sqlite://db.sqlite3", "sqlite://:memory:"),
        *("sqlite:////tmp/x.sqlite3?mode=ro", "sqlite:////tmp/x.sqlite3?timeout=long"),
        "sqlite:////tmp/x.sqlite3?transaction_mode=lazy",
    ],
    "POSTGRES_HOST": ["db:5432", "postgres://db"],
    "EMAIL_URL": ["mail.example.org", "pigeon://loft"],
    "NOTIFICATIONS_API_TOKEN": ["tök-en", "two words"],
    "DEFAULT_FROM_EMAIL": ["noreply", "Us <noreply@>", "a@example.org, b@example.org"],
    "NOTIFICATIONS_REPLY_TO": ["help", "a@example.org,b@example.org"],
    "NOTIFICATIONS_UNSUBSCRIBE_MAILTO": ["stop"],
    "NOTIFICATIONS_ENGINE": ["celery", "cron"],
    "NOTIFICATIONS_POLL": ["0", "1,5", "-1"],
    "NOTIFICATIONS_TASKS_BACKEND": ["nowhere.Backend"],
    "NOTIFICATIONS_TASKS_BROKER": ["redis://127.0.0.1"],
    "NOTIFICATIONS_LANGUAGES": ["english", "fr", "en;xx"],
    "NOTIFICATIONS_ALLOW_TO": ["example.org"],
    "WEBHOOKS_ALLOWED_NETWORKS": ["10.0.0.0/99", "intranet"],
    "WEBHOOKS_TIMEOUT": ["0", "61"],
    "WEBHOOKS_RETENTION_DAYS": ["3"],
    "FLAGS_LISTEN": ["maybe"],
    "FLAGS_REBUILD": ["write"],
    "FLAGS_POLL_MS": ["1"],
}
#: A setting, its value, the sentence's word for what is wrong with it.
NAMED = [
    ("DATABASE_URL", f"{PG}?schema=public", "schema"),
    ("DATABASE_URL", f"{PG}?pgbouncer=true", "pgbouncer"),
    ("BASE_URL", "https://api.example.org/switchboard", "no path"),
    ("NOTIFICATIONS_LANGUAGES", "fr", "fr"),
]
#: Beside the settings that the process tests start with; the sentence names what to mend.
TOGETHER = [
    ({"SECRET_KEY": ""}, "SECRET_KEY"),
    ({"SECRET_KEY": "a" * 40}, "SECRET_KEY"),
    ({"USERS_TOKEN_SECRET": ""}, "USERS_TOKEN_SECRET"),
    ({"USERS_TOKEN_SECRET": "SetMeInEnvVars!"}, "USERS_TOKEN_SECRET"),
    ({"ACCESS_TOKEN_SECRET": "super-secret-token"}, "ACCESS_TOKEN_SECRET"),
    ({"USERS_TOKEN_SECRET_FALLBACKS": "short-6b1f"}, "USERS_TOKEN_SECRET_FALLBACKS"),
    ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS"),
    ({"ENVIRONMENT": "production"}, "USERS_RETURN_VERIFICATION_TOKENS"),
    ({"APP_URL": ""}, "APP_URL"),
    ({"BASE_URL": "ftp://x"}, "BASE_URL"),
    ({"CORS_ORIGINS": "https://a.example/path"}, "CORS_ORIGINS"),
    ({"EMAIL_URL": "pigeon://user:hunter2@loft"}, "EMAIL_URL"),
    ({"PORT": "eighty"}, "PORT"),
    ({"APP_URL": "http://["}, "APP_URL"),
    ({"BASE_URL": "http://x:99999"}, "BASE_URL"),
    ({"TRUSTED_PROXIES": "10.0.0.0/99"}, "TRUSTED_PROXIES"),
    ({"DATABASE_REPLICA_URL": PG}, "DATABASE_REPLICA_URL needs"),
    ({"DATABASE_LISTEN_URL": "mysql://u:hunter2@db/name"}, "DATABASE_LISTEN_URL must"),
    ({"DATABASE_URL": PG, "DATABASE_LISTEN_URL": "postgres://u:hunter2@db"}, "DATABASE_LISTEN_URL must name"),
    ({"DEFAULT_FROM_EMAIL": "a\nb@example.org"}, "DEFAULT_FROM_EMAIL"),
    ({"DATABASE_URL": "postgres://u:Secr/etPw#1@127.0.0.1:5432/x"}, "DATABASE_URL"),
    ({"DATABASE_URL": "garbage"}, "DATABASE_URL"),
    ({"DATABASE_URL": "postgres://u@127.0.0.1/x?pgbouncer=true"}, "pgbouncer"),
    ({"USERS_REFRESH_ROTATION": "maybe"}, "USERS_REFRESH_ROTATION"),
    ({"DATABASE_URL": "mysql://localhost/x"}, "DATABASE_URL"),
    ({"EMAIL_URL": "postal://k@mail.example.org", "NOTIFICATIONS_WEBHOOK_SECRET": "u:p"}, "No reports of postal"),
    ({"EMAIL_URL": "RESEND://k@", "NOTIFICATIONS_WEBHOOK_SECRET": "whsec_no!key"}, "NOTIFICATIONS_WEBHOOK_SECRET"),
    ({"EMAIL_URL": "sendgrid://k@", "NOTIFICATIONS_WEBHOOK_SECRET": "no-such-key"}, "NOTIFICATIONS_WEBHOOK_SECRET"),
    ({"EMAIL_URL": "resend://k@", "NOTIFICATIONS_WEBHOOK_SECRET": "whsec_no!key"}, "NOTIFICATIONS_WEBHOOK_SECRET"),
    ({"EMAIL_URL": "brevo://k@", "NOTIFICATIONS_WEBHOOK_SECRET": "no-password"}, "NOTIFICATIONS_WEBHOOK_SECRET"),
    ({"USERS_ARGON2_MEMORY": "8", "USERS_ARGON2_PARALLELISM": "2"}, "USERS_ARGON2_MEMORY"),
]
IN_EFFECT = [
    ("CORS_ORIGINS", "https://App.example.org:443/", "CORS_ALLOWED_ORIGINS", ["https://app.example.org"]),
    ("CORS_ORIGINS", "https://bücher.example", "CORS_ALLOWED_ORIGINS", ["https://xn--bcher-kva.example"]),
    (
        "CORS_ORIGINS",
        "http://[::1]:3000; http://localhost",
        "CORS_ALLOWED_ORIGINS",
        ["http://[::1]:3000", "http://localhost"],
    ),
    ("BASE_URL", "HTTPS://API.Example.org:443/", "BASE_URL", "https://api.example.org"),
    ("BASE_URL", "https://API.Example.org:8443", "ALLOWED_HOSTS", ["api.example.org", "localhost"]),
    ("BASE_URL", "http://[::1]:8000", "ALLOWED_HOSTS", ["[::1]", "localhost"]),
    ("BASE_URL", "https://bücher.example", "ALLOWED_HOSTS", ["xn--bcher-kva.example", "localhost"]),
    ("APP_URL", "https://example.org/app/", "APP_URL", "https://example.org/app"),
    (
        "ALLOWED_HOSTS",
        "API.example.org, .example.org ::1",
        "ALLOWED_HOSTS",
        ["api.example.org", ".example.org", "[::1]"],
    ),
    ("HOST", "::", "HOST", "::"),
    ("TRUSTED_PROXIES", "10.0.0.0/8;::1", "TRUSTED_PROXIES", ["10.0.0.0/8", "::1"]),
    ("NOTIFICATIONS_LANGUAGES", "DE en-GB", "NOTIFICATIONS_LANGUAGES", ["de", "en-gb"]),
    ("LOG_LEVEL", "WARNING", "LOG_LEVEL", "WARNING"),
    ("USERS_REFRESH_ROTATION", "Off", "USERS_REFRESH_ROTATION", False),
    ("USERS_WEBAUTHN_RP_ID", "Example.org", "USERS_WEBAUTHN_RP_ID", "example.org"),
    ("PORT", " 8080 ", "PORT", 8080),
]
DATABASES = [
    (f"{PG}?sslmode=require&application_name=us", {"sslmode": "require", "application_name": "us"}, {}),
    (f"{PG}?connect_timeout=2&options=-csearch_path%3Dx", {"connect_timeout": 2, "options": "-csearch_path=x"}, {}),
    (
        f"{PG}?conn_max_age=30&DISABLE_SERVER_SIDE_CURSORS=true",
        {},
        {"CONN_MAX_AGE": 30, "DISABLE_SERVER_SIDE_CURSORS": True},
    ),
    ("postgresql+asyncpg://u:hunter2@db:5432/name?ssl=require", {"sslmode": "require"}, {"NAME": "name", "PORT": 5432}),
    (
        "sqlite:////tmp/x.sqlite3?timeout=1&transaction_mode=exclusive",
        {"timeout": 1, "transaction_mode": "EXCLUSIVE"},
        {},
    ),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_what_can_never_work_is_refused_in_one_sentence(start, name, value):
    with pytest.raises(ImproperlyConfigured) as refusal:
        start(**{name: value})

    sentence = str(refusal.value)
    assert name in sentence
    assert "\n" not in sentence
    assert "hunter2" not in sentence
    assert len(value) < 30 or value not in sentence


#: Any text will do.
FREE = {
    *("ENVIRONMENT", "PRODUCT_NAME", "RELEASE", "USERS_TOKEN_ISSUER", "FLAGS_ENVIRONMENT", "POSTGRES_USER"),
    *("POSTGRES_PASSWORD", "POSTGRES_DATABASE", "NOTIFICATIONS_WEBHOOK_SECRET"),
}


@pytest.mark.parametrize("name", sorted(set(KNOWN) - FREE))
def test_no_setting_takes_nonsense(start, name):
    with pytest.raises(ImproperlyConfigured, match=name):
        start(**{"POSTGRES_HOST": "db", name: "?! ?"} if name.startswith("POSTGRES") else {name: "?! ?"})


@pytest.mark.parametrize(("name", "value", "word"), NAMED)
def test_the_sentence_names_what_is_wrong(start, name, value, word):
    with pytest.raises(ImproperlyConfigured, match=word):
        start(**{name: value})


@pytest.mark.parametrize(("changes", "word"), TOGETHER)
def test_what_the_start_refuses_in_an_environment_that_works(start, changes, word):
    with pytest.raises(ImproperlyConfigured) as refusal:
        start(**environment("sqlite:////tmp/never-opened.sqlite3", **changes))

    sentence = str(refusal.value)
    assert word in sentence
    assert "\n" not in sentence
    assert not any(len(value) >= 8 and value in sentence for value in changes.values())


def test_a_cookie_for_foreign_pages_must_be_secure(start):
    with pytest.raises(ImproperlyConfigured, match="USERS_ACCESS_TOKEN_COOKIE_SECURE=1"):
        start(USERS_ACCESS_TOKEN_COOKIE_SAME_SITE="none", USERS_ACCESS_TOKEN_COOKIE_SECURE="0")

    assert start(USERS_ACCESS_TOKEN_COOKIE_SAME_SITE="None")["USERS_ACCESS_TOKEN_COOKIE_SECURE"]


@pytest.mark.parametrize(("name", "value", "setting", "wanted"), IN_EFFECT)
def test_what_is_accepted_is_in_effect(start, name, value, setting, wanted):
    assert start(**{name: value})[setting] == wanted


@pytest.mark.parametrize(("url", "options", "others"), DATABASES)
def test_options_of_the_database_reach_it(start, url, options, others):
    database = start(DATABASE_URL=url)["DATABASES"]["default"]

    assert {name: database["OPTIONS"][name] for name in options} == options
    assert {name: database[name] for name in others} == others


def test_the_seeds_address_of_the_database_is_read(start):
    found = start(POSTGRES_URL="postgresql+asyncpg://u:p%40ss@db.example:5433/product")["DATABASES"]["default"]

    assert [found[name] for name in ("HOST", "PORT", "USER", "PASSWORD", "NAME")] == [
        *("db.example", 5433, "u", "p@ss", "product")
    ]


def test_the_seeds_parts_of_the_database_make_one_address(start):
    database = start(POSTGRES_HOST="::1", POSTGRES_USER="u@x", POSTGRES_PASSWORD="p/?#", POSTGRES_DATABASE="d")

    found = database["DATABASES"]["default"]
    assert [found[name] for name in ("HOST", "PORT", "USER", "PASSWORD", "NAME")] == ["::1", 5432, "u@x", "p/?#", "d"]


def test_other_ways_to_the_database_are_read_as_the_database_is(start):
    found = start(
        DATABASE_URL=PG, DATABASE_REPLICA_URL="postgresql+asyncpg://r@copy/name?sslmode=require", DATABASE_LISTEN_URL=PG
    )["DATABASES"]

    assert (found["replica"]["HOST"], found["replica"]["OPTIONS"]["sslmode"]) == ("copy", "require")
    assert found["listen"]["HOST"] == "db"


def test_any_setting_may_come_in_a_file(start, tmp_path):
    (tmp_path / "secret").write_text("a-secret-of-a-file-0123456789-abcdefghijk\n")
    (tmp_path / "password").write_text("p/?#$X\n")

    found = start(
        SECRET_KEY="",
        SECRET_KEY_FILE=f"{tmp_path}/secret",
        DATABASE_URL="",
        POSTGRES_HOST="db",
        POSTGRES_PASSWORD_FILE=f"{tmp_path}/password",
    )

    assert found["SECRET_KEY"] == "a-secret-of-a-file-0123456789-abcdefghijk"
    assert found["DATABASES"]["default"]["PASSWORD"] == "p/?#$X"


@pytest.mark.parametrize(
    ("content", "changes", "word"),
    [
        (b"a-secret-of-a-file-0123456789-abcdefghijk", {"SECRET_KEY": "x" * 40}, "not both"),
        (b"hunter2", {}, "SECRET_KEY is too short"),
        (b"\xffhunter2-0123456789-abcdefghijklmnopqrst", {}, "it is no text"),
        (None, {}, "No such file"),
        (b"\n", {}, "SECRET_KEY_FILE names a file that is empty"),
        (b"hunter2" * 20_000, {}, "holds more than 100,000 characters"),
    ],
)
def test_a_file_without_a_good_value_is_refused(start, tmp_path, content, changes, word):
    if content is not None:
        (tmp_path / "secret").write_bytes(content)

    with pytest.raises(ImproperlyConfigured, match=word) as refused:
        start(**({"SECRET_KEY": "", "SECRET_KEY_FILE": f"{tmp_path}/secret"} | changes))

    assert "hunter2" not in str(refused.value)


def test_a_list_may_come_in_an_empty_file(start, tmp_path):
    (tmp_path / "former").write_text("\n")

    assert start(USERS_TOKEN_SECRET_FALLBACKS_FILE=f"{tmp_path}/former")["USERS_TOKEN_SECRET_FALLBACKS"] == []


def test_every_setting_of_the_example_starts_with_the_value_it_has_there(start):
    example = dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))

    for name, value in example.items():
        if value:
            start(**{name: value})
