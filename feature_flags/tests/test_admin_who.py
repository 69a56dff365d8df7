"""Who gets a flag, and why: on the page of the flag, and on the page of a person."""

import json

import pytest
from django.contrib.auth.models import Permission

from feature_flags.runtime import usage
from feature_flags.services import editing
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, break_flag, make_staff
from feature_flags.tests.pages import page
from users.tests.factories import UserFactory

BETA = {"label": "Beta", "constraints": [{"field": "emailDomain", "operator": "IN", "values": ["example.org"]}]}


@pytest.fixture
def flag(db):
    return editing.create("FF_A", rules=[BETA], is_active=True, **COMMAND)


def ask(client, flag, **query):
    return client.get(page(flag, "who"), query)


@pytest.mark.parametrize(
    "spell",
    [
        lambda user: user.email,
        lambda user: user.email.upper() + " ",
        lambda user: user.pk.hex,
        lambda user: str(user.pk),
    ],
)
def test_a_person_is_found_by_address_or_id_and_the_answer_explained(chief_client, flag, spell):
    user = UserFactory.create(email="ada@example.org")

    response = ask(chief_client, flag, user=spell(user))

    html = response.content.decode()
    assert response.context["explanation"].result.enabled
    for text in ("On, by Beta.", "by a rule: Beta", "emailDomain is one of example.org", "emailDomain = example.org"):
        assert text in html
    assert "(given: example.org)" in html


def test_the_trace_says_what_was_not_met(chief_client, flag):
    html = ask(chief_client, flag, context="emailDomain=example.com").content.decode()

    assert "Off: no rule lets this context in." in html
    assert "not met:" in html


def test_a_context_is_lines_or_json(chief_client, flag):
    for context, is_on in [
        ("emailDomain=example.org\r\n\r\n other = x=y ", True),
        ('{"emailDomain": "example.org"}', True),
        ('{"properties": {"emailDomain": "example.org"}}', True),
        ('{"emailDomain": ["example.org"], "n": NaN, "big": 1e999}', False),
    ]:
        assert ask(chief_client, flag, context=context).context["explanation"].result.enabled is is_on, context


def test_what_cannot_be_asked_is_said_beside_the_field(chief_client, flag, subtests):
    for query, message in [
        ({"user": "nobody@example.org"}, "There is no such user."),
        ({"user": "x" * 300}, "at most 254"),
        ({"user": "00000000-0000-0000-0000-000000000000"}, "There is no such user."),
        ({"context": "nonsense"}, "is no line like country=IT."),
        ({"context": "=x"}, "is no line like country=IT."),
        ({"context": "{"}, "This is not JSON."),
        ({"context": "[" * 4000}, "This is not JSON."),
        ({"context": "[]"}, "A context is a JSON object."),
        ({"context": '{"a": %s}' % ("1" * 4900)}, "This is not JSON."),
        ({"context": "x" * 5001}, "at most 5000"),
    ]:
        with subtests.test(str(query)[:50]):
            response = ask(chief_client, flag, **query)

            assert response.status_code == 200
            assert message in response.content.decode()
            assert "explanation" not in response.context


def test_a_person_is_found_by_a_part_of_a_name_or_address(chief_client, flag):
    UserFactory.create(email="ada@example.org", first_name="Ada")
    UserFactory.create(email="adam@example.com", first_name="Adam")

    assert "did you mean ada@example.org, adam@example.com?" in ask(chief_client, flag, user="ADA").content.decode()
    assert ask(chief_client, flag, user="adam").context["explanation"]


def test_large_numbers_are_no_trouble(chief_client, flag):
    for number in ["1" + "0" * 400, "9" * 300]:
        assert ask(chief_client, flag, context=f'{{"a": {number}}}').status_code == 200


def test_what_is_typed_counts_before_what_is_known(chief_client, flag):
    user = UserFactory.create(email="ada@example.org")

    response = ask(chief_client, flag, user=user.email, context="emailDomain=example.com")

    assert not response.context["explanation"].result.enabled


def test_a_thousand_made_up_ids_show_the_share(chief_client):
    weights = [{"name": "blue", "weight": 1}, {"name": "red", "weight": 1}]
    editing.create("FF_A", rollout_percent=30, stickiness="email", variants=weights, is_active=True, **COMMAND)
    flag = editing.get("FF_A")

    share = ask(chief_client, flag).context["share"]

    assert 250 < share["on"] < 350
    assert {name for name, _ in share["variants"]} == {"blue", "red"}
    assert sum(count for _, count in share["variants"]) == share["on"]
    assert share == ask(chief_client, flag).context["share"]


def test_values_of_other_types_are_shown(chief_client):
    variants = [{"name": "only", "payload": {"a": "<b>"}}]
    flag = editing.create("FF_A", value_type="object", variants=variants, is_active=True, **COMMAND)

    html = ask(chief_client, flag, context="userId=1").content.decode()

    assert "{&quot;a&quot;: &quot;&lt;b&gt;&quot;}" in html


def test_broken_and_archived_flags_say_so(chief_client):
    broken = break_flag(editing.create("FF_A", rules=[{}], is_active=True, **COMMAND))
    archived = FeatureFlagFactory.create()
    editing.archive(archived, **COMMAND)

    assert "cannot be read" in ask(chief_client, broken, context="a=b").content.decode()
    assert "It is archived" in ask(chief_client, archived).content.decode()


def test_looking_is_not_counted_as_use(chief_client, flag):
    usage.forget()

    ask(chief_client, flag, context="emailDomain=example.org")
    chief_client.get(page(flag))

    assert sum(usage.cell("FF_A")) == 0


def test_people_are_for_those_who_may_see_people(client, flag):
    UserFactory.create(email="ada@example.org")
    client.force_login(make_staff("viewer@example.org", "view_featureflag"))

    response = ask(client, flag, user="ada@example.org", context="a=b")

    assert 'name="user"' not in response.content.decode()
    assert "ada@example.org" not in response.content.decode()
    client.force_login(make_staff("stranger@example.org", "view_segment"))
    assert ask(client, flag).status_code == 403


# --- On the page of a person ------------------------------------------------------------------------------------------


def test_the_page_of_a_person_lists_the_flags_they_get(chief_client, flag):
    user = UserFactory.create(email="ada@example.org")
    editing.create("FF_B", value_type="string", variants=[{"name": "v", "payload": "<i>"}], is_active=True, **COMMAND)
    editing.create("FF_OFF", **COMMAND)

    response = chief_client.get(f"/admin/users/user/{user.pk}/change/")

    section = response.content.decode().split('id="user-flags"')[1].partition("</section>")[0]
    assert "Gets 3 of 4 flags." in section
    assert "FF_OFF" not in section
    assert f'href="{page(flag, "who")}?user={user.pk.hex}"' in section
    assert "by a rule: Beta" in section
    assert "&quot;&lt;i&gt;&quot;" in section


def test_flags_of_a_person_are_for_those_who_may_see_flags(client, db):
    user, clerk = UserFactory.create(), make_staff("clerk@example.org")
    clerk.user_permissions.set([Permission.objects.get(codename="view_user")])
    client.force_login(clerk)

    response = client.get(f"/admin/users/user/{user.pk}/change/")

    assert response.status_code == 200
    assert "user-flags" not in response.content.decode()


def test_many_flags_of_a_person_are_cut(chief_client, monkeypatch):
    monkeypatch.setattr("users.admin.users.FLAGS_SHOWN", 2)
    user = UserFactory.create()
    for name in ("FF_A", "FF_B"):
        editing.create(name, is_active=True, **COMMAND)

    html = chief_client.get(f"/admin/users/user/{user.pk}/change/").content.decode()

    assert "Only the first 2 are shown." in html
    assert json.dumps(True) in html
