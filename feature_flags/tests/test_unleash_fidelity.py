"""What an Unleash document says comes out as it went in: import, serve, export, import."""

import json
import random

import pytest

from feature_flags.models import FeatureFlag, Segment
from feature_flags.services import editing
from feature_flags.tests.factories import document_of
from feature_flags.tests.pages import filled, page
from feature_flags.tests.test_export import exported
from feature_flags.tests.test_import import run
from feature_flags.tests.wire import ask, make_flag, make_token
from project.asgi import application

pytestmark = pytest.mark.django_db

NUMBERS = ["1", "1.0", "1.10", "1.2", "1e3", "-0", "-0.0", "007", "9007199254740993", "1E400", "0.1", "x", " 5", ""]
OBJECTS = ['{"b": 1,\n "aa":2}', '{"a":1,"a":2}', "[ ]", '{"n":1.10,"e":1e22}', '"text"', "null", "{", '"\\ud800"']
TEXTS = ["", " a ", "1.0", "ä\r\nb", "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}", "a\\", "null", "a,b"]
POOLS = {"number": NUMBERS, "json": OBJECTS, "string": TEXTS, "csv": TEXTS}


@pytest.fixture
def served(db):
    secrets = {kind: make_token(kind)[1] for kind in ("server", "frontend")}

    def call(path, kind="server"):
        headers = {"authorization": secrets[kind], "unleash-client-spec": "5.2.0"}
        return ask(application, "GET", path, headers).json()

    return call


@pytest.fixture
def bring(tmp_path):
    def call(content, form="unleash"):
        file = tmp_path / "flags.json"
        file.write_bytes(content.encode() if isinstance(content, str) else json.dumps(content).encode())
        return run(str(file), "--format", form)

    return call


def document(*features, segments=()):
    return {"version": 2, "features": list(features), "segments": list(segments)}


def feature(*payloads, name="FF_A", **members):
    variants = [
        {"name": f"v{number}", "weight": 1, "stickiness": "default"}
        | ({} if payload is None else {"payload": {"type": payload[0], "value": payload[1]}})
        for number, payload in enumerate(payloads)
    ]
    return {"name": name, "enabled": True, "strategies": [], "variants": variants, **members}


def payloads(content, name="FF_A"):
    (found,) = (one for one in content["features"] if one["name"] == name)
    lists = [found["variants"], *(part["variants"] for part in found["strategies"])]
    return [variant.get("payload") for variants in lists for variant in variants]


def forget_flags():
    for model in (FeatureFlag, Segment):
        model._base_manager.all().delete()


@pytest.mark.parametrize("kind", POOLS)
def test_a_payload_is_served_as_the_document_spells_it(kind, served, bring):
    given = [feature((kind, text), name=f"FF_{number}") for number, text in enumerate(POOLS[kind])]

    bring(document(*given))

    content = served("/api/client/features")
    expected = [[{"type": kind, "value": text}] for text in POOLS[kind]]
    assert [payloads(content, one["name"]) for one in given] == expected
    shown = {one["name"]: one["variant"].get("payload") for one in served("/api/frontend", "frontend")["toggles"]}
    assert [shown[one["name"]] for one in given] == [expected[0] for expected in expected]


@pytest.mark.parametrize(
    ("given", "value_type"),
    [
        ([("number", "1.2"), ("number", "1")], "float"),
        ([("number", "1"), None], "integer"),
        ([None, ("string", "a")], "string"),
        ([("number", "1"), ("string", "1")], "string"),
        ([("yaml", "a: 1")], "string"),
    ],
)
def test_payloads_side_by_side_keep_their_types(given, value_type, served, bring):
    bring(document(feature(*given)))

    assert payloads(served("/api/client/features")) == [one and {"type": one[0], "value": one[1]} for one in given]
    assert document_of(editing.get("FF_A"))["value_type"] == value_type


def test_a_variant_without_a_payload_answers_the_value_when_off(evaluate):
    variants = [{"name": "control"}]
    make_flag("FF_A", value_type="string", off_value="off", variants=variants)

    answer = evaluate("FF_A").json()

    assert (answer["value"], answer["variant"]) == ("off", "control")


def _random_feature(rng, name):
    kind = rng.choice(list(POOLS))
    own = [None if rng.random() < 0.2 else (kind, rng.choice(POOLS[kind])) for _ in range(rng.randint(0, 3))]
    dealt = feature(*([(kind, rng.choice(POOLS[kind]))] * rng.randint(0, 2)))["variants"]
    strategy = {
        "name": "flexibleRollout",
        "parameters": {
            "rollout": str(rng.randint(0, 100)),
            "stickiness": rng.choice(["userId", "Größe"]),
            "groupId": "g u",
        },
        "constraints": [
            {
                "contextName": rng.choice(["userId", "naïve field"]),
                "operator": "IN",
                "values": rng.sample(["a b", "Ä", "A\u0308", "1.0", "\u200d"], 3),
                "inverted": rng.random() < 0.5,
                "caseInsensitive": False,
            }
        ],
        "segments": [1] if rng.random() < 0.3 else [],
        "variants": [{**one, "weight": rng.randint(1, 1000)} for one in dealt],
    }
    for one in strategy["variants"]:
        one["stickiness"] = strategy["parameters"]["stickiness"]
    return feature(
        *own,
        name=name,
        type=rng.choice(["release", "kill-switch"]),
        description=rng.choice(["", " Ärzte\r\n& Co. ", "\N{PARTY POPPER}"]),
        impressionData=rng.random() < 0.5,
        strategies=[strategy],
    )


@pytest.mark.parametrize("seed", range(8))
def test_a_document_goes_through_import_and_export_unchanged(seed, served, bring):
    rng = random.Random(seed)
    given = [_random_feature(rng, f"FF_{number}") for number in range(12)]
    segment = {"id": 1, "name": "Beta Ä", "constraints": [{**given[0]["strategies"][0]["constraints"][0]}]}
    bring(document(*given, segments=[segment]))
    first = served("/api/client/features")

    for one in given:
        (found,) = (other for other in first["features"] if other["name"] == one["name"])
        for key in ("type", "description", "impressionData", "variants"):
            assert found[key] == one[key]
        for key in ("parameters", "constraints", "variants"):
            assert found["strategies"][0][key] == one["strategies"][0][key]
    for form in ("unleash", "switchboard"):
        text = exported("--format", form)
        forget_flags()
        bring(text, form)
        again = served("/api/client/features")
        assert [_without_ids(one) for one in again["features"]] == [_without_ids(one) for one in first["features"]]
        assert [one["constraints"] for one in again["segments"]] == [one["constraints"] for one in first["segments"]]


def _without_ids(one):
    return {**one, "strategies": [{**part, "segments": len(part["segments"])} for part in one["strategies"]]}


def test_a_page_saved_for_another_reason_keeps_how_payloads_are_spelled(staff_client, served, bring):
    bring(document(feature(("number", "1.10"), None, ("number", "1e3"))))
    flag = editing.get("FF_A")

    data = filled(staff_client.get(page(flag)))
    staff_client.post(page(flag), {**data, "label": "New", "variants-2-payload": "7", "_save": "1"})

    assert data["variants-0-payload"] == "1.10"
    assert document_of(flag)["label"] == "New"
    spelled = [{"type": "number", "value": "1.10"}, None, {"type": "number", "value": "7.0"}]
    assert payloads(served("/api/client/features")) == spelled


@pytest.mark.parametrize(
    "stored", ["{", "7", '{"payload": 1}', "[" * 10_000, '{"payload": 2, "written_as": {"value": "1.10"}}']
)
def test_a_spelling_that_somebody_makes_up_is_not_taken(stored, staff_client, bring):
    bring(document(feature(("number", "1.10"))))
    flag = editing.get("FF_A")

    data = filled(staff_client.get(page(flag)))
    staff_client.post(page(flag), {**data, "variants-0-stored": stored, "_save": "1"})

    assert document_of(flag)["variants"][0]["payload"] == 1.1
