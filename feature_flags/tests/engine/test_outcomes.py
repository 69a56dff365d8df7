"""Value, reason, rule and error of every outcome."""

import subprocess
import sys

import pytest

from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.model import CompiledFlag, Definition
from feature_flags.tests.engine.build import ask, constraint, flag, rollout, strategy, variant

ITALY = constraint("IN", ["IT"], "country")


def outcome(compiled, **context):
    result = ask(compiled, context)
    return result.enabled, result.reason, result.rule


def test_a_flag_that_is_off_is_disabled():
    assert outcome(flag(strategy(), enabled=False)) == (False, "DISABLED", None)


def test_a_flag_on_for_everybody_is_static():
    assert outcome(flag()) == (True, "STATIC", None)
    assert outcome(flag(strategy(), labels=["Everybody"])) == (True, "STATIC", "Everybody")
    assert outcome(flag(rollout(100, "default"))) == (True, "STATIC", "rule 1")


@pytest.mark.parametrize(
    "rule",
    [strategy(constraints=[ITALY]), strategy(segments=[1]), strategy("userWithId", {"userIds": "7"}), rollout(100)],
)
def test_a_condition_met_is_a_targeting_match(rule):
    compiled = flag(rule, segments={1: [ITALY]}, labels=["Ours"])

    assert outcome(compiled, country="IT", userId="7") == (True, "TARGETING_MATCH", "Ours")
    assert outcome(compiled) == (False, "DEFAULT", None)


def test_a_prerequisite_met_is_a_targeting_match():
    assert ask(flag(dependencies=[{"feature": "parent"}]), {}, flag(name="parent")).reason == "TARGETING_MATCH"
    assert ask(flag(dependencies=[{"feature": "parent"}]), {}).reason == "DEFAULT"


def test_a_percentage_decides_as_split_in_and_out():
    compiled = flag(rollout(50, constraints=[ITALY]), labels=["Half"])

    found = {outcome(compiled, userId=str(number), country="IT") for number in range(50)}
    assert found == {(True, "SPLIT", "Half"), (False, "SPLIT", None)}
    assert outcome(compiled, userId="1", country="FR") == (False, "DEFAULT", None)
    assert outcome(compiled, country="IT") == (False, "DEFAULT", None)


def test_zero_percent_is_out_because_of_the_percentage():
    assert outcome(flag(rollout(0)), userId="1") == (False, "SPLIT", None)


def test_a_percentage_anywhere_explains_being_out():
    compiled = flag(rollout(0, constraints=[ITALY]), strategy("userWithId", {"userIds": "7"}))

    assert outcome(compiled, country="IT") == (False, "SPLIT", None)
    assert outcome(compiled, country="FR") == (False, "DEFAULT", None)
    assert outcome(compiled, country="IT", userId="7") == (True, "TARGETING_MATCH", "rule 2")


def test_several_variants_are_a_split_and_one_is_none():
    assert ask(flag(variants=[variant("a"), variant("b")]), {"userId": "1"}).reason == "SPLIT"
    assert ask(flag(variants=[variant("a")])).reason == "STATIC"


def test_the_reason_is_that_of_the_winning_rule():
    compiled = flag(strategy("userWithId", {"userIds": "1"}), rollout(0), strategy(), labels=["Staff", "", "Rest"])

    assert outcome(compiled, userId="1") == (True, "TARGETING_MATCH", "Staff")
    assert outcome(compiled, userId="2") == (True, "STATIC", "Rest")


def test_a_broken_flag_is_unknown_and_says_why():
    compiled = flag(strategy(), strategy(constraints=[constraint("NUM_GT", "many", "age")]), labels=["", "Adults"])

    result = ask(compiled)
    assert (result.enabled, result.value, result.reason, result.rule) == (False, False, "UNKNOWN", None)
    assert result.error == compiled.error == "Adults: cannot read the value 'many'"


def test_a_broken_flag_that_is_off_is_disabled_but_still_says_why():
    compiled = flag(strategy(segments=[9]), enabled=False)

    assert ask(compiled).reason == "DISABLED"
    assert compiled.error == "rule 1: segment 9 does not exist"


@pytest.mark.parametrize(
    "document", [{}, {"name": None}, {"name": "a", "enabled": True, "strategies": 7}, {"name": "a"}]
)
def test_no_document_makes_the_compiler_raise(document):
    compiled = compile_flag(Definition(document), {})

    assert not ask(compiled).enabled


@pytest.mark.parametrize(
    ("value_type", "payload", "value"),
    [
        ("string", "blue", "blue"),
        ("string", "7", "7"),
        ("integer", "7", 7),
        ("integer", "-7", -7),
        ("float", "7", 7.0),
        ("float", "7.5", 7.5),
        ("object", '{"a": [1]}', {"a": [1]}),
        ("object", "[1]", [1]),
        ("boolean", "blue", True),
    ],
)
def test_the_value_is_the_payload_in_the_declared_type(value_type, payload, value):
    result = ask(flag(variants=[variant("a", value=payload)], value_type=value_type))

    assert result.value == value
    assert type(result.value) is type(value)


@pytest.mark.parametrize(
    ("value_type", "payload"),
    [
        ("integer", "7.0"),
        ("integer", "many"),
        ("integer", "９"),
        ("float", "many"),
        ("float", "inf"),
        ("object", "7"),
        ("object", "{"),
        ("object", "[" * 100_000),
        ("colour", "blue"),
    ],
)
def test_a_payload_of_another_type_breaks_the_flag(value_type, payload):
    compiled = flag(variants=[variant("a", value=payload)], value_type=value_type, off_value="off")

    assert compiled.error
    assert ask(compiled).value == "off"


def test_off_and_without_payload_the_value_is_the_off_value():
    typed = {"value_type": "integer", "off_value": 3}

    assert ask(flag(enabled=False, **typed)).value == 3
    assert ask(flag(strategy("mine"), **typed)).value == 3
    assert ask(flag(**typed)).value == 3
    assert ask(flag(**typed)).enabled
    assert ask(flag(variants=[variant("a")], **typed)).value == 3


def test_a_boolean_flag_ignores_the_off_value():
    assert ask(flag(enabled=False, off_value=True)).value is False


def test_what_needs_no_context_is_a_constant():
    for compiled in (
        flag(),
        flag(strategy()),
        flag(enabled=False),
        flag(strategy(segments=[9])),
        flag(strategy("mine")),
    ):
        assert compiled.constant is not None
        assert compiled.evaluate({}, {}) is compiled.constant
    for compiled in (flag(rollout(50)), flag(rollout(100)), flag(variants=[variant("a"), variant("b")])):
        assert compiled.constant is None
    assert flag(strategy(constraints=[constraint("NOT_IN", [])])).constant.enabled
    assert flag(rollout(100, "default")).constant.enabled
    assert not flag(rollout(0)).constant.enabled
    assert not flag(strategy(constraints=[constraint("IN", []), ITALY])).constant.enabled


def test_evaluation_hands_out_the_results_of_the_compiler():
    compiled = flag(rollout(50), strategy(constraints=[ITALY]), variants=[variant("a"), variant("b")])
    results = {id(ask(compiled, {"userId": str(number), "country": "IT"})) for number in range(200)}

    assert len(results) == 4


def test_a_flag_carries_its_definition_a_fresh_cell_and_cannot_be_changed():
    definition = Definition({"name": "a", "enabled": True, "strategies": []}, exposed=False)
    first, second = compile_flag(definition, {}), compile_flag(definition, {})

    assert (first.name, first.exposed, first.definition) == ("a", False, definition)
    assert first.cell == [0, 0]
    assert first.cell is not second.cell
    assert isinstance(first, CompiledFlag)
    with pytest.raises(AttributeError):
        first.name = "b"


def test_the_engine_knows_no_other_room_and_no_framework():
    """Only `feature_flags/__init__.py` itself may bring others in, so it is kept out."""
    program = (
        "import sys, types\n"
        "package = types.ModuleType('feature_flags'); package.__path__ = ['feature_flags']\n"
        "sys.modules['feature_flags'] = package\n"
        "import feature_flags.engine.validation, feature_flags.engine.explain, feature_flags.engine.validation\n"
        "rooms = {'django', 'lib', 'users', 'notifications', 'project'}\n"
        "found = rooms & {name.split('.')[0] for name in sys.modules}\n"
        "found |= {name for name in sys.modules if name.startswith('feature_flags.') and '.engine' not in name}\n"
        "sys.exit(str(found) if found else 0)\n"
    )

    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stderr == ""
