#!/bin/sh
# DATE_AFTER and DATE_BEFORE look at the constraint's own field in yggdrasil, and always at currentTime in unleash-client.
#
# Versions: unleash-client 6.12.1 (npm), yggdrasil-engine 2.0.0 (PyPI); Node 20, Python 3.11.
# One guesses: a constraint { contextName: "registeredAt", operator: "DATE_AFTER", value } compares registeredAt, as
# every other operator compares the field that it names.
# Seen: unleash-client never reads contextName here. A customer of 2020 counts as registered after 2024, because today
# is after 2024; a DATE_BEFORE lets nobody in. No warning in either engine.
# Output (unleash-client, yggdrasil):
#   registered 2020, DATE_AFTER 2024: True False
#   registered 2025, DATE_AFTER 2024: True True
#   registered 2020, DATE_BEFORE 2024: False True
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
const feature = (operator) => ({
  name: operator, type: "release", enabled: true,
  strategies: [{ name: "default", parameters: {}, constraints: [{ contextName: "registeredAt", operator, values: [], value: "2024-01-01T00:00:00.000Z" }] }],
});
const registered = (year) => ({ properties: { registeredAt: `${year}-06-01T00:00:00.000Z` } });
module.exports = {
  features: [feature("DATE_AFTER"), feature("DATE_BEFORE")],
  asks: [["DATE_AFTER", registered(2020)], ["DATE_AFTER", registered(2025)], ["DATE_BEFORE", registered(2020)]],
};' '
for (name, context), (node, engine) in zip(given["asks"], both, strict=True):
    print("registered", context["properties"]["registeredAt"][:4] + ",", name, "2024:", node, engine)
sys.exit(both != [(True, False), (True, True), (False, True)])
'
