#!/bin/sh
# GrowthBook: "version is lower than 2.0.0" is true in JavaScript of somebody without a version, and false in Python.
#
# Versions: @growthbook/growthbook 1.8.0 (npm; Node 20), growthbook 4.0.0 (PyPI; Python 3.11). The same features and
# attributes are given to both, and every answer is without error.
# One guesses: the SDKs share a corpus of test cases, so the condition that the editor writes means one thing; and that an
# operator which an SDK does not have turns up when the features are loaded.
# Seen: JavaScript takes a missing version for "0", and null >= 0 for true; Python lets neither in. "7" is the number 7 in
# JavaScript alone. $notRegex and $notRegexi are operators in Python, and in JavaScript, which the other SDKs are measured
# by, names that it logs at each evaluation and answers with no.
# Output (condition and attributes; JavaScript, Python):
#   version $vlt 2.0.0, no version         True   False
#   age $gte 0, no age                     True   False
#   customer "7", customer 7               True   False
#   email $notRegex @example, a@other.org  False  True
#   version $vlt 2.0.0, version 1.9.0      True   True
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --ignore-scripts --no-audit --no-fund @growthbook/growthbook@1.8.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check growthbook==4.0.0
cat > given.json <<'JSON'
[
  ["version $vlt 2.0.0, no version", {"version": {"$vlt": "2.0.0"}}, {"id": "1"}],
  ["age $gte 0, no age", {"age": {"$gte": 0}}, {"id": "1"}],
  ["customer \"7\", customer 7", {"customer": "7"}, {"id": "1", "customer": 7}],
  ["email $notRegex @example, a@other.org", {"email": {"$notRegex": "@example"}}, {"id": "1", "email": "a@other.org"}],
  ["version $vlt 2.0.0, version 1.9.0", {"version": {"$vlt": "2.0.0"}}, {"id": "1", "version": "1.9.0"}]
]
JSON
cat > node.js <<'JS'
const { GrowthBook } = require('@growthbook/growthbook');
const on = ([, condition, attributes]) => {
  const features = { flag: { defaultValue: false, rules: [{ condition, force: true }] } };
  return new GrowthBook({ attributes, features }).isOn('flag');
};
console.log(JSON.stringify(require('./given.json').map(on)));
JS
cat > check.py <<'PYTHON'
import json
import logging
import sys

from growthbook import GrowthBook

logging.disable(logging.CRITICAL)
given = json.load(open("given.json"))
seen = []
for (name, condition, attributes), javascript in zip(given, json.load(sys.stdin), strict=True):
    features = {"flag": {"defaultValue": False, "rules": [{"condition": condition, "force": True}]}}
    seen.append((javascript, GrowthBook(attributes=attributes, features=features).is_on("flag")))
    print(f"{name:38} {seen[-1][0]!s:6} {seen[-1][1]}")
sys.exit(seen != [*[(True, False)] * 3, (False, True), (True, True)])
PYTHON
node node.js 2>/dev/null | venv/bin/python check.py
