"""Who may ask by OFREP, from which page, and what is believed of a browser."""

from datetime import UTC, datetime, timedelta

import pytest

from feature_flags.http import wire
from feature_flags.services import tokens
from feature_flags.tests.factories import COMMAND
from feature_flags.tests.wire import APP, BULK, ask, constraint, make_flag, make_token
from project.asgi import application

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("header", "form"),
    [("authorization", "{}"), ("authorization", "Bearer {}"), ("authorization", "bearer  {}"), ("x-api-key", "{}")],
)
def test_a_token_is_read_from_three_headers(header, form, scene):
    headers = {header: form.format(scene.server)}

    assert ask(application, "POST", BULK, headers).status == 200
    assert ask(application, "POST", f"{BULK}/FF_ON", headers).status == 200


def test_without_a_valid_token_there_is_a_401_without_body(scene):
    for headers in ({}, {"authorization": "Bearer junk"}, {"x-api-key": f"{scene.server}x"}, {"authorization": ""}):
        for path in (BULK, f"{BULK}/FF_ON", f"{BULK}/nope"):
            reply = ask(application, "POST", path, {**headers, "origin": APP})

            assert (reply.status, reply.body, reply.headers["www-authenticate"]) == (401, b"", "Bearer")
            assert reply.headers["access-control-allow-origin"] == APP


def test_a_token_ends_by_the_clock_and_by_revocation(scene, bulk, monkeypatch):
    token, secret = make_token("server", name="soon", expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert bulk(token=secret).status == 200
    later = datetime.now(UTC).timestamp() + 3601
    with monkeypatch.context() as patch:
        patch.setattr(wire, "time", lambda: later)
        assert bulk(token=secret).status == 401

    tokens.revoke_token(token, **COMMAND)

    assert bulk(token=secret).status == 401


def test_a_frontend_token_sees_exposed_flags_only(scene, bulk, evaluate):
    seen = {flag["key"] for flag in bulk(token=scene.frontend).json()["flags"]}

    assert "FF_HIDDEN" not in seen
    assert seen | {"FF_HIDDEN"} == {flag["key"] for flag in bulk().json()["flags"]}
    assert evaluate("FF_HIDDEN", token=scene.frontend).status == 404
    assert evaluate("FF_HIDDEN").status == 200


def test_a_browsers_address_is_the_one_it_comes_from(scene, evaluate):
    make_flag("FF_HERE", rules=[{"constraints": [constraint("remoteAddress", "IN", "192.0.2.7")]}])
    lie, truth = {"remoteAddress": "192.0.2.7"}, ("::ffff:192.0.2.7", 1)

    assert not evaluate("FF_HERE", lie, token=scene.frontend, client=("203.0.113.1", 1)).json()["value"]
    assert evaluate("FF_HERE", {}, token=scene.frontend, client=truth).json()["value"]
    assert not evaluate("FF_HERE", {"properties": lie}, token=scene.frontend, client=None).json()["value"]
    assert evaluate("FF_HERE", lie, client=("203.0.113.1", 1)).json()["value"]
    assert not evaluate("FF_HERE", {}, client=truth).json()["value"]


def test_a_missing_environment_is_ours(scene, evaluate, settings):
    make_flag("FF_ENV", rules=[{"constraints": [constraint("environment", "IN", settings.FLAGS_ENVIRONMENT)]}])

    assert evaluate("FF_ENV").json()["value"]
    assert not evaluate("FF_ENV", {"environment": "other"}).json()["value"]


def test_pages_of_other_origins_are_refused(scene, bulk):
    _, secret = make_token("frontend", name="shop", allowed_origins=["https://shop.example"])

    allowed = bulk(token=secret, headers={"origin": "https://shop.example"})
    refused = bulk(token=secret, headers={"origin": "https://evil.example"})

    assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, "https://shop.example")
    assert (refused.status, refused.body) == (403, b"")
    assert "access-control-allow-origin" not in refused.headers
    assert bulk(token=secret).status == 200
    for reply in (allowed, refused):
        assert reply.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in reply.headers


def test_a_preflight_needs_no_token_and_echoes_header_names(db):
    reply = ask(
        application,
        "OPTIONS",
        f"{BULK}/FF_ON",
        {
            "origin": "https://any.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, unleash-appname,bad name,x-custom",
        },
    )

    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == "https://any.example"
    assert reply.headers["access-control-allow-headers"] == "authorization, unleash-appname, x-custom"
    assert reply.headers["access-control-max-age"] == "600"
    assert "access-control-allow-credentials" not in reply.headers


def test_scripts_may_read_the_headers_they_need(bulk):
    exposed = bulk(headers={"origin": APP}).headers["access-control-expose-headers"]

    assert exposed == "Retry-After, X-Request-ID, ETag"
