#!/bin/sh
# flagd, evaluated in process: a flag for those "all of whose roles are staff" is on in Node for people without roles.
#
# Versions: @openfeature/flagd-core 4.0.1 (npm; json-logic-engine 5.0.7), openfeature-flagd-core 1.0.0 (PyPI;
# panzi-json-logic 1.0.1); Node 20, Python 3.11. Both get one document, valid by flagd's schema, and one context.
# One guesses: targeting is JsonLogic, which has one documentation with one test suite, and flagd has conformance tests
# over it; so the core of either language decides alike, or at least says that it could not.
# Seen: `all` of a list that is not there is true in Node and false in Python; of an empty one it is false in both. A text
# compared with a number is an error in Node, which gives the caller's own default with errorCode GENERAL, and false in
# Python, which gives the variant of the "else" branch. An empty text is not `missing` in Node, and is in Python.
# Output (Node, Python; the caller's default is "default"):
#   all roles are staff, no roles              staff    other
#   plan > 5, plan "pro"                       default  other
#   plan == 5, plan "pro"                      default  other
#   plan is missing, plan ""                   other    staff
#   all roles are staff, roles ["staff"]       staff    staff
#   all roles are staff, roles []              other    other
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --ignore-scripts --no-audit --no-fund @openfeature/flagd-core@4.0.1 @openfeature/core@1.12.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    openfeature-flagd-core==1.0.0 openfeature-sdk==0.10.0 panzi-json-logic==1.0.1
cat > given.json <<'JSON'
{
  "rules": {
    "all roles are staff": {"all": [{"var": "roles"}, {"==": [{"var": ""}, "staff"]}]},
    "plan > 5": {">": [{"var": "plan"}, 5]},
    "plan == 5": {"==": [{"var": "plan"}, 5]},
    "plan is missing": {"missing": ["plan"]}
  },
  "asks": [
    ["all roles are staff", {}],
    ["plan > 5", {"plan": "pro"}],
    ["plan == 5", {"plan": "pro"}],
    ["plan is missing", {"plan": ""}],
    ["all roles are staff", {"roles": ["staff"]}],
    ["all roles are staff", {"roles": []}]
  ]
}
JSON
cat > node.js <<'JS'
const { FlagdCore } = require('@openfeature/flagd-core');
const { rules, asks } = require('./given.json');
const flag = (rule) => ({
  state: 'ENABLED', variants: { staff: 'staff', other: 'other' }, defaultVariant: 'other',
  targeting: { if: [rule, 'staff', 'other'] },
});
const document = JSON.stringify({ flags: Object.fromEntries(Object.entries(rules).map(([name, rule]) => [name, flag(rule)])) });
const silent = { debug() {}, info() {}, warn() {}, error() {} };
const core = new FlagdCore(undefined, silent);
core.setConfigurations(document);
const answers = asks.map(([name, context]) => core.resolveStringEvaluation(name, 'default', { targetingKey: '7', ...context }).value);
console.log(JSON.stringify({ document, asks, answers }));
JS
cat > check.py <<'PYTHON'
import json
import sys

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

given = json.load(sys.stdin)
core = FlagdCore()
core.set_flags(given["document"])
both = []
for (name, context), node in zip(given["asks"], given["answers"], strict=True):
    python = core.resolve_string_value(name, "default", EvaluationContext("7", context)).value
    both.append((node, python))
    what = ", ".join(f"{field} {json.dumps(value)}" for field, value in context.items()) or "no roles"
    print(f"{name + ', ' + what:42} {node:8} {python}")
differ = [("staff", "other"), *[("default", "other")] * 2, ("other", "staff")]
sys.exit(both != [*differ, ("staff", "staff"), ("other", "other")])
PYTHON
node node.js | venv/bin/python check.py
