"""Differential fuzz against yggdrasil-engine: `python -m feature_flags.tests.engine.fuzz --count 100000 --seed 1`."""

import argparse
import json
import logging
import random
import sys

from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.model import RANDOM, Definition, normal_context
from feature_flags.tests.engine.generator import Generator

CONTEXTS = 12  # asked of each document


class Watched(dict):
    """A context that knows whether a draw was taken: such an answer cannot be compared."""

    drawn = False

    def get(self, key, default=None):
        self.drawn = self.drawn or key == RANDOM
        return super().get(key, default)


class Oracle:
    """The reference engine over one document."""

    def __init__(self, document):
        from yggdrasil_engine.engine import UnleashEngine

        self.engine = UnleashEngine()
        self.engine.take_state(json.dumps(document))

    def ask(self, name, context):
        answer = self.engine.check_enabled(name, context)
        assert answer.is_found, f"the reference engine refused the document: {name}"
        variant = self.engine.check_variant(name, context).variant
        return answer.is_enabled, variant.name, variant.payload, variant.enabled


def compiled(document):
    segments = {segment["id"]: segment["constraints"] for segment in document["segments"]}
    return {feature["name"]: compile_flag(Definition(feature), segments) for feature in document["features"]}


def ours(flag, context, flags):
    result = flag.evaluate(context, flags)
    return result.enabled, result.variant.name, result.variant.payload, result.variant.enabled


def compare(seed, count):
    """Make `count` comparisons; return how many were skipped for a draw, how many were on, and the differences."""
    generator = Generator(random.Random(seed))
    made, skipped, on, differences = 0, 0, 0, []
    while made < count:
        document = generator.document()
        oracle, flags = Oracle(document), compiled(document)
        for context in [generator.context() for _ in range(CONTEXTS)]:
            for feature in document["features"]:
                watched = Watched(normal_context(context))
                mine = ours(flags[feature["name"]], watched, flags)
                if watched.drawn:
                    skipped += 1
                    continue
                theirs = oracle.ask(feature["name"], context)
                made += 1
                on += mine[0]
                if mine != theirs:
                    differences.append((document, feature, context, mine, theirs))
    return skipped, on, differences


def main(arguments):
    parser = argparse.ArgumentParser(prog="feature_flags.tests.engine.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=3, help="differences to print in full")
    options = parser.parse_args(arguments)
    skipped, on, differences = compare(options.seed, options.count)
    print(f"seed {options.seed}: {options.count} compared ({on} on), {skipped} draws, {len(differences)} differences")
    for document, feature, context, mine, theirs in differences[: options.show]:
        print(json.dumps({"feature": feature, "segments": document["segments"], "context": context}, indent=1))
        print(f"ours {mine}\ntheirs {theirs}")
    return 1 if differences else 0


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.exit(main(sys.argv[1:]))
