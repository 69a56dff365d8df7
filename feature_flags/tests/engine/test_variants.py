"""Which variant somebody gets."""

import mmh3
import pytest

from feature_flags.engine.model import DISABLED, RANDOM
from feature_flags.tests.engine.build import ask, breaks, constraint, flag, rollout, strategy, variant

SEED = 86028157


def chosen(compiled, **context):
    return ask(compiled, context).variant.name


def expected(group, value, *weights):
    """The first variant whose summed weight reaches the bucket; variants are named by their index."""
    target = mmh3.hash(f"{group}:{value}", SEED, False) % sum(weights) + 1
    return next(str(index) for index in range(len(weights)) if sum(weights[: index + 1]) >= target)


def weighted(*weights, **more):
    return [variant(str(index), weight, **more) for index, weight in enumerate(weights)]


def test_weights_divide_the_users_of_the_flag():
    compiled = flag(variants=weighted(100, 0, 700, 200))

    for user in map(str, range(200)):
        assert chosen(compiled, userId=user) == expected("flag", user, 100, 0, 700, 200)


def test_a_flag_that_is_off_or_has_no_variants_gives_the_disabled_one():
    assert ask(flag()).variant == DISABLED
    assert ask(flag(enabled=False, variants=weighted(1))).variant == DISABLED
    assert ask(flag(strategy("mine"), variants=weighted(1))).variant == DISABLED


def test_flag_variants_stick_to_what_the_first_of_them_says():
    compiled = flag(variants=[variant("0", stickiness="company"), variant("1", stickiness="userId")])

    for number in map(str, range(50)):
        assert chosen(compiled, userId="1", company=number) == expected("flag", number, 1, 1)


def test_default_stickiness_is_user_then_session():
    compiled = flag(variants=weighted(1, 1, 1))

    for number in map(str, range(50)):
        assert chosen(compiled, userId=number, sessionId="x") == expected("flag", number, 1, 1, 1)
        assert chosen(compiled, sessionId=number) == expected("flag", number, 1, 1, 1)


@pytest.mark.parametrize("stickiness", ["default", "random", "company", "currentTime"])
def test_who_has_no_value_gets_a_draw_and_one_request_keeps_it(stickiness):
    compiled = flag(variants=weighted(1, 1, stickiness=stickiness))

    assert {chosen(compiled) for _ in range(100)} == {"0", "1"}
    for draw in map(str, range(50)):
        assert compiled.evaluate({RANDOM: draw}, {}).variant.name == expected("flag", draw, 1, 1)


def test_the_current_time_holds_nobody_to_a_variant():
    compiled = flag(variants=weighted(1, 1, stickiness="currentTime"))

    assert {chosen(compiled, currentTime="2024-05-01T00:00:00Z") for _ in range(100)} == {"0", "1"}


def test_the_matching_strategy_brings_its_variants_its_stickiness_and_its_group():
    variants = [variant("0", stickiness="ignored"), variant("1"), variant("2")]
    compiled = flag(rollout(100, "sessionId", "h", variants=variants), variants=weighted(1, 1))

    for number in map(str, range(50)):
        assert chosen(compiled, sessionId=number, ignored="x") == expected("h", number, 1, 1, 1)


def test_the_group_of_strategy_variants_is_taken_as_it_is_written():
    parameters = {"groupId": 'a\\"b', "stickiness": "userId"}
    compiled = flag(strategy(parameters=parameters, variants=weighted(1, 1, 1)))

    for number in map(str, range(50)):
        assert chosen(compiled, userId=number) == expected('a\\"b', number, 1, 1, 1)


@pytest.mark.parametrize("empty", [{}, {"variants": None}, {"variants": []}])
def test_a_matching_strategy_without_variants_leaves_the_choice_to_the_flag(empty):
    later = strategy(variants=[variant("later")])

    assert chosen(flag(strategy(**empty), later, variants=[variant("own")])) == "own"
    assert chosen(flag(strategy(**empty), later)) == "disabled"


def test_the_first_matching_strategy_decides():
    compiled = flag(
        strategy("userWithId", {"userIds": "1"}, variants=[variant("first")]), strategy(variants=[variant("second")])
    )

    assert chosen(compiled, userId="1") == "first"
    assert chosen(compiled, userId="2") == "second"


def test_overrides_of_the_flag_come_before_weights():
    variants = [
        variant("0", 1000),
        variant("1", 0, overrides=[{"contextName": "userId", "values": ["7", "8"]}]),
        variant(
            "2", 0, overrides=[{"contextName": "plan", "values": ["pro"]}, {"contextName": "userId", "values": ["8"]}]
        ),
    ]
    compiled = flag(variants=variants)

    assert chosen(compiled, userId="1") == "0"
    assert chosen(compiled, userId="7") == "1"
    assert chosen(compiled, userId="8") == "1"
    assert chosen(compiled, userId="1", plan="pro") == "2"
    assert ask(compiled, {"userId": "7"}).reason == "TARGETING_MATCH"


def test_overrides_of_a_strategy_are_not_looked_at():
    override = [{"contextName": "userId", "values": ["7"]}]
    compiled = flag(strategy(variants=[variant("0", 1000), variant("1", 0, overrides=override)]))

    assert chosen(compiled, userId="7") == "0"


def test_weights_that_sum_up_to_nothing_choose_nobody():
    assert ask(flag(variants=weighted(0, 0))).variant == DISABLED


def test_one_variant_with_weight_needs_no_choice():
    compiled = flag(variants=weighted(0, 5, 0))

    assert compiled.constant.variant.name == "1"
    assert compiled.constant.reason == "STATIC"


@pytest.mark.parametrize("weight", [-1, 1.5, "1", None, True])
def test_a_weight_that_is_no_whole_number_breaks_the_flag(weight):
    assert breaks(strategy(variants=[variant("a", weight)]))
    assert flag(variants=[variant("a", weight)]).error


def test_a_payload_is_passed_on_as_it_stands():
    payload = {"type": "json", "value": "{}"}

    assert ask(flag(variants=[variant("a", payload=payload)])).variant.payload == payload


def test_rollout_and_variant_do_not_follow_from_each_other():
    compiled = flag(rollout(50, variants=weighted(1, 1)))
    names = [chosen(compiled, userId=str(number)) for number in range(200)]

    assert {"0", "1", "disabled"} == set(names)


def test_constraints_and_variants_go_together():
    compiled = flag(strategy(constraints=[constraint("IN", ["IT"], "country")], variants=weighted(1, 1)))

    assert chosen(compiled, country="IT", userId="1") == expected("flag", "1", 1, 1)
    assert chosen(compiled, country="FR", userId="1") == "disabled"
