import json
import random

import pytest

from feature_flags import flag_document
from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.model import RANDOM, Definition, normal_context
from feature_flags.formats import unleash
from feature_flags.models import FeatureFlag, FlagRevision
from feature_flags.runtime import store
from feature_flags.services import editing, segments
from feature_flags.tests.engine.generator import Generator
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, document_of
from feature_flags.tests.test_export import exported
from feature_flags.tests.test_import import failure, run
from feature_flags.unleash_feature import definition, wire_constraint
from lib.errors import ProductError

NOON = 1_700_000_000


def feature(*strategies, **members):
    return {"name": "FF_A", "type": "release", "enabled": True, "strategies": list(strategies), **members}


def strategy(name="flexibleRollout", parameters=None, **members):
    return {"name": name, "parameters": parameters or {}, "constraints": [], **members}


def text(*features, segments=()):
    return json.dumps({"version": 2, "features": list(features), "segments": list(segments)})


def load(*features, segments=(), notes=None):
    contents = unleash.load(text(*features, segments=segments), None, [].append if notes is None else notes.append)
    return [flag_document.checked(document) for document in contents.flags]


def refusal(*features, segments=()):
    contents = unleash.load(text(*features, segments=segments))
    assert contents.problems
    return [str(problem) for problem in contents.problems]


# --- What becomes of a strategy ---------------------------------------------------------------------------------------


def test_a_gradual_rollout_is_a_rule_with_its_percentage_stickiness_and_group():
    parameters = {"rollout": "25", "stickiness": "sessionId", "groupId": "older"}
    document = load(feature(strategy(parameters=parameters, title="A quarter")))[0]

    (rule,) = document["rules"]
    assert (rule["rollout_percent"], rule["stickiness"], rule["group_id"]) == (25, "sessionId", "older")
    assert rule["label"] == "A quarter"


@pytest.mark.parametrize(
    ("name", "stickiness"),
    [
        ("gradualRolloutUserId", "userId"),
        ("gradualRolloutSessionId", "sessionId"),
        ("gradualRolloutRandom", "random"),
    ],
)
@pytest.mark.parametrize("percentage", ["50", 50])
def test_old_gradual_rollouts_are_rules_too(name, stickiness, percentage):
    document = load(feature(strategy(name, {"percentage": percentage, "groupId": "g"})))[0]

    assert [(rule["rollout_percent"], rule["stickiness"]) for rule in document["rules"]] == [(50, stickiness)]


def test_people_and_addresses_are_constraints():
    people, addresses = (
        strategy("userWithId", {"userIds": "ada, bob,,ada"}),
        strategy("remoteAddress", {"IPs": "10.0.0.0/8, ::1,nowhere"}),
    )
    notes = []

    document = load(feature(addresses, people), notes=notes)[0]

    assert [rule["constraints"][0]["values"] for rule in document["rules"]] == [["10.0.0.0/8", "::1"], ["ada", "bob"]]
    assert [rule["constraints"][0]["operator"] for rule in document["rules"]] == ["IN_CIDR", "IN"]
    assert notes == ["FF_A: nowhere is no address and left out, as clients do"]


@pytest.mark.parametrize(
    "empty", [strategy("userWithId", {"userIds": ""}), strategy("userWithId"), strategy("remoteAddress", {"IPs": "x"})]
)
def test_a_list_of_nobody_does_not_become_everybody(empty):
    flag = compile_flag(definition(load(feature(empty))[0], {}), {})

    assert not flag.evaluate({"userId": "", "remoteAddress": "x"}, {}).enabled


def test_people_in_front_of_others_are_targets_and_people_alone_are_not():
    people = strategy("userWithId", {"userIds": "bob,ada"})

    both, alone = load(feature(people, strategy("default")))[0], load(feature(people))[0]

    assert (both["targets"]["on"], both["rules"]) == (["ada", "bob"], [])
    assert alone["targets"]["on"] == []
    assert alone["rules"][0]["constraints"][0]["values"] == ["bob", "ada"]


def test_a_disabled_strategy_is_a_disabled_rule():
    document = load(feature(strategy("default", disabled=True)))[0]

    assert [rule["is_enabled"] for rule in document["rules"]] == [False]


def test_segments_go_by_id_or_name():
    constraint = {"contextName": "email", "operator": "IN", "values": ["a"], "value": "", "inverted": False}
    segments = [{"id": 7, "name": "Beta", "constraints": [constraint]}, {"id": 8, "constraints": [constraint]}]
    one = feature(strategy("default", segments=[7]), strategy("default", segments=["Beta", 8]))

    contents = unleash.load(text(one, segments=segments))

    assert [rule["segments"] for rule in contents.flags[0]["rules"]] == [["Beta"], ["Beta", "segment 8"]]
    assert [segment["name"] for segment in contents.segments] == ["Beta", "segment 8"]
    assert flag_document.checked_segment(contents.segments[0])["constraints"][0]["values"] == ["a"]


# --- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payloads", "value_type", "values"),
    [
        ([None, None], "boolean", [None, None]),
        ([("string", "a"), ("csv", "a,b")], "string", ["a", "a,b"]),
        ([("number", "5"), ("number", "-7")], "integer", [5, -7]),
        ([("number", "5"), ("number", "5.0")], "float", [5.0, 5.0]),
        ([("number", "1e3")], "float", [1000.0]),
        ([("json", '{"a": [1]}'), ("json", "[]")], "object", [{"a": [1]}, []]),
    ],
)
@pytest.mark.parametrize("at_the_flag", [True, False])
def test_the_type_follows_the_payloads(payloads, value_type, values, at_the_flag):
    variants = [
        {"name": f"v{number}", "weight": 500, "payload": payload and {"type": payload[0], "value": payload[1]}}
        for number, payload in enumerate(payloads)
    ]
    rollout = strategy(parameters={"rollout": "100", "stickiness": "default", "groupId": "g"})
    one = feature(rollout, variants=variants) if at_the_flag else feature({**rollout, "variants": variants})

    document = load(one)[0]

    assert document["value_type"] == value_type
    found = document["variants"] if at_the_flag else document["rules"][0]["variants"]
    assert [variant["payload"] for variant in found] == values
    assert [type(variant["payload"]) for variant in found] == [type(value) for value in values]


def test_a_flag_without_variants_keeps_the_type_it_has():
    assert "value_type" not in unleash.load(text(feature())).flags[0]


# --- What cannot be held ----------------------------------------------------------------------------------------------


def variant(**members):
    return {"name": "a", "weight": 1, **members}


SEGMENTS = [{"id": 1, "name": "Beta"}, {"id": 1, "name": "Beta"}]


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (
            feature(strategy("applicationHostname")),
            "FF_A.strategies.0: The strategy applicationHostname cannot be held",
        ),
        (feature(strategy("default"), strategy("mine")), "FF_A.strategies.1: The strategy mine cannot be held"),
        (
            feature(variants=[variant(weight=0, overrides=[{"contextName": "n", "values": ["7"]}])]),
            "FF_A.variants.0.overrides",
        ),
        (feature(name="no blanks"), "no blanks.name: A codename starts"),
        (feature(variants=[variant(name="ä b")]), "FF_A.variants.0.name: “ä b” cannot be held."),
        (
            feature(variants=[variant(overrides=[{"contextName": "userId", "values": ["7"]}])]),
            "FF_A.variants.0.overrides",
        ),
        (feature(strategy(parameters={"rollout": "x"})), "FF_A.strategies.0.parameters.rollout: “x” is no percentage."),
        (feature(strategy()), "FF_A.strategies.0.parameters.rollout: “” is no percentage."),
        (feature(strategy(parameters={"rollout": "101"})), "FF_A: Unleash's clients cannot read it: rule 1: a rollout"),
        (
            feature(strategy(parameters={"rollout": "5", "groupId": ""})),
            "FF_A.strategies.0.parameters.groupId: An empty",
        ),
        (
            feature(strategy("gradualRolloutUserId", {"percentage": "5"})),
            "FF_A.strategies.0.parameters: It has no groupId",
        ),
        (feature(strategy("default", segments=[9])), "FF_A.strategies.0.segments: The file holds no segment 9."),
        (
            feature(strategy("gradualRolloutRandom", {"percentage": "5"}, variants=[variant()])),
            "FF_A.strategies.0.variants",
        ),
        (feature(strategy("default", {"rollout": []}, variants=7)), "FF_A.strategies.0.variants: "),
        (feature(enabled="yes"), "FF_A.enabled: "),
        ({"enabled": True}, "flag 1.name: "),
    ],
)
def test_what_cannot_be_held_is_refused_by_name(one, told):
    assert refusal(one)[0].startswith(told)


def test_all_problems_are_told_at_once():
    found = refusal(feature(strategy("mine")), feature(strategy("x"), name="FF_B"), feature(), segments=SEGMENTS)

    assert [line.partition(":")[0] for line in found] == [
        "segment 1",
        "segment Beta",
        "FF_A.strategies.0",
        "FF_B.strategies.0",
    ]


def test_an_export_of_the_admin_api_is_told_apart():
    with pytest.raises(ProductError, match="GET /api/client/features"):
        unleash.load('{"features": [], "featureStrategies": []}')


# --- The same answers -------------------------------------------------------------------------------------------------


def answers(flag, flags, contexts):
    return [(result.enabled, result.variant.name) for result in (flag.evaluate(c, flags) for c in contexts)]


@pytest.mark.parametrize("seed", range(40))
def test_features_of_any_kind_answer_as_before(seed):
    """Those that are taken over at all; the generator makes every strategy, also broken ones."""
    generator = Generator(random.Random(seed))
    document = generator.document()
    segments = {segment["id"]: segment["constraints"] for segment in document["segments"]}
    contexts = [{**normal_context(generator.context()), RANDOM: str(number)} for number in range(20)]
    contexts = [context for context in contexts if context.get("userId") != ""]
    before = {one["name"]: compile_flag(Definition(one), segments, clock=lambda: NOON) for one in document["features"]}
    taken = 0
    for one in document["features"]:
        one = {**one, "name": one["name"].replace("é", "e")}
        original = compile_flag(Definition(one), segments, clock=lambda: NOON)
        flag = _through_the_import(one, document["segments"])
        if flag is None:
            continue
        taken += 1
        assert flag.error == ""
        assert answers(flag, before, contexts) == answers(original, before, contexts), one
    assert taken or seed


def _through_the_import(one, segments):
    used = {key for part in one["strategies"] for key in part.get("segments") or ()}
    contents = unleash.load(text(one, segments=[segment for segment in segments if segment["id"] in used]))
    try:
        documents = [flag_document.checked_segment(segment) for segment in contents.segments]
        flags = [flag_document.checked(flag) for flag in contents.flags if not contents.problems]
    except ProductError:
        return None
    ids = {segment["name"]: number for number, segment in enumerate(documents, start=1)}
    wires = {ids[segment["name"]]: [wire_constraint(c) for c in segment["constraints"]] for segment in documents}
    return compile_flag(definition(flags[0], ids), wires, clock=lambda: NOON) if flags else None


class Flags:
    """Random flags of ours, as forms could have made them."""

    TYPES = {
        "boolean": [None],
        "string": ["a", "", "ü, ;"],
        "integer": [0, -7, 2**40],
        "float": [5.0, 0.1, 1e22],
        "object": [{"a": [1, None]}, []],
    }
    OPERATORS = [
        {"operator": "IN", "values": ["1", "2", "3"]},
        {"operator": "NOT_IN", "values": ["2"]},
        {"operator": "STR_CONTAINS", "values": ["a", "B"], "case_insensitive": True},
        {"operator": "NUM_GTE", "value": "3"},
        {"operator": "SEMVER_LT", "value": "2.0.0"},
        {"operator": "DATE_AFTER", "value": "2020-01-01T00:00:00Z"},
        {"operator": "REGEX", "value": "^[a-c]+$"},
    ]

    def __init__(self, rng):
        self.rng = rng

    def some(self, pool, most):
        return self.rng.sample(pool, self.rng.randint(0, most))

    def constraint(self):
        operator = self.rng.choice(self.OPERATORS)
        is_date = operator["operator"] == "DATE_AFTER"
        field = "currentTime" if is_date else self.rng.choice(["userId", "country", "n"])
        return {"field": field, "inverted": self.rng.random() < 0.3, **operator}

    def constraints(self, most):
        return [self.constraint() for _ in range(self.rng.randint(0, most))]

    def variants(self, value_type, least=0):
        names = self.rng.sample(["a", "b", "c.d"], self.rng.randint(least, 3))
        return [
            {"name": name, "weight": self.rng.randint(1, 1000), "payload": self.rng.choice(self.TYPES[value_type])}
            for name in names
        ]

    def rollout(self):
        return {
            "rollout_percent": self.rng.choice([0, 1, 30, 50, 99, 100, 100]),
            "stickiness": self.rng.choice(["default", "default", "userId", "random", "country"]),
            "group_id": self.rng.choice(["", "g", "older"]),
        }

    def rule(self, value_type):
        return {
            **self.rollout(),
            "is_enabled": self.rng.random() < 0.85,
            "label": self.rng.choice(["", "Beta"]),
            "constraints": self.constraints(2),
            "segments": self.some(["S1", "S2"], 2),
            "variants": self.variants(value_type) if self.rng.random() < 0.4 else [],
        }

    def flag(self, name, parents):
        value_type = self.rng.choice(list(self.TYPES))
        people = self.rng.sample([str(number) for number in range(12)], 6)
        flag = {
            "codename": name,
            "description": self.rng.choice([None, "What it is"]),
            "kind": self.rng.choice(["release", "kill_switch"]),
            "value_type": value_type,
            "is_active": self.rng.random() < 0.9,
            **self.rollout(),
            "rules": [self.rule(value_type) for _ in range(self.rng.choice([0, 0, 1, 2, 3]))],
            "variants": self.variants(value_type, least=0 if value_type == "boolean" else 1),
            "targets": {"on": people[: self.rng.choice([0, 0, 3])], "off": people[3 : self.rng.choice([3, 3, 6])]},
        }
        if parents and self.rng.random() < 0.5:
            parent, required = self.rng.choice(parents), self.rng.random() < 0.8
            variants = self.some("ab", 1) if required else []
            flag["prerequisites"] = [{"parent": parent, "required": required, "variants": variants}]
        return flag_document.checked(flag)

    def context(self):
        context = {RANDOM: str(self.rng.random())}
        pools = {"userId": range(12), "sessionId": range(30), "country": ["IT", "a", "abc"], "n": range(6)}
        for field, pool in pools.items():
            if self.rng.random() < 0.7:
                context[field] = str(self.rng.choice(list(pool)))
        return context


def compiled(documents, segments):
    ids = {segment["name"]: number for number, segment in enumerate(segments, start=1)}
    wires = {ids[segment["name"]]: [wire_constraint(c) for c in segment["constraints"]] for segment in segments}
    made = [definition(document, ids) for document in documents]
    return {one.feature["name"]: compile_flag(one, wires, clock=lambda: NOON) for one in made}, ids, wires


@pytest.mark.parametrize("seed", range(30))
def test_our_own_export_answers_as_before(seed):
    generator = Flags(random.Random(seed))
    segments = [
        flag_document.checked_segment({"name": name, "constraints": generator.constraints(2)}) for name in ("S1", "S2")
    ]
    parents = [generator.flag(f"FF_P{number}", []) for number in range(3)]
    children = [generator.flag(f"FF_C{number}", ["FF_P0", "FF_P1", "FF_P2"]) for number in range(12)]
    before, ids, wires = compiled([*parents, *children], segments)
    features = [flag.definition.feature for flag in before.values()]
    named = [
        {"id": ids[segment["name"]], "name": segment["name"], "constraints": wires[ids[segment["name"]]]}
        for segment in segments
    ]

    contents = unleash.load(text(*features, segments=named))

    after, *_ = compiled(
        [flag_document.checked(document) for document in contents.flags],
        [flag_document.checked_segment(segment) for segment in contents.segments],
    )
    assert before.keys() == after.keys()
    for _ in range(150):
        context = generator.context()
        for name, flag in before.items():
            old, new = flag.evaluate(context, before), after[name].evaluate(context, after)
            assert (old.enabled, old.variant) == (new.enabled, new.variant), (name, context)
            if old.variant.enabled:
                assert (old.value, type(old.value)) == (new.value, type(new.value))


def test_a_parent_without_a_variant_is_named_for_the_sdk_that_compares_names():
    document = flag_document.checked({"codename": "FF_C", "prerequisites": [{"parent": "FF_P", "variants": ["red"]}]})
    made = definition(document, {}).feature

    contents = unleash.load(text(made))

    assert made["dependencies"] == [{"feature": "FF_P", "enabled": True, "variants": ["red", "disabled"]}]
    assert contents.flags[0]["prerequisites"] == document["prerequisites"]


def test_what_is_written_anew_is_told():
    digits = {"contextName": "x", "operator": "REGEX", "value": r"^\d+$"}
    networks = {"contextName": "ip", "operator": "IN_CIDR", "values": ["10.0.0.0/+8"]}
    warned = []

    unleash.load(text(feature(strategy("default", constraints=[digits, networks]))), warn=warned.append)

    assert warned == [
        r"FF_A: ^\d+$ is written as ^[0-9]+$, which all clients read alike",
        "FF_A: ['10.0.0.0/+8'] is written as ['10.0.0.0/8'], which all clients read alike",
    ]


# --- Through the command ----------------------------------------------------------------------------------------------


@pytest.fixture
def flags(db):
    segments.create_segment("Beta", constraints=[{"field": "n", "operator": "NUM_GT", "value": "7"}], **COMMAND)
    FeatureFlagFactory.create(codename="FF_P", on=True, rollout_percent=50, owner="team", tags=["web"])
    FeatureFlagFactory.create(
        codename="FF_C",
        label="Child",
        value_type="integer",
        off_value=7,
        rules=[{"segments": ["Beta"], "label": "Beta"}, {"is_enabled": False}],
        variants=[{"name": "a", "payload": 1}],
        targets={"on": ["ada"], "off": ["eve"]},
        prerequisites=[{"parent": "FF_P"}],
        on=True,
    )


def test_our_own_export_changes_nothing_where_it_comes_from(flags, tmp_path):
    file = tmp_path / "unleash.json"
    file.write_text(exported("--format", "unleash"))
    before = FeatureFlag.objects.documents(), FlagRevision.objects.count()

    out, notes = run(str(file), "--format", "unleash", "--prune")

    assert (out, notes) == ("0 created, 0 changed, 0 archived, 3 as before.\n", "")
    assert (FeatureFlag.objects.documents(), FlagRevision.objects.count()) == before


def test_a_change_made_elsewhere_keeps_what_the_format_does_not_know(flags, tmp_path):
    content = json.loads(exported("--format", "unleash"))
    for one in content["features"]:
        one["description"] = "New"
    file = tmp_path / "unleash.json"
    file.write_text(json.dumps(content))

    run(str(file), "--format", "unleash")

    child, parent = (document_of(editing.get(name)) for name in ("FF_C", "FF_P"))
    assert (child["label"], child["off_value"], child["description"]) == ("Child", 7, "New")
    assert (parent["owner"], parent["tags"]) == ("team", ["web"])
    assert run(str(file), "--format", "unleash")[0].endswith("3 as before.\n")


@pytest.mark.django_db
def test_a_file_that_cannot_be_held_changes_nothing(tmp_path):
    file = tmp_path / "unleash.json"
    file.write_text(text(feature(name="FF_GOOD"), feature(strategy("mine"))))

    code, line = failure(str(file), "--format", "unleash", "--strict")

    assert (code, line) == (
        1,
        "FF_A: strategies.0: The strategy mine cannot be held: only its own client can decide it.",
    )
    assert "FF_GOOD" not in store.current().flags
