"""A flag looks at no field that it does not name."""

import random
from dataclasses import asdict

import pytest

from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.constraints import CLOCK_FIELD
from feature_flags.engine.model import RANDOM, Definition, normal_context
from feature_flags.tests.engine.build import NOON, constraint, flag, rollout, strategy, variant
from feature_flags.tests.engine.generator import Generator


@pytest.mark.parametrize(
    ("compiled", "fields"),
    [
        (flag(strategy(constraints=[constraint("IN", ["IT"], "country")])), {"country"}),
        (flag(strategy(segments=[4]), segments={4: [constraint("NUM_GT", "4", "seats")]}), {"seats"}),
        (flag(rollout(50, "default")), {"userId", "sessionId", RANDOM}),
        (flag(rollout(50, "random")), {RANDOM}),
        (flag(rollout(50, "tenant")), {"tenant"}),
        (flag(strategy("userWithId", {"userIds": "7"})), {"userId"}),
        (flag(strategy("remoteAddress", {"IPs": "10.0.0.1"})), {"remoteAddress"}),
        (flag(variants=[variant("a", stickiness="tenant"), variant("b")]), {"tenant", RANDOM}),
        (
            flag(variants=[variant("a"), variant("b", overrides=[{"contextName": "plan", "values": ["pro"]}])]),
            {"userId", "sessionId", "plan", RANDOM},
        ),
        (flag(rollout(100, "default", constraints=[constraint("IN", ["1"], "a")])), {"a"}),
        (flag(rollout(100, "tenant")), {"tenant"}),
        (flag(strategy(constraints=[constraint("IN", ["1"], "a")]), variants=[variant("only")]), {"a"}),
        (
            flag(strategy(constraints=[constraint("DATE_AFTER", "2024-05-01T00:00:00Z", "currentTime")])),
            {CLOCK_FIELD},
        ),
        (flag(strategy()), set()),
    ],
)
def test_what_a_flag_looks_at(compiled, fields):
    assert not compiled.error
    assert compiled.fields == fields


def test_other_fields_change_nothing():
    generator = Generator(random.Random(20261124))
    checked = 0
    for _ in range(250):
        document = generator.document()
        segments = {segment["id"]: segment["constraints"] for segment in document["segments"]}
        compiled = [compile_flag(Definition(feature), segments, clock=lambda: NOON) for feature in document["features"]]
        flags = {each.name: each for each in compiled}
        for each in compiled:
            if each.has_parents or each.error:
                continue
            context = {RANDOM: "draw", **normal_context(generator.context())}
            other = {RANDOM: "another", **normal_context(generator.context())}
            kept = {field: value for field, value in context.items() if field in each.fields}
            mixed = {**{field: value for field, value in other.items() if field not in each.fields}, **kept}
            results = [asdict(each.evaluate(asked, flags)) for asked in (context, kept, mixed)]
            assert results[0] == results[1] == results[2]
            checked += each.constant is None
    assert checked > 300
