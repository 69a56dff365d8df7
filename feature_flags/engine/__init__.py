"""Evaluation of feature flags: definitions in, compiled flags out. Knows no Django, no database, no other room.

The semantics are those of the public Unleash client specification; `yggdrasil-engine` is the oracle of the tests.
"""

from feature_flags.engine import agreement
from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.constraints import CLOCK_FIELD
from feature_flags.engine.context import DRAW, normal_context
from feature_flags.engine.explain import Explanation, Step, explain
from feature_flags.engine.hashing import fresh_draw
from feature_flags.engine.model import DISABLED, CompiledFlag, Definition, Result, Variant
from feature_flags.engine.operators import OPERATORS, Operator
from feature_flags.engine.validation import constraint_problems
from feature_flags.engine.values import read_payload

__all__ = [
    "CLOCK_FIELD",
    "DISABLED",
    "DRAW",
    "OPERATORS",
    "CompiledFlag",
    "Definition",
    "Explanation",
    "Operator",
    "Result",
    "Step",
    "Variant",
    "agreement",
    "compile_flag",
    "constraint_problems",
    "explain",
    "fresh_draw",
    "normal_context",
    "read_payload",
]
