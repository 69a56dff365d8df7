from datetime import timedelta
from hashlib import sha256

import pytest
from django.core.management import call_command
from django.utils import timezone

from feature_flags.models import FlagRevision, FlagToken
from feature_flags.runtime import store
from feature_flags.services import tokens
from feature_flags.tests.factories import COMMAND
from lib.errors import ProductError

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("kind", "prefix"), [("server", "sbs_"), ("frontend", "sbf_")])
def test_the_secret_is_told_once_and_stored_as_a_hash(kind, prefix):
    token, secret = tokens.create_token("shop", kind=kind, **COMMAND)

    assert secret.startswith(prefix)
    assert len(secret) > 40
    stored = FlagToken.objects.values().get()
    assert bytes(stored["secret_hash"]) == sha256(secret.encode()).digest()
    assert secret not in str(stored)
    assert secret not in str(FlagRevision.objects.latest("id").snapshot)
    assert store.snapshot.tokens[sha256(secret.encode()).digest()].kind == kind


def test_origins_are_normal():
    origins = ["https://App.example.org:443/", "http://localhost:3000"]

    token, secret = tokens.create_token("shop", kind="frontend", allowed_origins=origins, **COMMAND)

    assert token.allowed_origins == ["http://localhost:3000", "https://app.example.org"]
    assert store.snapshot.tokens[sha256(secret.encode()).digest()].origins == set(token.allowed_origins)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "a\x00"},
        {"kind": "admin"},
        {"allowed_origins": ["app.example.org"]},
        {"allowed_origins": ["https://app.example.org/path"]},
        {"allowed_origins": ["*"]},
        {"expires_at": timezone.now() - timedelta(days=1)},
    ],
    ids=["empty", "long", "nul", "kind", "no scheme", "path", "star", "over"],
)
def test_what_is_no_token_is_refused(fields):
    wanted = {"name": "shop", "kind": "frontend", **fields}

    with pytest.raises(ProductError):
        tokens.create_token(wanted.pop("name"), **wanted, **COMMAND)

    assert not FlagToken.objects.exists()


def test_a_revoked_token_is_out_of_every_snapshot():
    token, secret = tokens.create_token("shop", kind="server", **COMMAND)

    assert tokens.revoke_token(token, **COMMAND)
    assert not tokens.revoke_token(token, **COMMAND)

    assert not store.snapshot.tokens


def test_the_first_migrate_in_debug_prints_development_tokens_once(settings, capsys):
    call_command("migrate")
    outside_of_debug = capsys.readouterr().out
    settings.DEBUG = True

    call_command("migrate")
    first = capsys.readouterr().out
    call_command("migrate")
    again = capsys.readouterr().out

    assert first.count("sbs_") == first.count("sbf_") == 1
    assert "sbs_" not in outside_of_debug + again
