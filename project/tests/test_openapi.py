"""The description of the API, as generators of clients read it."""

import json
import re
from collections import defaultdict

import pytest
from pydantic import BaseModel

from project.api import api as product_api
from release import contract, history, refusals


@pytest.fixture(scope="module")
def document():
    return product_api.get_openapi_schema()


def operations(document):
    return [(method, path, about) for path, all in document["paths"].items() for method, about in all.items()]


def test_every_operation_has_a_name_of_its_own_that_a_person_would_choose(document):
    names = [about["operationId"] for _, _, about in operations(document)]

    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+)*", name) or "api_" in name[:20]] == [
        name for name in names if "api_key" in name
    ]


def test_every_operation_says_what_it_is_and_how_it_may_fail(document):
    for method, path, about in operations(document):
        assert about["summary"], path
        if method != "head":
            assert set(about["responses"]) - {"200", 200} or path.endswith(("_status", "feature-flags")), path


def test_bodies_and_answers_come_with_examples(document):
    for _, path, about in operations(document):
        for body in (about.get("requestBody", {}), *about["responses"].values()):
            for media in body.get("content", {}).values():
                assert {"example", "examples"} & set(media) or "schema" not in media, path


def test_operations_for_staff_name_the_scope_of_keys(document):
    for _, path, about in operations(document):
        if about["operationId"] in {"approve_proposal", "decline_proposal"}:
            assert about["security"] == [{"BearerOrCookie": []}]
        elif path.startswith("/api/staff/"):
            (scope,) = about["security"][0]["ApiKey"]
            assert scope in about["description"], path


def test_operations_that_answer_repeats_say_by_which_header(document):
    takes = {
        about["operationId"]: any(each["name"] == "Idempotency-Key" for each in about.get("parameters", ()))
        for method, path, about in operations(document)
        if path.startswith("/api/staff/") and method != "get"
    }

    assert [name for name, does in takes.items() if not does] == [
        *("why_flag_in_context", "create_flag_token", "preview_template", "add_endpoint", "rotate_secret")
    ]


def codes(document, name):
    (about,) = (about for _, _, about in operations(document) if about["operationId"] == name)
    found = [
        list(body.get("content", {}).get("application/json", {}).get("examples", ()))
        for body in about["responses"].values()
    ]
    return {status: slugs for status, slugs in zip(about["responses"], found, strict=True) if slugs}


def test_an_operation_names_each_refusal_by_its_code(document):
    found = codes(document, "rotate_own_key")

    assert found[404] == ["key_unknown"]
    assert found[409] == ["key_ended", "key_limit"]
    assert "key_not_accepted" in found[403]
    assert codes(document, "deactivate_person")[400] == [
        *("cannot_deactivate_self", "idempotency_key_invalid", "last_superuser", "reason_required", "reason_too_long")
    ]
    assert codes(document, "get_own_profile") == {403: ["scope_missing"]}


def test_a_refusal_is_shown_as_it_is_answered(document):
    shown = document["components"]["examples"]

    assert shown["cannot_deactivate_self"]["value"]["message"] == "You cannot deactivate yourself."
    assert shown["register_user_already_exists"]["value"]["detail"] == {
        "code": "ErrorCode.REGISTER_USER_ALREADY_EXISTS"
    }
    assert "message" not in shown["register_user_already_exists"]["value"]


def test_keys_are_offered_where_they_are_taken_alone(document):
    taking = {path for _, path, about in operations(document) if {"ApiKey": []} in about.get("security", [])}

    assert "/api/users/user" in taking
    assert "/api/notifications" in taking
    assert not any(path.startswith("/api/auth/") for path in taking)


def test_clients_of_the_last_release_go_on(document):
    """What this says either is mended, or stands in docs/openapi/meant-breaks.txt with a reason."""
    now = json.loads(json.dumps(document, default=str))

    found = contract.breaks(contract.kept(history.last().version), now)

    meant = contract.meant()
    assert [each for each in found if each not in meant] == []
    assert [each for each in meant if each not in found] == []
    assert all(meant.values())


def shapes(kind=BaseModel):
    for each in kind.__subclasses__():
        yield each
        yield from shapes(each)


def test_no_two_shapes_of_the_document_have_one_name(document):
    modules = defaultdict(set)
    for shape in set(shapes()):
        if shape.__name__ in document["components"]["schemas"] and ".formats." not in shape.__module__:
            modules[shape.__name__].add(shape.__module__)

    assert {name: found for name, found in modules.items() if len(found) > 1} == {}


def test_the_description_names_what_the_code_raises():
    assert refusals.TABLE.read_text() == refusals.table(), "after a change of refusals: make refusals"


@pytest.mark.parametrize(
    ("opname", "argval", "loaded"),
    [
        ("LOAD_GLOBAL", "verb", ("verb",)),
        ("LOAD_FAST", "given", ("given",)),
        ("LOAD_FAST_BORROW", "given", ("given",)),  # Python 3.14
        ("LOAD_FAST_LOAD_FAST", ("other", "given"), ("other", "given")),  # 3.13
        ("STORE_FAST_LOAD_FAST", ("other", "given"), ("other", "given")),
        ("STORE_FAST", "given", ()),
        ("LOAD_ATTR", "verb", ()),
    ],
)
def test_refusals_are_read_from_the_bytecode_of_each_python(opname, argval, loaded):
    assert refusals._loaded(opname, argval) == loaded
