#!/bin/sh
# A dependency that names variants, on a parent that is on without any: met in yggdrasil, not met in unleash-client.
#
# Versions: unleash-client 6.12.1 (npm), yggdrasil-engine 2.0.0 (PyPI); Node 20, Python 3.11.
# One guesses: { feature: "parent", variants: ["red"] } needs the parent to have chosen red; a parent that chose nothing
# has not. Or at least that both engines decide alike.
# Seen: yggdrasil has nothing to compare and lets the child be on; unleash-client compares its name for no variant,
# "disabled". With enabled: false the roles change: unleash-client does not look at variants then, yggdrasil does.
# Adding "disabled" to the list makes both say yes.
# Output (unleash-client, yggdrasil):
#   needs red: False True
#   needs red or disabled: True True
#   needs the coloured parent off, with red: True False
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
const always = [{ name: "default", parameters: {}, constraints: [] }];
const feature = (name, more) => ({ name, type: "release", enabled: true, strategies: always, ...more });
const child = (name, dependency) => feature(name, { dependencies: [dependency] });
module.exports = {
  features: [
    feature("parent"),
    feature("coloured", { enabled: false, variants: [{ name: "blue", weight: 1000, stickiness: "default" }] }),
    child("needs red", { feature: "parent", enabled: true, variants: ["red"] }),
    child("needs red or disabled", { feature: "parent", enabled: true, variants: ["red", "disabled"] }),
    child("needs the coloured parent off, with red", { feature: "coloured", enabled: false, variants: ["red"] }),
  ],
  asks: ["needs red", "needs red or disabled", "needs the coloured parent off, with red"].map((name) => [name, { userId: "7" }]),
};' '
for (name, _), (node, engine) in zip(given["asks"], both, strict=True):
    print(f"{name}: {node} {engine}")
sys.exit(both != [(False, True), (True, True), (True, False)])
'
