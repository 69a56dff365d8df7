"""One document, one meaning: what we save and serve, read by unleash-client (Node), by yggdrasil, and by ourselves.

`docs/flags.md` names the versions and holds the table of what a context can still say in two ways.
"""

import json
import random
import subprocess
from pathlib import Path

import pytest
from yggdrasil_engine.engine import UnleashEngine

from feature_flags import flag_document, unleash_feature
from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.model import Definition, normal_context
from feature_flags.tests.engine import pools
from feature_flags.tests.engine.fuzz import Watched, ours
from feature_flags.unleash_feature import definition
from lib.errors import ProductError

pytestmark = pytest.mark.sdk
ALWAYS = {"appName": "shop", "environment": "test"}


@pytest.fixture(scope="module")
def node():
    """Ask unleash-client: `node(document, [(name, context), …])`."""
    command = ["node", Path(__file__).parent / "documents.js"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(document, asks):
            process.stdin.write(json.dumps({"document": document, "asks": asks}) + "\n")
            process.stdin.flush()
            return [tuple(answer) for answer in json.loads(process.stdout.readline())]

        yield ask
        process.stdin.close()


def yggdrasil(document, asks):
    engine = UnleashEngine()
    engine.take_state(json.dumps(document))
    found = []
    for name, context in asks:
        answer, variant = engine.check_enabled(name, context), engine.check_variant(name, context).variant
        assert answer.is_found, name
        found.append((answer.is_enabled, variant.name, variant.payload, variant.enabled))
    return found


def here(document, asks):
    """Our own answers; None where chance decides."""
    segments = {segment["id"]: segment["constraints"] for segment in document["segments"]}
    flags = {one["name"]: compile_flag(Definition(one), segments) for one in document["features"]}
    found = []
    for name, context in asks:
        watched = Watched(normal_context(context))
        answer = ours(flags[name], watched, flags)
        found.append(None if watched.drawn else answer)
    return found


def differences(node, document, asks):
    """Compared, on, and `[(feature, context, node, yggdrasil, ours)]`."""
    asks = [(name, {**ALWAYS, **context}) for name, context in asks]
    features = {feature["name"]: feature for feature in document["features"]}
    answers = zip(asks, node(document, asks), yggdrasil(document, asks), here(document, asks), strict=True)
    made = [(features[name], context, *said) for (name, context), *said in answers if said[-1] is not None]
    return len(made), sum(one[-1][0] for one in made), [one for one in made if not one[2] == one[3] == one[4]]


# --- Our documents, at random: what the verbs take of odd and sound ones ----------------------------------------------

VALUES = {
    **{operator: [*pools.TEXTS, *pools.BAD_TEXTS, "a ", "\ufeffa", "\x85a"] for operator in pools.OPERATORS["list"]},
    **{operator: [*pools.TEXTS, "a ", " ", "İ", "ς", "k"] for operator in pools.OPERATORS["text"]},
    "IN_CIDR": [*pools.NETWORKS, *pools.BAD_NETWORKS],
}
VALUE = {
    "NUM": [*pools.NUMBERS, *pools.BAD_NUMBERS, "9007199254740993", "0.3"],
    "DATE": [*pools.DATES, *pools.BAD_DATES],
    "SEMVER": [*pools.VERSIONS, *pools.BAD_VERSIONS, "9007199254740992.0.0", "1.2.3-9007199254740993"],
    "REGEX": [*pools.PATTERNS, *pools.CLASS_PATTERNS, *pools.BAD_PATTERNS],
}
PIECES = (  # noqa: SIM905
    r"\d \w \s \D \W \S [ ] ^ $ - a b Z & ~ ( ) (?i) (?: | * + ? { } {2} {1,3} , [^ [:alpha:] \] \- \x41 \pL é ٣ ."
    r" [a-z] \Q \E (?P<n> / # \ 0 9 : (?s) (?m) (?U) < > \b \B \101 \C && -- [a- \x20"
).split()
FIELDS = ["userId", "country", "remoteAddress", "currentTime", "constructor", "properties", "é", 'q"']
STICKINESS = ["default", "default", "userId", "sessionId", "random", "country", "currentTime", "toString", 'q"']


class Documents:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def chance(self, percent):
        return self.rng.random() * 100 < percent

    def some(self, pool, most):
        return [self.rng.choice(pool) for _ in range(self.rng.randint(0, most))]

    def constraint(self):
        kind = self.rng.choice(["list", "text", "cidr", "number", "date", "semver", "regex"])
        operator = self.rng.choice(pools.OPERATORS[kind])
        usual = {"number": "n", "date": "currentTime", "semver": "v", "regex": "word", "cidr": "remoteAddress"}
        field = usual.get(kind, "country") if self.chance(80) else self.rng.choice(FIELDS)
        made = {"field": field, "operator": operator, "inverted": self.chance(30)}
        if kind in ("text", "regex"):
            made["case_insensitive"] = self.chance(30)
        if operator in VALUES:
            return {**made, "values": [self.rng.choice(VALUES[operator]), *self.some(VALUES[operator], 2)]}
        value = self.rng.choice(VALUE[operator.partition("_")[0]])
        if kind == "regex" and self.chance(60):
            value = "".join([self.rng.choice(PIECES), *self.some(PIECES, 5)])
        return {**made, "value": value}

    def place(self):
        return {
            "rollout_percent": self.rng.choice([0, 1, 37, 50, 99, 100, 100]),
            "stickiness": self.rng.choice(STICKINESS) if self.chance(60) else "default",
            "group_id": self.rng.choice(["", "", "g", "a b", "a\\b", "é", 'a"b', "a\\"]),
        }

    def variants(self, least=0):
        names = self.rng.sample(["red", "blue", "green"], self.rng.randint(least, 3))
        return [{"name": name, "weight": self.rng.randint(1, 1000), "payload": {"n": name}} for name in names]

    def rule(self):
        variants = self.variants() if self.chance(30) else []
        segments = self.rng.sample(["S1", "S2"], self.rng.choice([0, 0, 1, 2]))
        constraints = [self.constraint() for _ in range(self.rng.choice([0, 1, 1, 2]))]
        shape = {"is_enabled": self.chance(90), "constraints": constraints, "segments": segments, "variants": variants}
        return {**self.place(), **shape}

    def flag(self, name, parents):
        flag = {
            "codename": name,
            "value_type": "object",
            "is_active": self.chance(90),
            **self.place(),
            "rules": [self.rule() for _ in range(self.rng.choice([0, 1, 1, 2]))],
            "variants": self.variants(least=1) if self.chance(60) else [],
            "targets": {"on": list({*self.some(IDS, 2)}), "off": []},
        }
        if parents and self.chance(50):
            variants = self.rng.choice([[], ["red"], ["red", "blue"], ["green"]])
            flag["prerequisites"] = [
                {"parent": self.rng.choice(parents), "required": self.chance(70), "variants": variants}
            ]
        return flag

    def taken(self, check, make, *arguments):
        """The first that the verbs take."""
        while True:
            try:
                return check(make(*arguments))
            except ProductError:
                continue

    def document(self):
        ids = {"S1": 1, "S2": 2}
        segments = [self.taken(flag_document.checked_segment, self.segment, name) for name in ids]
        parents = [f"parent-{number}" for number in range(3)]
        flags = [self.taken(flag_document.checked, self.flag, name, []) for name in parents]
        flags += [self.taken(flag_document.checked, self.flag, f"flag-{number}", parents) for number in range(12)]
        wires = [
            {
                "id": ids[one["name"]],
                "constraints": [unleash_feature.wire_constraint(part) for part in one["constraints"]],
            }
            for one in segments
        ]
        return {
            "version": 2,
            "features": [definition(flag, ids).feature for flag in flags],
            "segments": wires,
        }

    def segment(self, name):
        return {"name": name, "constraints": [self.constraint()]}

    def context(self):
        """What the table leaves: texts as each kind wants them."""
        properties = {name: self.rng.choice(pool) for name, pool in PLAIN.items() if self.chance(75)}
        known = {name: self.rng.choice(pool) for name, pool in KNOWN.items() if self.chance(75)}
        return {**known, "properties": properties} if properties or self.chance(50) else known


IDS = ["1", "2", "user-17", "a b", "Ab", "\ufeffx", "x\\", 'a"b', "7"]
KNOWN = {
    "userId": ["1", "2", "3", "user-17", "a b", "Ab", "7", 'a"b', *map(str, range(20, 60))],
    "sessionId": ["s1", "s2", "s3"],
    "remoteAddress": pools.ADDRESSES,
    "currentTime": ["2024-05-01T00:00:00Z", "2024-05-01T00:00:00.500Z", "2024-05-01T01:59:59+02:00"],
}
PLAIN = {
    "country": ["a", "b", "ab", "A", "aB", "x y", "IT", "a\\b"],
    "word": [*pools.WORDS, "éfoo", "٣", "5", "\xa0", "k", "K", "[", "&", "{2}", "a-b", "-", "\t", "\x0b", "😀"],
    "n": ["0", "1", "-1", "7", "7.0", "7.5", "+7", "1e3", "0.1", "100", ".5", "9007199254740993", "seven"],
    "v": [*pools.VERSIONS, "v1.2.3", "1.2", "1.2.3.4", ""],
    "é": ["a", "é"],
}


@pytest.mark.parametrize("seed", range(12))
def test_what_we_serve_means_the_same_in_every_sdk(node, seed):
    documents = Documents(seed)
    made = on = 0
    for _ in range(15):
        document = documents.document()
        contexts = [documents.context() for _ in range(20)]
        asks = [(feature["name"], context) for feature in document["features"] for context in contexts]
        count, switched_on, found = differences(node, document, asks)
        made, on = made + count, on + switched_on
        assert found == []
    assert made > 3000
    assert made * 0.1 < on < made * 0.9


# --- What a context can still say in two ways: the table of docs/flags.md ---------------------------------------------


def rule(operator, value, field="x"):
    given = {"values": value} if isinstance(value, list) else {"value": value}
    return {"rules": [{"constraints": [{"field": field, "operator": operator, **given}]}]}


NODE, OTHERS = (True, False), (False, True)  # who lets in
TABLE = [
    (rule("NUM_EQ", "0"), {"x": ""}, NODE),
    (rule("NUM_EQ", "16"), {"x": "0x10"}, NODE),
    (rule("NUM_EQ", "5"), {"x": " 5 "}, NODE),
    (rule("NUM_GT", "0"), {"x": "inf"}, OTHERS),
    (rule("NUM_EQ", "0.3"), {"x": "0.30000000000000004"}, OTHERS),
    (rule("SEMVER_EQ", "1.2.3"), {"x": " 1.2.3"}, NODE),
    (rule("SEMVER_GT", "1.2.3"), {"x": "9007199254740992.0.0"}, OTHERS),
    (rule("IN_CIDR", ["fe80::/10"]), {"x": "fe80::1%eth0"}, NODE),
    (rule("IN_CIDR", ["10.0.0.0/8"]), {"x": "10.0.0.1/8"}, NODE),
    (rule("IN", ["1,2"]), {"x": [1, 2]}, NODE),
    (rule("IN", ["7"]), {"x": 7.0}, NODE),
    (rule("IN", ["1e-6"]), {"x": 1e-6}, OTHERS),
    (rule("DATE_BEFORE", "2024-05-01T00:00:00Z", "currentTime"), {"currentTime": "2024-01-01T00:00:00Z"}, OTHERS),
    ({"stickiness": "x", "rollout_percent": 100}, {"x": ""}, OTHERS),
    ({"stickiness": "x", "rollout_percent": 50}, {"x": "ж"}, OTHERS),
]
TOP = [
    (rule("DATE_AFTER", "2024-05-01T00:00:00Z", "currentTime"), {"currentTime": "2030"}, NODE),
    (rule("DATE_AFTER", "2024-05-01T00:00:00Z", "currentTime"), {"currentTime": ""}, NODE),
    (rule("DATE_AFTER", "2024-05-01T00:00:00Z", "currentTime"), {"currentTime": "2030-5-1T0:0:0Z"}, OTHERS),
    (rule("DATE_AFTER", "2024-05-01T00:00:00Z", "currentTime"), {"currentTime": "2030-12-31T23:59:60Z"}, OTHERS),
    (rule("DATE_AFTER", "2024-01-01T00:00:00Z", "currentTime"), {"currentTime": "2024-02-30T00:00:00Z"}, NODE),
    ({"targets": {"on": ["7"]}, "rollout_percent": 0}, {"userId": 7}, OTHERS),
    ({"targets": {"on": ["7"]}, "rollout_percent": 0}, {"properties": {"userId": "7"}}, OTHERS),
    (rule("IN", ["p"], "userId"), {"userId": None, "properties": {"userId": "p"}}, NODE),
]


@pytest.mark.parametrize(
    ("members", "context", "said"),
    [*((members, {"properties": properties}, said) for members, properties, said in TABLE), *TOP],
)
def test_what_a_context_says_in_two_ways(node, members, context, said):
    """A row that has come to agree may leave the table."""
    flag = flag_document.checked({"codename": "FF_A", "is_active": True, "group_id": "g", **members})
    document = {"version": 2, "features": [definition(flag, {}).feature], "segments": []}

    _, _, [(_, _, theirs, others, mine)] = differences(node, document, [("FF_A", context)])

    assert (theirs[0], others[0]) == said
    assert mine == others
