"""The explanation says what evaluation does."""

import random
from dataclasses import asdict

from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.explain import explain
from feature_flags.engine.model import RANDOM, Definition, normal_context
from feature_flags.tests.engine.build import NOON, constraint, flag, rollout, strategy, variant
from feature_flags.tests.engine.generator import Generator


def verdict(explanation):
    """What the steps alone say: on or off, by which rule, with which variant, out by a percentage."""
    *steps, last = explanation.steps
    if not all(step.passed for step in (*steps, last) if step.kind in ("switch", "dependency")):
        return False, None, "disabled", False
    if last.kind == "variant":
        return True, steps[-1].label, last.label.removeprefix("Variant "), False
    if last.kind == "rule" and last.passed:
        return True, last.label, "disabled", False
    return False, None, "disabled", any(_only_the_percentage_failed(step) for step in (*steps, last))


def _only_the_percentage_failed(step):
    failed = [child for child in step.children if not child.passed]
    return len(failed) == 1 and (failed[0].bucket is not None or failed[0].percentage == 0)


def test_explain_and_evaluate_never_disagree():
    generator = Generator(random.Random(20240501))
    reasons = set()
    for _ in range(250):
        document = generator.document()
        segments = {segment["id"]: segment["constraints"] for segment in document["segments"]}
        flags = {
            feature["name"]: compile_flag(Definition(feature), segments, clock=lambda: NOON)
            for feature in document["features"]
        }
        for number, compiled in enumerate([*flags.values()] * 2):
            context = {RANDOM: f"draw {number}", **normal_context(generator.context())}

            explanation = explain(compiled, context, flags, segments)

            result = compiled.evaluate(context, flags)
            assert asdict(explanation.result) == asdict(result)
            on, rule, name, split = verdict(explanation)
            assert on is result.enabled
            assert rule == (result.rule or rule)
            assert name == result.variant.name
            if result.reason in ("SPLIT", "DEFAULT") and not on:
                assert split is (result.reason == "SPLIT")
            assert explanation.summary.startswith("On" if on else "Off")
            reasons.add((result.enabled, result.reason))
    assert len(reasons) == 7


def tree(steps):
    return [(step.kind, step.label, step.passed, *([tree(step.children)] if step.children else [])) for step in steps]


def test_an_explanation_reads_from_the_switch_to_the_variant():
    segments = {4: [constraint("STR_ENDS_WITH", ["@example.org"], "email")]}
    compiled = flag(
        strategy("userWithId", {"userIds": "1, 2"}),
        rollout(
            30, "userId", "g", constraints=[constraint("IN", list("abcdefg"), "country", inverted=True)], segments=[4]
        ),
        strategy(),
        labels=["Staff", "Beta"],
        segments=segments,
        dependencies=[{"feature": "parent"}],
        variants=[variant("blue", 500), variant("red", 500)],
    )

    explanation = explain(compiled, {"userId": "7"}, {"parent": flag(name="parent")}, segments, {4: "Our people"})

    assert explanation.summary == "On, by rule 3. Variant red."
    assert tree(explanation.steps) == [
        ("switch", "The flag is switched on", True),
        ("dependency", "parent is on", True),
        ("rule", "Staff", False, [("target", "userId is one of 1, 2", False)]),
        (
            "rule",
            "Beta",
            False,
            [
                ("constraint", "country is none of a, b, c, d, e and 2 more", True),
                ("segment", "Our people", False, [("constraint", "email ends with @example.org", False)]),
                ("rollout", "30 % by userId", False),
            ],
        ),
        ("rule", "rule 3", True, [("target", "Everybody", True)]),
        ("variant", "Variant red", True),
    ]


def test_a_step_carries_what_was_expected_and_what_was_given():
    compiled = flag(rollout(30, "userId", "g", constraints=[constraint("NUM_GT", "17", "age")]))

    rule = explain(compiled, {"userId": "7", "age": "16"}, {}, {}).steps[-1]

    age, percentage = rule.children
    assert (age.field, age.operator, age.expected, age.given, age.inverted) == ("age", "NUM_GT", "17", "16", False)
    assert (percentage.given, percentage.bucket, percentage.percentage) == ("7", 81, 30)
    assert (percentage.stickiness, percentage.group) == ("userId", "g")
    assert percentage.note == "Bucket 81 is beyond 30."


def test_an_explanation_stops_where_the_answer_was_found():
    assert tree(explain(flag(strategy(), enabled=False), {}, {}, {}).steps) == [
        ("switch", "The flag is switched on", False)
    ]
    assert [step.kind for step in explain(flag(strategy(), strategy()), {}, {}, {}).steps] == ["switch", "rule"]
    unmet = explain(flag(strategy(), dependencies=[{"feature": "gone", "variants": ["a"]}]), {}, {}, {})
    assert tree(unmet.steps)[1:] == [("dependency", "gone is on with variant a", False)]
    assert unmet.steps[1].note == "There is no such flag."
    assert unmet.summary == "Off: it needs that gone is on with variant a."


def test_a_broken_flag_is_explained_by_its_error():
    explanation = explain(flag(strategy(segments=[9])), {}, {}, {})

    assert explanation.steps[0].note == "rule 1: segment 9 does not exist"
    assert explanation.summary == "Off: the flag cannot be read: rule 1: segment 9 does not exist."


def test_summaries_say_why_it_is_off():
    assert explain(flag(), {}, {}, {}).summary == "On for everybody."
    assert explain(flag(enabled=False), {}, {}, {}).summary == "Off: the flag is switched off."
    assert explain(flag(rollout(0)), {"userId": "1"}, {}, {}).summary == "Off: outside of the percentage."
    assert explain(flag(strategy("mine")), {}, {}, {}).summary == "Off: no rule lets this context in."


def test_draws_are_shown_as_nobodys_value():
    rule = explain(flag(rollout(50, "random")), {"userId": "7"}, {}, {}).steps[1]

    assert rule.children[0].given is None
    assert rule.children[0].bucket is not None


def test_the_clock_of_the_flag_is_shown():
    compiled = flag(strategy(constraints=[constraint("DATE_AFTER", "2024-01-01T00:00:00Z", "currentTime")]))

    step = explain(compiled, {}, {}, {}).steps[1].children[0]

    assert (step.label, step.given, step.passed) == (
        "currentTime is after 2024-01-01T00:00:00Z",
        "2024-05-01T12:00:00Z",
        True,
    )
