"""What each strategy lets in."""

import mmh3
import pytest

from feature_flags.engine.model import RANDOM
from feature_flags.tests.engine.build import ask, breaks, constraint, flag, rollout, strategy


def on(compiled, **context):
    return ask(compiled, context).enabled


def test_a_flag_without_strategies_is_on():
    assert on(flag())
    assert on(flag(strategy(), strategies=None))


def test_a_flag_that_is_off_stays_off():
    assert not on(flag(strategy(), enabled=False))


def test_one_matching_strategy_is_enough():
    compiled = flag(strategy("userWithId", {"userIds": "1"}), strategy("userWithId", {"userIds": "2"}))

    assert [on(compiled, userId=user) for user in "123"] == [True, True, False]


def test_an_unknown_strategy_lets_nobody_in():
    assert not on(flag(strategy("mine")))
    assert not on(flag(strategy("Default")))
    assert on(flag(strategy("mine"), strategy()))


def test_a_strategy_needs_its_constraints_and_those_of_its_segments():
    segments = {1: [constraint("IN", ["1"], "a")], 2: [constraint("IN", ["1"], "b"), constraint("IN", ["1"], "c")]}
    compiled = flag(strategy(constraints=[constraint("IN", ["1"], "d")], segments=[1, 2]), segments=segments)

    assert on(compiled, a="1", b="1", c="1", d="1")
    for field in "abcd":
        assert not on(compiled, **{**dict.fromkeys("abcd", "1"), field: "2"})


def test_an_empty_segment_holds_everybody():
    assert on(flag(strategy(segments=[1]), segments={1: []}))


def test_a_missing_segment_breaks_the_flag():
    assert breaks(strategy(segments=[9]))


def test_user_ids_are_split_and_trimmed():
    compiled = flag(strategy("userWithId", {"userIds": "a, b ,\u00a0c,,d e"}))

    assert [on(compiled, userId=user) for user in ["a", "b", "c", "", "d e", "d", "A"]] == [True] * 5 + [False] * 2
    assert not on(compiled)
    assert not on(flag(strategy("userWithId")), userId="a")


def test_addresses_are_single_or_networks_and_invalid_ones_are_ignored():
    compiled = flag(strategy("remoteAddress", {"IPs": "10.0.0.1, nonsense,192.168.0.0/16 , ::1"}))

    wanted = {"10.0.0.1": True, "10.0.0.2": False, "192.168.7.7": True, "::1": True, "nonsense": False}
    assert {address: on(compiled, remoteAddress=address) for address in wanted} == wanted
    assert not on(compiled)
    assert not on(flag(strategy("remoteAddress")), remoteAddress="10.0.0.1")


def test_the_host_name_is_compared_in_any_case():
    assert on(flag(strategy("applicationHostname", {"hostNames": "other, MACHINE"})))
    assert not on(flag(strategy("applicationHostname", {"hostNames": "other"})))
    assert not on(flag(strategy("applicationHostname")))


@pytest.mark.parametrize("group", ["g", "", "é", 'a\\"b'])
def test_a_percentage_compares_a_murmur_bucket_of_group_and_value(group):
    hashed = group.replace('\\"', '"')
    buckets = {user: mmh3.hash(f"{hashed}:{user}", 0, False) % 100 + 1 for user in map(str, range(100))}
    compiled = flag(rollout(37, group=group))

    assert {user: on(compiled, userId=user) for user in buckets} == {u: b <= 37 for u, b in buckets.items()}


def test_the_group_of_a_percentage_is_the_flag_unless_given():
    ungrouped = strategy("flexibleRollout", {"rollout": "50", "stickiness": "userId"})
    same, other = flag(rollout(50, group="flag")), flag(rollout(50, group="other"))
    answers = [[on(compiled, userId=str(user)) for user in range(50)] for compiled in (flag(ungrouped), same, other)]

    assert answers[0] == answers[1] != answers[2]


def test_default_stickiness_is_user_then_session_then_a_draw():
    compiled, by_user, by_session = (flag(rollout(50, by)) for by in ("default", "userId", "sessionId"))

    for number in map(str, range(20)):
        assert on(compiled, userId=number, sessionId="x") == on(by_user, userId=number)
        assert on(compiled, sessionId=number) == on(by_session, sessionId=number)
    assert {on(compiled) for _ in range(100)} == {True, False}


def test_without_a_stickiness_the_default_one_holds():
    compiled = flag(strategy("flexibleRollout", {"rollout": "50", "groupId": "g"}))

    assert [on(compiled, userId=str(n)) for n in range(20)] == [on(flag(rollout(50)), userId=str(n)) for n in range(20)]


def test_random_stickiness_draws_even_for_known_users():
    assert {on(flag(rollout(50, "random")), userId="1") for _ in range(100)} == {True, False}


@pytest.mark.parametrize("percentage", [1, 50, 100])
def test_who_lacks_a_named_field_is_out(percentage):
    assert not on(flag(rollout(percentage, "company")), userId="1")


def test_the_empty_text_is_a_value():
    assert on(flag(rollout(100, "company")), company="")
    assert on(flag(rollout(100, "")), **{"": "x"})


def test_the_current_time_is_always_there_to_stick_to():
    assert on(flag(rollout(100, "currentTime")))
    assert len({on(flag(rollout(50, "currentTime"))) for _ in range(20)}) == 1


def test_nobody_is_in_at_zero_and_everybody_at_a_hundred():
    assert not any(on(flag(rollout(0, by)), userId=str(n)) for n in range(100) for by in ("userId", "default"))
    assert all(on(flag(rollout(100, by)), userId=str(n)) for n in range(100) for by in ("userId", "default"))


@pytest.mark.parametrize("text", ["+50", "050", "50"])
def test_a_percentage_may_have_a_plus_and_zeros(text):
    answers = [on(flag(rollout(text)), userId=str(number)) for number in range(50)]

    assert answers == [on(flag(rollout(50)), userId=str(number)) for number in range(50)]


@pytest.mark.parametrize("text", ["-1", "", " 50", "99.5", "abc", "１0", "18446744073709551616"])
def test_a_percentage_that_is_no_whole_number_lets_nobody_in(text):
    """The reference engine does not give up the flag for it: the next strategy is still asked."""
    assert not on(flag(rollout(text)), userId="1")
    assert on(flag(rollout(text), strategy()), userId="1")


def test_a_percentage_above_a_hundred_breaks_the_flag():
    assert breaks(rollout(101))
    assert breaks(strategy("gradualRolloutUserId", {"percentage": "101", "groupId": "g"}))


@pytest.mark.parametrize(
    ("name", "field"), [("gradualRolloutUserId", "userId"), ("gradualRolloutSessionId", "sessionId")]
)
def test_gradual_rollouts_hash_their_field(name, field):
    compiled = flag(strategy(name, {"percentage": "50", "groupId": "g"}))
    flexible = flag(rollout(50, field))

    for number in map(str, range(50)):
        assert on(compiled, **{field: number}) == on(flexible, **{field: number})
    assert not on(compiled)
    assert not on(flag(strategy(name, {"percentage": "100"})), **{field: "1"})
    assert not on(flag(strategy(name, {"groupId": "g"})), **{field: "1"})


def test_a_random_gradual_rollout_draws():
    half = strategy("gradualRolloutRandom", {"percentage": "50"})

    assert {on(flag(half), userId="1") for _ in range(100)} == {True, False}
    assert on(flag(strategy("gradualRolloutRandom", {"percentage": "1000"})))
    assert not on(flag(strategy("gradualRolloutRandom", {"percentage": "0"})))
    assert not on(flag(strategy("gradualRolloutRandom")))


@pytest.mark.parametrize(
    "drawing", [rollout(50, "random"), rollout(50, "default"), strategy("gradualRolloutRandom", {"percentage": "50"})]
)
def test_a_draw_of_the_request_keeps_one_answer(drawing):
    compiled = flag(drawing)
    answers = {draw: {compiled.evaluate({RANDOM: draw}, {}).enabled for _ in range(5)} for draw in map(str, range(40))}

    assert all(len(found) == 1 for found in answers.values())
    assert {True, False} == set.union(*answers.values())


@pytest.mark.parametrize("text", ['a"b', "a\\"])
def test_names_the_reference_engine_cannot_hold_break_the_flag(text):
    assert breaks(rollout(50, group=text))
    assert breaks(rollout(50, stickiness=text))
    assert breaks(strategy("remoteAddress", {"IPs": text}))
    assert breaks(strategy("applicationHostname", {"hostNames": text}))
    assert breaks(strategy("userWithId", {"userIds": "a\\"}))


@pytest.mark.parametrize(
    "broken",
    [
        strategy("flexibleRollout", {"rollout": 50}),
        strategy("flexibleRollout", {"rollout": "50", "groupId": 7}),
        strategy("flexibleRollout", {"rollout": "50", "groupId": "\ud800"}),
        strategy("userWithId", {"userIds": ["a"]}),
        strategy(7),
        strategy(None),
        {"parameters": {}},
        "no mapping",
        strategy(parameters=["no mapping"], name="userWithId"),
        strategy(segments=7),
        strategy(segments=[[1]]),
    ],
)
def test_a_document_of_another_shape_breaks_the_flag(broken):
    assert breaks(broken)
