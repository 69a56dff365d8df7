import pytest
from django.contrib.auth.models import Permission

from feature_flags import declarations as registry
from feature_flags.tests.factories import make_staff
from feature_flags.tests.wire import BULK, ask, make_scene
from lib.actors import Actor
from project.asgi import application
from users.services import api_keys
from users.tests.factories import UserFactory

SCOPES = ("flags:read", "flags:write", "flags:switch", "flags:archive", "segments:write", "people:read")


@pytest.fixture
def declarations(monkeypatch):
    """The registry of declared flags, put back afterwards."""
    monkeypatch.setattr(registry, "_declared", dict(registry._declared))
    monkeypatch.setattr(registry, "_conflicts", set(registry._conflicts))
    return registry


@pytest.fixture
def staff(db):
    return make_staff(
        "staff@example.org", "view_featureflag", "add_featureflag", "change_featureflag", "switch_featureflag"
    )


@pytest.fixture
def staff_client(client, staff):
    client.force_login(staff)
    return client


@pytest.fixture
def chief_client(client, db):
    """Somebody who may do everything to flags, and look at users."""
    chief = make_staff("chief@example.org", *Permission.objects.values_list("codename", flat=True))
    chief.user_permissions.add(Permission.objects.get(codename="view_user"))
    client.force_login(chief)
    client.chief = chief
    return client


@pytest.fixture
def scene(db):
    """Flags of all kinds and two tokens, for the tests of the public answers."""
    return make_scene()


@pytest.fixture
def evaluate(scene):
    """OFREP's answer for one flag."""

    def call(key, context=None, token=None, **options):
        body = {"context": context or {}}
        return ask(application, "POST", f"{BULK}/{key}", {"authorization": token or scene.server}, body, **options)

    return call


@pytest.fixture
def bulk(scene):
    """OFREP's answer for all flags."""

    def call(context=None, token=None, headers=None, query="", **options):
        given = {"authorization": token or scene.server, **(headers or {})}
        body = {"context": {"targetingKey": "u1", **(context or {})}}
        return ask(application, "POST", f"{BULK}{query}", given, body, **options)

    return call


@pytest.fixture
def staff_api(api, db):
    """Calls by a key with all scopes of flags, or with `scopes`."""
    owner = UserFactory(superuser=True)
    made = {}

    def call(method, path, body=None, *, scopes=SCOPES, **headers):
        if scopes not in made:
            made[scopes] = api_keys.create(owner, actor=Actor.command("test"), name="job", scopes=scopes)[1]
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return api.call(method, f"/staff{path}", body, bearer=made[scopes], **headers)

    return call


@pytest.fixture
def person(api, db, settings):
    """Calls by a person of staff with these permissions."""
    settings.USERS_STAFF_MFA = "off"

    def sign_in(*permissions):
        api.sign_in(make_staff("staff@example.org", *permissions))
        return lambda method, path, body=None, **headers: api.call(method, f"/staff{path}", body, **headers)

    return sign_in
