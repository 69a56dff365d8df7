"""What a form refuses in a constraint."""

import random

import pytest

from feature_flags.engine.constraints import OPERATORS
from feature_flags.engine.validation import constraint_problems
from feature_flags.tests.engine.build import constraint, flag, strategy
from feature_flags.tests.engine.generator import Generator


def keys(document):
    return [key for key, sentence in constraint_problems(document)]


@pytest.mark.parametrize(
    "document",
    [
        constraint("IN", ["a", ""]),
        constraint("NOT_IN", ["a"], inverted=True),
        constraint("STR_CONTAINS", ["a"], caseInsensitive=True),
        constraint("NUM_EQ", "7.5", values=[]),
        constraint("DATE_AFTER", "2026-01-31T12:00:00Z", "currentTime"),
        constraint("DATE_AFTER", "2026-01-31T12:00:00+01:00"),
        constraint("SEMVER_GTE", "1.2.3-beta.1"),
        constraint("REGEX", r"^a\d+$", caseInsensitive=True),
        {**constraint("IN_CIDR", ["10.0.0.0/8", "::1"], "remoteAddress"), "value": ""},
        constraint("IN", [str(number) for number in range(5000)]),
        constraint("IN", ['say "x"', "a\\b"]),
    ],
)
def test_sound_constraints_have_no_problems(document):
    assert constraint_problems(document) == []


@pytest.mark.parametrize(
    "field", [None, "", "  ", " country", "country ", 7, "a\x00b", "a\ud800", 'a"b', "a\\", "a" * 101]
)
def test_a_field_needs_a_name_that_can_be_kept(field):
    assert keys(constraint("IN", ["a"], field)) == ["contextName"]


@pytest.mark.parametrize("operator", [None, "", "SOUNDS_LIKE", "in", 7])
def test_an_operator_has_to_be_known(operator):
    assert keys(constraint(operator, ["a"])) == ["operator"]


@pytest.mark.parametrize("values", [None, [], "abc", {"a": 1}])
@pytest.mark.parametrize("operator", ["IN", "NOT_IN", "STR_CONTAINS", "IN_CIDR"])
def test_list_operators_need_values(operator, values):
    assert keys({**constraint(operator), "values": values}) == ["values"]


@pytest.mark.parametrize("value", ["a\x00", "a\ud800", "a\\", 7, None])
def test_values_are_texts_that_can_be_kept(value):
    assert keys(constraint("IN", ["a", value])) == ["values"]


def test_at_most_5000_values():
    problems = constraint_problems(constraint("IN", ["a"] * 5001))

    assert problems == [("values", "At most 5,000 values; this list has 5,001.")]


def test_an_empty_text_would_match_everybody():
    assert keys(constraint("STR_STARTS_WITH", ["a", ""])) == ["values"]


@pytest.mark.parametrize("value", ["10.0.0.0/33", "10/8", "nonsense", ""])
def test_networks_have_to_be_networks(value):
    assert keys(constraint("IN_CIDR", ["::1", value])) == ["values"]


def test_an_operator_takes_either_a_list_or_one_value():
    assert keys({**constraint("NUM_EQ", "1"), "values": ["2", "3"]}) == ["values"]
    assert keys({**constraint("IN", ["1"]), "value": "2"}) == ["value"]


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        *[
            ("NUM_GT", value)
            for value in (None, "", " ", "seven", "1,5", ".5", "1e400", "1.2.3", "2024-05-01T00:00:00Z", 7)
        ],
        *[("DATE_AFTER", value) for value in ("2024-05-01", "7", "2024-02-30T00:00:00Z", "2024-05-01T00:00:00")],
        *[("SEMVER_EQ", value) for value in ("v1.2.3", "1.2", "01.2.3", "7", "18446744073709551616.0.0")],
        *[("REGEX", value) for value in ("(", "(?=a)", "a\\", "", "a" * 1001, "\ud800", "a\x00")],
    ],
)
def test_one_value_has_to_be_of_the_kind_of_its_operator(operator, value):
    assert keys(constraint(operator, value)) == ["value"]


def test_case_can_be_ignored_where_it_is_looked_at():
    assert keys(constraint("IN", ["a"], caseInsensitive=True)) == ["caseInsensitive"]
    assert keys(constraint("NUM_EQ", "1", caseInsensitive=True)) == ["caseInsensitive"]


def test_switches_are_on_or_off():
    assert keys(constraint("IN", ["a"], inverted="yes")) == ["operator"]


def test_every_problem_is_a_sentence():
    for problem in constraint_problems({"operator": "NUM_EQ", "values": ["1"], "caseInsensitive": True}):
        assert problem[1].endswith(".")


def test_a_form_never_lets_through_what_breaks_a_flag():
    generator = Generator(random.Random(7))
    taken = [found for found in (generator.constraint() for _ in range(5000)) if not constraint_problems(found)]

    assert len(taken) > 1000
    assert [found for found in taken if flag(strategy(constraints=[found])).error] == []


def test_the_operators_for_a_form_are_described():
    assert len({operator.name for operator in OPERATORS}) == len(OPERATORS) == 19
    assert {operator.kind for operator in OPERATORS} == {"list", "text", "number", "date", "semver", "regex", "cidr"}
    assert all(operator.label and operator.negated for operator in OPERATORS)
