"""Random documents and contexts: every operator and strategy, mostly sound, often meeting, sometimes broken.

Left out, because the reference engine is no measure there: random draws (skipped while comparing), classes such as
`\\w` against non-ASCII text, NUL in names, weights that sum up to zero, parents without groupId, values that smuggle
rule text, hosts (its build knows none), numbers beside the known fields (it drops them, we do not), and the wording of
"now" where seconds matter.
"""

from feature_flags.tests.engine.pools import (
    ADDRESSES,
    BAD_DATES,
    BAD_NETWORKS,
    BAD_NUMBERS,
    BAD_PERCENTAGES,
    BAD_TEXTS,
    BAD_VERSIONS,
    CLASS_PATTERNS,
    CONTEXT_DATES,
    DATES,
    FIELDS,
    GROUPS,
    IDS,
    KNOWN,
    NETWORKS,
    NUMBERS,
    OPERATORS,
    PERCENTAGES,
    POOLS,
    RAW_BAD,
    SEGMENT_IDS,
    STICKINESS,
    TEXTS,
    VERSIONS,
    WORDS,
)


class Generator:
    """One stream of documents and contexts from one `random.Random`."""

    def __init__(self, rng):
        self.rng = rng

    def chance(self, percent):
        return self.rng.random() * 100 < percent

    def some(self, pool, most=3, least=0):
        return [self.rng.choice(pool) for _ in range(self.rng.randint(least, most))]

    def pick(self, good, bad, percent_bad=3):
        return self.rng.choice(bad if self.chance(percent_bad) else good)

    def document(self, children=6):
        parents = [self.feature(f"parent-{number}", is_parent=True) for number in range(3)]
        return {
            "version": 2,
            "features": parents + [self.feature(f"flag-{number}-é", number == 0) for number in range(children)],
            "segments": [
                {"id": number, "name": f"s{number}", "constraints": self.constraints(2)} for number in SEGMENT_IDS
            ],
        }

    def feature(self, name, is_parent=False):
        feature = {"name": name, "type": "release", "enabled": self.chance(92)}
        feature["strategies"] = [self.strategy(is_parent) for _ in range(self.rng.choice([0, 1, 1, 1, 2, 2, 3]))]
        if self.chance(35):
            feature["variants"] = self.variants(True)
        if self.chance(30 if not is_parent else 10):
            feature["dependencies"] = [self.dependency() for _ in range(self.rng.choice([0, 1, 1, 1, 2]))]
        return feature

    def dependency(self):
        parent = self.pick([f"parent-{number}" for number in range(3)], ["missing", "flag-0-é"], 8)
        dependency = {"feature": parent}
        if self.chance(60):
            dependency["enabled"] = self.rng.choice([True, True, False, None])
        if self.chance(40):
            dependency["variants"] = self.rng.choice([[], ["red"], ["red", "blue"], ["disabled"], None])
        return dependency

    def variants(self, of_flag):
        stickiness = self.rng.choice([None, *STICKINESS])
        variants = []
        for name in self.rng.sample(["red", "blue", "green", "disabled"], self.rng.choice([0, 1, 2, 2, 3, 4])):
            variant = {"name": name, "weight": self.rng.choice([0, 1, 10, 500, 1000])}
            if stickiness is not None:
                variant["stickiness"] = stickiness
            if self.chance(40):
                variant["payload"] = {"type": "string", "value": self.rng.choice(TEXTS)}
            if of_flag and self.chance(25):
                variant["overrides"] = [
                    {"contextName": self.rng.choice(["userId", "country", "appName"]), "values": self.some(IDS + TEXTS)}
                    for _ in range(self.rng.randint(0, 2))
                ]
            variants.append(variant)
        if variants and not sum(variant["weight"] for variant in variants):
            variants[0]["weight"] = 1
        return variants

    def strategy(self, is_parent):
        name, parameters = self.rule(is_parent)
        strategy = {"name": name, "parameters": parameters}
        if self.chance(50):
            strategy["constraints"] = self.rng.choice([None, [], self.constraints(1), self.constraints(4)])
        if self.chance(20):
            strategy["segments"] = self.some([*SEGMENT_IDS, *SEGMENT_IDS, 9], 2)
        if self.chance(30):
            strategy["variants"] = self.rng.choice([None, [], self.variants(False), self.variants(False)])
        return strategy

    def rule(self, is_parent):
        pieces = lambda good, bad: self.rng.choice([",", ", ", " ,\t"]).join(  # noqa: E731
            [*self.some(good, 3), self.pick(good, bad)]
        )
        kind = self.rng.randrange(14)
        if kind < 3:
            return "default", self.rng.choice([{}, {"groupId": "g", "stickiness": "userId"}])
        if kind < 8:
            parameters = {"rollout": self.pick(PERCENTAGES, BAD_PERCENTAGES), "stickiness": self.stickiness()}
            if is_parent or self.chance(80):
                parameters["groupId"] = self.pick(GROUPS, RAW_BAD)
            if self.chance(10):
                del parameters[self.rng.choice(["rollout", "stickiness"])]
            return "flexibleRollout", parameters
        if kind == 8:
            name = self.rng.choice(["gradualRolloutUserId", "gradualRolloutSessionId", "gradualRolloutRandom"])
            parameters = {"percentage": self.pick(PERCENTAGES, BAD_PERCENTAGES, 10)}
            if self.chance(90):
                parameters["groupId"] = self.pick(GROUPS, RAW_BAD)
            return name, parameters
        if kind < 11:
            return "userWithId", self.perhaps("userIds", pieces([*IDS, 'a"b'], ["a\\"]))
        if kind == 11:
            return "remoteAddress", self.perhaps("IPs", pieces([*NETWORKS, *BAD_NETWORKS], RAW_BAD))
        if kind == 12:
            hosts = ["x", "", "y"]
            return "applicationHostname", self.perhaps("hostNames", pieces(hosts, RAW_BAD))
        return self.rng.choice(["mine", "Default", "gradualRollout"]), {"percentage": "100", "groupId": "g"}

    def perhaps(self, key, value):
        return {key: value} if self.chance(95) else {}

    def stickiness(self):
        return self.pick(STICKINESS, RAW_BAD)

    def constraints(self, most):
        return [self.constraint() for _ in range(self.rng.randint(1, most))]

    def constraint(self):
        kind = self.rng.choice(list(OPERATORS))
        field = self.rng.choice(FIELDS[kind] if self.chance(90) else sum(FIELDS.values(), []))
        if field == "currentTime" and kind != "date":
            field = "country"
        constraint = {
            "contextName": self.pick([field], RAW_BAD, 1),
            "operator": self.pick(OPERATORS[kind], ["FOO", "in"], 1),
            "inverted": self.chance(25),
            "caseInsensitive": self.chance(25),
        }
        good, bad = POOLS[kind if self.chance(96) else self.rng.choice(["number", "date", "semver"])]
        if kind in ("list", "text", "cidr"):
            constraint["values"] = self.some(good, 4, 0 if self.chance(8) else 1)
            if kind == "cidr":
                constraint["values"] += self.some(BAD_NETWORKS, 2)
            elif self.chance(2):
                constraint["values"].append(self.rng.choice(BAD_TEXTS))
        elif field == "word" and self.chance(50):
            constraint["value"] = self.rng.choice(CLASS_PATTERNS)
        elif self.chance(99):
            padding = "" if kind == "regex" or self.chance(90) else self.rng.choice([" ", "\t "])
            constraint["value"] = padding + self.pick(good, bad, 5 if kind != "regex" else 15) + padding
        return constraint

    def context(self):
        """As a client may send it: known fields on top, others on top or in `properties`, some of the wrong type."""
        values = {
            "userId": self.rng.choice([*IDS, *TEXTS, 7, True, 7.5]),
            "sessionId": self.rng.choice([*IDS, 12]),
            "environment": self.rng.choice(["a", "b", ""]),
            "appName": self.rng.choice(TEXTS),
            "remoteAddress": self.pick(ADDRESSES, BAD_NETWORKS, 15),
            "currentTime": self.rng.choice([*DATES, *BAD_DATES, *CONTEXT_DATES]),
            "country": self.rng.choice([*TEXTS, *BAD_TEXTS, None, ["a"], {"a": "b"}]),
            "n": self.rng.choice(
                [*NUMBERS, *BAD_NUMBERS, "+inf", "-.5", 7, 7.0, 0.1, 1e-7, 1e-5, 1e16, 2**70, -3, False]
            ),
            "d": self.rng.choice([*DATES, *BAD_DATES, *CONTEXT_DATES]),
            "v": self.pick(VERSIONS, BAD_VERSIONS, 25),
            "ip": self.pick(ADDRESSES, BAD_NETWORKS, 15),
            "word": self.rng.choice(WORDS),
            "odd name": self.rng.choice(IDS),
            'a\\"b': self.rng.choice(IDS),
            "é": self.rng.choice(TEXTS),
            "": self.rng.choice(IDS),
            "random": "r",
        }
        context, properties = {}, {}
        for name, value in values.items():
            if self.chance(70):
                number = isinstance(value, (int, float))
                on_top = name in KNOWN and self.chance(90) or not number and self.chance(20)
                (context if on_top else properties)[name] = value
            if self.chance(3):
                properties[name] = self.rng.choice(["shadow", None, 3])
            if self.chance(2):
                context[name] = None
        if properties or self.chance(50):
            context["properties"] = properties
        return context
