"""Every operation of the API by everybody: who may is what the description says, for each operation there is."""

import json
import re
from datetime import timedelta
from functools import cache

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.utils import timezone

from feature_flags.http.routes import SECURITY_SCHEMES
from lib.actors import Actor
from project.api import api as product_api
from users.models import ApiKey
from users.services import api_keys, key_scopes
from users.tests.factories import UserFactory

OPERATOR = Actor.command("test")
NEEDED = re.compile(r"Needs the permission `([\w.]+)`")
GROUPS = ("Support", "Release", "Admin")


class Back(Exception):
    """Undoes what a call has done."""


def operations():
    for path, methods in product_api.get_openapi_schema()["paths"].items():
        for method, about in methods.items():
            if method != "head":
                yield pytest.param(method.upper(), path, about, id=about["operationId"])


def scope_keys(user, scopes):
    return api_keys.create(user, actor=OPERATOR, name="job", scopes=scopes)[1]


@pytest.fixture
def ask(api, db):
    """The status and code of a call with the body of the example, whose effects are undone."""

    def ask(method, path, about, bearer):
        asked = path.removeprefix("/api")
        for name in re.findall(r"{(\w+)}", path):
            asked = asked.replace(f"{{{name}}}", "0" * 32)
        content = about.get("requestBody", {}).get("content", {})
        body = content.get("application/json", {}).get("example")
        found = []
        try:
            with transaction.atomic():
                answer = api.call(method, asked, body, bearer=bearer)
                found = [answer.status_code, answer.json().get("code") if answer.status_code >= 400 else None]
                raise Back
        except Back:
            return tuple(found)

    return ask


@pytest.fixture(scope="module")
def staff_operations():
    return [each.values for each in operations() if each.values[1].startswith("/api/staff/")]


@pytest.fixture(autouse=True)
def by_password_alone(settings):
    settings.USERS_STAFF_MFA = "optional"


def needed(about):
    return NEEDED.search(about["description"])[1]


def test_nobody_and_keys_that_ended_are_refused_everywhere(ask, staff_operations):
    user = UserFactory(superuser=True)
    revoked, expired = (scope_keys(user, key_scopes.SCOPES) for _ in range(2))
    ApiKey.objects.filter(prefix=revoked[:12]).update(revoked_at=timezone.now())
    ApiKey.objects.filter(prefix=expired[:12]).update(expires_at=timezone.now() - timedelta(seconds=1))

    for method, path, about in staff_operations:
        for bearer in ("", revoked, expired):
            assert ask(method, path, about, bearer) == (401, "unauthorized"), path


def test_people_may_what_their_groups_may(ask, api, staff_operations):
    bearers = {}
    for name in ("", *GROUPS):
        user = UserFactory(staff=bool(name))
        user.groups.set(Group.objects.filter(name=name))
        api.sign_in(user)
        bearers[name] = user, api.bearer
    for method, path, about in staff_operations:
        permission = needed(about)
        for name, (user, bearer) in bearers.items():
            status, code = ask(method, path, about, bearer)
            may = bool(name) and user.has_perm(permission)
            assert status != 401, (path, name)
            assert may or (status, code) == (403, "forbidden"), (path, name, status)
            assert status != 500, path


def test_a_key_of_a_superuser_may_what_its_scopes_name(ask, staff_operations, monkeypatch):
    monkeypatch.setattr(api_keys, "LIMIT", 200)
    user = UserFactory(superuser=True)

    everything = scope_keys(user, key_scopes.SCOPES)

    @cache
    def keys(permission):
        """One with the scope of this permission alone, one with all scopes that do not bring it."""
        others = [name for name in key_scopes.SCOPES if permission not in key_scopes.permissions(name)]
        return scope_keys(user, [key_scopes.scope_of(permission)]), scope_keys(user, others)

    for method, path, about in staff_operations:
        if not key_scopes.scope_of(needed(about)):
            # For people alone.
            assert ask(method, path, about, everything) == (403, "forbidden"), path
            continue
        own, others = keys(needed(about))
        status, code = ask(method, path, about, own)
        assert status not in {401, 500}, path
        assert (status, code) != (403, "forbidden"), path
        assert ask(method, path, about, others) == (403, "forbidden"), path


def test_a_key_with_every_scope_opens_nothing_else(ask):
    bearer = scope_keys(UserFactory(superuser=True), key_scopes.SCOPES)
    for each in operations():
        method, path, about = each.values
        if not path.startswith("/api/") or path.startswith("/api/staff/") or not about.get("security"):
            continue
        status, code = ask(method, path, about, bearer)
        ways = {name for way in about["security"] for name in way}
        if "ApiKey" in ways:
            assert status not in {401, 403, 500}, path
        elif ways <= SECURITY_SCHEMES.keys():
            # Of flags, whose tokens are of another kind.
            assert status == 401, path
        else:
            assert (status, code) == (403, "key_not_accepted"), path


def test_examples_are_bodies_that_can_be_read(ask, staff_operations):
    bearer = scope_keys(UserFactory(superuser=True), key_scopes.SCOPES)

    unread = [path for method, path, about in staff_operations if ask(method, path, about, bearer)[0] == 422]

    assert json.dumps(unread) == "[]"
