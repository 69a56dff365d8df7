"""What may be called a release, and what breaks the clients of the one before."""

from copy import deepcopy

import pytest

from release import __main__ as making
from release import contract, history

CHANGES = "# Changelog\n\n## Unreleased\n\n### Added\n\n- A thing.\n\n## 0.1.0 (2026-11-30)\n\n- The first.\n"
PERSON = {
    "type": "object",
    "required": ["id", "name"],
    "properties": {
        "id": {"type": "integer"},
        "name": {"type": "string", "maxLength": 90},
        "role": {"anyOf": [{"type": "string", "enum": ["guest", "staff"]}, {"type": "null"}]},
        "friends": {"type": "array", "items": {"$ref": "#/components/schemas/Person"}},
    },
}
WORDS = {"type": "array", "items": {"type": "string"}}


def json_of(schema):
    return {"content": {"application/json": {"schema": schema}}}


@pytest.fixture
def document():
    body = {"$ref": "#/components/schemas/Person"}
    operation = {
        "operationId": "add_person",
        "security": [{"ApiKey": ["people:write"]}],
        "parameters": [{"in": "query", "name": "page", "schema": {"type": "integer"}}],
        "requestBody": {"required": True, **json_of(body)},
        "responses": {"200": json_of(body)},
    }
    return {"paths": {"/people": {"post": operation}}, "components": {"schemas": {"Person": deepcopy(PERSON)}}}


def changed(document, change):
    new = deepcopy(document)
    change(new["paths"]["/people"]["post"], new["components"]["schemas"]["Person"])
    return contract.breaks(document, new)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda post, person: post["parameters"][0].update(required=True), "needs the parameter page"),
        (lambda post, person: post["parameters"][0].update(schema={"type": "string"}), "page is no longer taken"),
        (lambda post, person: post["responses"].clear(), "no longer answers 200"),
        (lambda post, person: post.update(operationId="make_person"), "is called make_person, not add_person"),
        (lambda post, person: post["security"][0].update(ApiKey=["all"]), "no longer takes ApiKey with people:write"),
        (lambda post, person: person["properties"]["name"].update(maxLength=9), "name has maxLength 9, not 90"),
        (lambda post, person: person["properties"]["name"].update(pattern="^A"), "name has pattern ^A, not any"),
        (lambda post, person: person["required"].append("role"), "needs role"),
        (lambda post, person: person["required"].remove("name"), "name may be left out"),
        (lambda post, person: person["properties"].pop("name"), "name is gone"),
        (lambda post, person: person["properties"]["id"].update(type="string"), "id may be string"),
        (lambda post, person: person["properties"]["name"].update(enum=["Ada"]), "no longer takes any other value"),
        (lambda post, person: person["properties"]["role"]["anyOf"].pop(), "role is no longer taken as null"),
        (lambda post, person: person["properties"]["role"]["anyOf"][0]["enum"].pop(), "role no longer takes staff"),
        (lambda post, person: person["properties"].update(friends=WORDS), "friends[] may be string"),
    ],
)
def test_what_breaks_a_client_is_named(document, change, told):
    assert any(told in each for each in changed(document, change))


def test_an_operation_that_is_gone_is_named(document):
    moved = {"/persons": document["paths"]["/people"]}

    assert contract.breaks(document, {**document, "paths": moved}) == ["POST /people: is gone"]


@pytest.mark.parametrize(
    "change",
    [
        lambda post, person: person["properties"].update(age={"type": "integer"}),
        lambda post, person: post["parameters"].append({"in": "query", "name": "size", "schema": {}}),
        lambda post, person: person["properties"]["role"]["anyOf"][0]["enum"].append("owner"),
    ],
)
def test_what_a_client_ignores_is_not(document, change):
    assert changed(document, change) == []


def test_the_first_number_announces_a_break_and_before_the_first_release_the_second():
    allowed = [("0.1.0", "0.2.0"), ("0.9.0", "1.0.0"), ("1.4.0", "2.0.0")]
    refused = [("0.1.0", "0.1.1"), ("1.0.0", "1.1.0"), ("1.0.0", "1.0.1")]

    assert [making.may_break(*pair) for pair in (*allowed, *refused)] == [True] * 3 + [False] * 3


def test_a_version_is_three_numbers():
    assert history.number("1.10.0") > history.number("1.9.9")
    for wrong in ("1.0", "v1.0.0", "1.0.0rc1", "01.0.0"):
        with pytest.raises(ValueError, match="three whole numbers"):
            history.number(wrong)


def test_a_release_gets_a_heading_over_what_was_unreleased():
    text = making.released(CHANGES, "0.2.0", "2026-12-24")

    assert "## Unreleased\n\n## 0.2.0 (2026-12-24)\n\n### Added\n\n- A thing.\n" in text
    assert making.section(text, "0.2.0 ") == making.section(CHANGES, "Unreleased") == "### Added\n\n- A thing."
    assert making.section(text, "Unreleased") == ""


@pytest.mark.skipif(not history.is_cloned_whole(), reason="a shallow clone or an export lacks the history")
def test_what_a_release_brought_is_not_changed_afterwards():
    changes = making.CHANGES.read_text()

    for each in history.releases():
        then = history.git("show", f"{each.commit}:CHANGELOG.md")
        brought = making.section(then, f"{each.version} (") or making.section(then, "Unreleased")
        assert making.section(changes, f"{each.version} (") == brought, "a line of this change belongs to Unreleased"
