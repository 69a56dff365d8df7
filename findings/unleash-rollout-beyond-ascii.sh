#!/bin/sh
# A gradual rollout puts a user id with a letter beyond ASCII into another bucket in unleash-client than in yggdrasil.
#
# Versions: unleash-client 6.12.1 (npm, with murmurhash3js 3.0.1), yggdrasil-engine 2.0.0 (PyPI); Node 20, Python 3.11.
# One guesses: rollout 50 %, sticky by userId, is the same half of the people in every Unleash SDK; it is what "sticky"
# is for, and for ids of plain ASCII it holds.
# Seen: murmurhash3js hashes the low byte of each UTF-16 unit, yggdrasil the bytes of UTF-8. Of 200 Cyrillic user ids
# about half are answered differently, none of 200 ASCII ones. A group id beyond ASCII deals everybody anew.
# Output:
#   ascii ids: 0 of 200 differ
#   cyrillic ids: 91 of 200 differ
#   ascii ids in a group beyond ascii: 101 of 200 differ
set -eu

# `ask DOCUMENT CHECK`: DOCUMENT is a module with `features` and `asks` ([name, context]); CHECK is Python that sees
# `both`, the answers of (unleash-client, yggdrasil-engine) in the order of `asks`.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
ask() {
    cd "$folder"
    npm install --silent --ignore-scripts --no-audit --no-fund unleash-client@6.12.1 >/dev/null
    python3 -m venv venv
    venv/bin/pip install --quiet --disable-pip-version-check yggdrasil-engine==2.0.0
    printf '%s\n' "$1" >document.js
    cat >node.js <<'JS'
const { InMemStorageProvider, Unleash } = require('unleash-client');
const { features, asks } = require('./document.js');
const client = new Unleash({
  url: 'http://127.0.0.1:9/', appName: 'a', refreshInterval: 0, disableMetrics: true,
  storageProvider: new InMemStorageProvider(), bootstrap: { data: features },
});
client.on('error', () => {});
client.on('warn', () => {});
client.once('synchronized', () => {
  const node = asks.map(([name, context]) => client.isEnabled(name, context));
  console.log(JSON.stringify({ features, asks, node }));
  client.destroy();
});
JS
    node node.js >answers.json
    cat >check.py <<'PY'
import json, sys
from yggdrasil_engine.engine import UnleashEngine

given = json.load(open("answers.json"))
engine = UnleashEngine()
engine.take_state(json.dumps({"version": 2, "features": given["features"], "segments": []}))
engines = [engine.check_enabled(name, {"appName": "a", **context}).is_enabled for name, context in given["asks"]]
both = list(zip(given["node"], engines, strict=True))
PY
    printf '%s\n' "$2" >>check.py
    venv/bin/python check.py
}

ask '
const rollout = (groupId) => [{ name: "flexibleRollout", constraints: [], parameters: { rollout: "50", stickiness: "userId", groupId } }];
const feature = (name, groupId) => ({ name, type: "release", enabled: true, strategies: rollout(groupId) });
const numbers = [...Array(200).keys()];
module.exports = {
  features: [feature("plain", "group"), feature("umlaut", "größe")],
  asks: [
    ...numbers.map((n) => ["plain", { userId: `user-${n}` }]),
    ...numbers.map((n) => ["plain", { userId: `жанна-${n}` }]),
    ...numbers.map((n) => ["umlaut", { userId: `user-${n}` }]),
  ],
};' '
def differ(part):
    return sum(node != engine for node, engine in part)
print(f"ascii ids: {differ(both[:200])} of 200 differ")
print(f"cyrillic ids: {differ(both[200:400])} of 200 differ")
print(f"ascii ids in a group beyond ascii: {differ(both[400:])} of 200 differ")
sys.exit(not (differ(both[:200]) == 0 < min(differ(both[200:400]), differ(both[400:]))))
'
