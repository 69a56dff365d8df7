import json
from io import StringIO

import pytest
from django.core.management import call_command

from feature_flags import flag_document
from feature_flags.formats import switchboard
from feature_flags.models import FeatureFlag, FlagRevision, Segment
from feature_flags.runtime import store
from feature_flags.services import editing, importing, segments
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, rewrite_rules
from lib.actors import Actor

pytestmark = pytest.mark.django_db


def exported(*words):
    out = StringIO()
    call_command("export_feature_flags", *words, stdout=out)
    return out.getvalue()


@pytest.fixture
def everything():
    """One flag of every sort, with all that can hang on one."""
    beta = [{"field": "email", "operator": "STR_ENDS_WITH", "values": ["@example.org"], "case_insensitive": True}]
    segments.create_segment("Beta", constraints=beta, description="Ärzte & Co.", **COMMAND)
    FeatureFlagFactory.create(codename="FF_PARENT", on=True)
    FeatureFlagFactory.create(codename="FF_AWAY", tags=["old"])
    editing.archive(editing.get("FF_AWAY"), **COMMAND)
    FeatureFlagFactory.create(
        codename="FF_BIG",
        label="Größe",
        value_type="float",
        off_value=-1,
        rules=[
            {
                "label": "Beta",
                "rollout_percent": 25,
                "stickiness": "email",
                "group_id": "older",
                "segments": ["Beta"],
                "constraints": [{"field": "n", "operator": "NUM_GT", "value": "7.5", "inverted": True}],
                "variants": [{"name": "own", "payload": 1e22}],
            },
            {"is_enabled": False},
        ],
        variants=[{"name": "a", "weight": 3, "payload": 1}, {"name": "b", "payload": 0.1}],
        prerequisites=[{"parent": "FF_PARENT", "variants": ["x"]}],
        targets={"on": ["ada", "bob"], "off": ["eve"]},
        tags=["web", "app"],
        owner="team",
        review_on="2027-01-31",
        on=True,
    )
    FeatureFlagFactory.create(
        codename="ff_object", value_type="object", variants=[{"name": "v", "payload": {"ä": [1]}}]
    )


def test_the_file_is_the_same_after_a_way_through_an_empty_database(everything):
    before = exported()
    FlagRevision.objects.all()._raw_delete("default")
    for model in (FeatureFlag, Segment):
        model._base_manager.all().delete()

    importing.import_flags(*switchboard.load(before), actor=Actor("import"))

    assert exported() == before


def test_the_file_reads_well(everything):
    text = exported()

    content = json.loads(text)
    assert text == json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    assert (content["format"], content["version"]) == ("switchboard", 1)
    assert [flag["codename"] for flag in content["flags"]] == [
        "FF_AWAY",
        "FF_BIG",
        "FF_ENABLE_REGISTRATION",
        "FF_PARENT",
        "ff_object",
    ]
    assert "Größe" in text
    big = content["flags"][1]
    assert (big["off_value"], big["variants"][0]["payload"]) == (-1.0, 1.0)
    assert "1e+22" in text


def test_the_export_asks_as_often_for_one_flag_as_for_many(everything, django_assert_num_queries):
    FeatureFlagFactory.create_batch(5, rules=[{}], tags=["x"])

    with django_assert_num_queries(2):
        exported()


def test_the_unleash_export_is_what_clients_get(everything):
    content = json.loads(exported("--format", "unleash"))

    assert content == json.loads(store.current().features.body)
    assert [segment["name"] for segment in content["segments"]] == ["Beta"]
    assert "FF_AWAY" not in str(content)


def test_the_order_of_keys_is_ours_and_not_the_databases():
    constraint = {"values": ["a"], "operator": "IN", "case_insensitive": False, "inverted": False, "field": "n"}
    payload = {"b": [{"d": 1, "c": 2}], "a": 3}
    flag = {"codename": "FF_A", "value_type": "object", "off_value": {"z": 1, "y": 2}}
    document = flag_document.checked({**flag, "variants": [{"name": "v", "payload": payload}]})
    rule = {"constraints": [constraint], "variants": []}

    text = switchboard.dump([{**document, "rules": [rule]}], [{"name": "Beta", "constraints": [constraint]}])

    content = json.loads(text)
    for part in (content["segments"][0], content["flags"][0]["rules"][0]):
        assert list(part["constraints"][0]) == ["field", "operator", "values", "inverted", "case_insensitive"]
    payload = content["flags"][0]["variants"][0]["payload"]
    assert (list(payload), list(payload["b"][0])) == (["a", "b"], ["c", "d"])
    assert list(content["flags"][0]["off_value"]) == ["y", "z"]


def test_a_document_without_flags_is_a_file_too():
    assert switchboard.load(switchboard.dump([], [])) == ([], [], ())


def test_what_comes_out_is_what_the_forms_know(everything):
    for document in FeatureFlag.objects.documents().values():
        assert flag_document.checked(document) == document


@pytest.mark.parametrize("constraints", [[7], 7, [{"a": 1}]])
def test_a_flag_broken_by_hand_does_not_keep_the_others_in(everything, constraints):
    for flag in FeatureFlag.objects.all():
        rewrite_rules(flag, constraints=constraints)

    assert "FF_PARENT" in exported()
