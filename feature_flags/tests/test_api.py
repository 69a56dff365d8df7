import pytest

from feature_flags.models import FeatureFlag
from feature_flags.runtime import store
from feature_flags.services import editing
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory

PATH = "/api/feature-flags/feature-flags"


def listed(client, path=PATH, **headers):
    response = client.get(path, headers=headers)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/json")
    return response.json()


@pytest.mark.django_db
def test_the_list_holds_the_four_keys_and_keeps_null(client):
    FeatureFlagFactory.create(codename="FF_B", label="B", description="Because é", on=True)
    FeatureFlagFactory.create(codename="FF_A")

    flags = listed(client)

    assert flags[:2] == [
        {"codename": "FF_A", "label": None, "description": None, "is_active": False},
        {"codename": "FF_B", "label": "B", "description": "Because é", "is_active": True},
    ]
    assert flags[2]["codename"] == "FF_ENABLE_REGISTRATION"


@pytest.mark.django_db
def test_the_order_is_that_of_codenames_on_every_database(client):
    for codename in ("a_b", "B", "a-b", "a.b", "aB", "_x"[1:], "Z~", "10", "9"):
        FeatureFlagFactory.create(codename=codename)

    names = [flag["codename"] for flag in listed(client)]

    assert names == sorted(names)


@pytest.mark.django_db
def test_the_short_path_answers_the_same(client):
    assert client.get("/api/feature-flags").content == client.get(PATH).content


@pytest.mark.django_db
def test_an_empty_list_is_an_empty_array(client):
    FeatureFlag.objects.all().delete()
    store.put(None)

    assert listed(client) == []


@pytest.mark.django_db
def test_any_authorization_is_ignored(client):
    assert listed(client, authorization="Bearer junk") == listed(client)


@pytest.mark.django_db(transaction=True)
def test_a_switch_shows_at_the_next_call(client):
    flag = FeatureFlagFactory.create(codename="FF_A")
    assert not listed(client)[0]["is_active"]

    editing.switch(flag, on=True, **COMMAND)

    assert listed(client)[0]["is_active"]


@pytest.mark.django_db
def test_the_list_asks_no_database_however_long_it_is(client, django_assert_num_queries):
    for _ in range(20):
        FeatureFlagFactory.create()

    with django_assert_num_queries(0):
        assert len(listed(client)) == 21


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_the_list_is_only_read(client, method):
    assert getattr(client, method)(PATH).status_code == 405


@pytest.mark.django_db
def test_the_document_promises_exactly_this_shape(client):
    document = client.get("/api/openapi.json").json()

    operation = document["paths"][PATH]["get"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    name = schema["items"]["$ref"].rsplit("/", 1)[-1]
    assert set(document["components"]["schemas"][name]["properties"]) == set(listed(client)[0])
    assert "security" not in operation
