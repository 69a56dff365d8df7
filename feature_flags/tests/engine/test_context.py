"""How a caller's context becomes flat text."""

import pytest

from feature_flags.engine.model import RANDOM, normal_context


def test_properties_are_flattened_and_the_top_level_wins():
    context = {"userId": "1", "plan": "top", "properties": {"userId": "2", "plan": "below", "country": "IT"}}

    assert normal_context(context) == {"userId": "1", "plan": "top", "country": "IT"}


def test_known_fields_may_come_as_properties():
    assert normal_context({"properties": {"userId": "1"}}) == {"userId": "1"}


def test_a_known_field_that_is_null_on_top_hides_the_property_and_another_does_not():
    assert normal_context({"userId": None, "properties": {"userId": "1"}}) == {}
    assert normal_context({"plan": None, "properties": {"plan": "1"}}) == {"plan": "1"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        ("é", "é"),
        (7, "7"),
        (-7, "-7"),
        (2**64 - 1, "18446744073709551615"),
        (2**64, "1.8446744073709552e+19"),
        (True, "true"),
        (False, "false"),
        (7.0, "7.0"),
        (7.5, "7.5"),
        (0.0001, "0.0001"),
        (0.000015, "0.000015"),
        (-0.00001, "-0.00001"),
        (0.000001, "1e-6"),
        (1e16, "1e+16"),
        (1e300, "1e+300"),
        ("half \ud800", "half \ufffd"),
    ],
)
def test_values_become_text(value, text):
    assert normal_context({"x": value}) == normal_context({"properties": {"x": value}}) == {"x": text}


@pytest.mark.parametrize("value", [None, ["a"], {"a": "b"}, float("nan"), float("inf"), b"a", object()])
def test_other_values_are_ignored(value):
    assert normal_context({"x": value}) == {}


@pytest.mark.parametrize("properties", [None, "text", ["a"], 7])
def test_properties_that_are_no_mapping_are_ignored(properties):
    assert normal_context({"properties": properties}) in ({}, {"properties": str(properties)})


def test_nobody_outside_can_set_the_draw():
    assert normal_context({RANDOM: "1", "a\x00b": "1", "properties": {RANDOM: "1"}, 7: "x"}) == {}


def test_a_property_may_be_called_properties():
    assert normal_context({"properties": {"properties": "1"}}) == {"properties": "1"}


def test_a_number_beyond_every_float_is_ignored():
    assert normal_context({"a": 10**400, "b": -(10**400), "c": 1}) == {"c": "1"}


def test_half_a_surrogate_pair_is_no_name():
    assert normal_context({"a\ud800": "x", "properties": {"\udfff": "y"}, "é": "z"}) == {"é": "z"}
