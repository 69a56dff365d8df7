"""Flags that depend on others."""

import pytest

from feature_flags.tests.engine.build import ask, constraint, flag, rollout, strategy, variant

PARENTS = {
    "on": flag(name="on"),
    "off": flag(name="off", enabled=False),
    "red": flag(name="red", variants=[variant("red")]),
    "off red": flag(name="off red", enabled=False, variants=[variant("red")]),
    "off strategy": flag(strategy(variants=[variant("blue")]), name="off strategy", enabled=False),
    "out": flag(strategy("mine", variants=[variant("blue")]), name="out", variants=[variant("red")]),
    "child": flag(name="child", dependencies=[{"feature": "on"}]),
    "off child": flag(name="off child", enabled=False, dependencies=[{"feature": "on"}]),
    "broken": flag(
        strategy(segments=[9]), strategy(variants=[variant("blue")]), name="broken", variants=[variant("red")]
    ),
    "unreadable": flag(strategy(7), name="unreadable", variants=[7]),
}


def met(parent, **dependency):
    child = flag(dependencies=[{"feature": parent, **dependency}])
    return child.evaluate({}, PARENTS).enabled


@pytest.mark.parametrize("required", [{}, {"enabled": True}, {"enabled": None}])
def test_a_parent_has_to_be_on(required):
    assert met("on", **required)
    assert not met("off", **required)
    assert not met("out", **required)


def test_a_parent_may_have_to_be_off():
    assert met("off", enabled=False)
    assert met("out", enabled=False)
    assert met("broken", enabled=False)
    assert not met("on", enabled=False)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("parent", ["missing", "child", "off child", "flag"])
def test_a_missing_parent_or_one_with_parents_satisfies_nobody(parent, enabled):
    assert not met(parent, enabled=enabled)


def test_a_parent_is_asked_with_the_context_of_the_child():
    parent = flag(strategy(constraints=[constraint("IN", ["IT"], "country")]), name="parent")
    child = flag(dependencies=[{"feature": "parent"}])

    assert ask(child, {"country": "IT"}, parent).enabled
    assert not ask(child, {"country": "FR"}, parent).enabled


def test_all_prerequisites_have_to_be_met():
    child = flag(dependencies=[{"feature": "on"}, {"feature": "off"}])

    assert not child.evaluate({}, PARENTS).enabled


def test_a_prerequisite_may_name_the_variants_of_its_parent():
    assert met("red", variants=["red", "blue"])
    assert not met("red", variants=["blue"])
    assert met("red", variants=[])
    assert met("red", variants=None)


def test_a_parent_without_variants_meets_any_list():
    assert met("on", variants=["red"])
    assert met("off", enabled=False, variants=["red"])


def test_the_variant_counts_even_if_the_parent_is_off():
    assert met("off red", enabled=False, variants=["red"])
    assert not met("off red", enabled=False, variants=["blue"])
    assert met("off strategy", enabled=False, variants=["blue"])
    assert met("out", enabled=False, variants=["red"])
    assert not met("out", enabled=False, variants=["blue"])
    assert met("broken", enabled=False, variants=["red"])
    assert not met("broken", enabled=False, variants=["blue"])
    assert met("unreadable", enabled=False, variants=["red"])


def test_a_variant_called_disabled_is_a_variant():
    parent = flag(name="parent", variants=[variant("disabled")])
    child = flag(dependencies=[{"feature": "parent", "variants": ["red"]}])

    assert not ask(child, {}, parent).enabled


def test_unmet_prerequisites_leave_no_variant():
    result = flag(dependencies=[{"feature": "off"}], variants=[variant("red")]).evaluate({}, PARENTS)

    assert (result.enabled, result.variant.name, result.reason) == (False, "disabled", "DEFAULT")


def test_a_flag_with_prerequisites_is_no_constant_unless_it_is_off_anyhow():
    assert flag(dependencies=[{"feature": "on"}]).constant is None
    assert flag(strategy("mine"), dependencies=[{"feature": "on"}]).constant.reason == "DEFAULT"
    assert flag(enabled=False, dependencies=[{"feature": "on"}]).constant.reason == "DISABLED"
    assert flag(rollout(0), dependencies=[{"feature": "on"}]).constant is None


@pytest.mark.parametrize("dependency", [{}, {"feature": 7}, {"feature": "on", "enabled": "yes"}, 7])
def test_an_unreadable_prerequisite_breaks_the_flag(dependency):
    assert flag(dependencies=[dependency]).error
