"""Bad input to the endpoints of one's own account is a clear 4xx, on both databases."""

import json

import pytest

from users.models import User
from users.tests.factories import PASSWORD

pytestmark = pytest.mark.django_db

LONG = "x" * 900_000
#: Each endpoint with a body: its field, and the others it needs.
BODIES = {
    ("/auth/change-password", "current_password"): {"new_password": "Another-Horse-8"},
    ("/auth/change-password", "new_password"): {"current_password": PASSWORD},
    ("/auth/change-email", "email"): {},
    ("/auth/change-email/confirm", "token"): {},
    ("/auth/change-email/undo", "token"): {},
    ("/auth/undelete", "token"): {},
}
VALUES = ["\x00", "\ud800", LONG, "", "é" * 200, "\u202e", "'; DROP", None, 1, 1.5, True, [], {}]
RAW = [b"", b"{", b"[]", b"null", b"NaN", b'{"token": NaN}', b"\xff\xfe", b"[" * 100_000, b'"' + b"a" * 900_000 + b'"']
CALLS = [("GET", "/users/sessions"), ("GET", "/users/security-events"), ("DELETE", "/users/sessions")]


@pytest.mark.parametrize(("path", "field"), BODIES)
@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_no_value_leads_to_more_than_a_refusal(api, user, path, field, value):
    api.sign_in(user)

    response = api.call("POST", path, BODIES[path, field] | {field: value})

    assert response.status_code in {400, 422}
    assert set(response.json()) == {"detail", "code", "request_id"}
    assert User.objects.get().email == user.email
    assert PASSWORD not in response.content.decode()


@pytest.mark.parametrize("path", sorted({path for path, _ in BODIES}))
@pytest.mark.parametrize("body", RAW, ids=range(len(RAW)))
def test_no_body_leads_to_more_than_a_refusal(api, user, path, body):
    api.sign_in(user)

    response = api.call("POST", path, body)

    assert response.status_code == 422
    assert json.loads(response.content)["code"] == "invalid"


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_body_nobody_asked_for_is_ignored(api, user, method, path):
    api.sign_in(user)

    assert api.call(method, path, b"\xff{").status_code in {200, 204}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", sorted({path for path, _ in BODIES}))
def test_other_methods_are_405(api, user, method, path):
    api.sign_in(user)

    assert api.call(method, path, {}).status_code == 405


@pytest.mark.parametrize("bearer", ["junk", "a.b.c", "\x00", "é", LONG])
@pytest.mark.parametrize("path", ["/users/sessions", "/users/security-events", "/users/user/export"])
def test_junk_instead_of_a_bearer_is_401(api, db, path, bearer):
    assert api.call("GET", path, bearer=bearer).status_code == 401
