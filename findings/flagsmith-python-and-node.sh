#!/bin/sh
# Flagsmith, evaluated locally: of seven plain conditions the Python and the Node SDK decide six differently.
#
# Versions: flagsmith 6.3.0 with flagsmith-flag-engine 11.1.1 (PyPI; Python 3.11), flagsmith-nodejs 8.1.2 (npm; Node 20).
# Both read one environment document through their own LocalFileHandler and answer for one identity with its traits.
# One guesses: the engines are tested with one suite of documents, so a segment holds the same people whatever language
# the service is in; what is left are patterns that only one kind of regular expression has.
# Seen: a number 0 is in "0,1" and leaves the remainder 1 with -1 % 2 in Python alone. A number is different from a text
# in Node alone. A percentage by trait takes the name of the trait in Python, and nobody in Node, at 100 % too; with the
# path $.identity.traits.company both take it. A pattern starts at the beginning in Python, anywhere in Node.
# Output (condition and trait; Node, Python):
#   seats IN "0,1", seats 0                            False  True
#   shift MODULO 2|1, shift -1                         False  True
#   seats NOT_EQUAL "none", seats 0                    True   False
#   100 % by company                                   False  True
#   100 % by $.identity.traits.company                 True   True
#   note CONTAINS "", note ""                          False  True
#   email REGEX "example", ada@example.org             True   False
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --ignore-scripts --no-audit --no-fund flagsmith-nodejs@8.1.2 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check flagsmith==6.3.0 flagsmith-flag-engine==11.1.1
cat > make.py <<'PYTHON'
import json

TRAITS = {"seats": 0, "shift": -1, "company": "acme", "note": "", "email": "ada@example.org"}
CONDITIONS = {
    'seats IN "0,1", seats 0': ("IN", "seats", "0,1"),
    "shift MODULO 2|1, shift -1": ("MODULO", "shift", "2|1"),
    'seats NOT_EQUAL "none", seats 0': ("NOT_EQUAL", "seats", "none"),
    "100 % by company": ("PERCENTAGE_SPLIT", "company", "100"),
    "100 % by $.identity.traits.company": ("PERCENTAGE_SPLIT", "$.identity.traits.company", "100"),
    'note CONTAINS "", note ""': ("CONTAINS", "note", ""),
    'email REGEX "example", ada@example.org': ("REGEX", "email", "example"),
}


def state(feature, enabled):
    return {
        "feature": feature,
        "enabled": enabled,
        "feature_state_value": None,
        "featurestate_uuid": f"00000000-0000-4000-8000-{feature['id']:012}",
        "multivariate_feature_state_values": [],
    }


def segment(feature, condition):
    fields = dict(zip(("operator", "property_", "value"), condition, strict=True))
    rules = [{"type": "ALL", "rules": [], "conditions": [fields]}]
    return {"id": feature["id"], "name": feature["name"], "rules": rules, "feature_states": [state(feature, True)]}


features = [{"id": number, "name": name, "type": "STANDARD"} for number, name in enumerate(CONDITIONS, 1)]
organisation = {
    "id": 1,
    "name": "o",
    "feature_analytics": False,
    "stop_serving_flags": False,
    "persist_trait_data": True,
}
project = {
    "id": 1,
    "name": "p",
    "organisation": organisation,
    "hide_disabled_flags": False,
    "segments": [segment(feature, CONDITIONS[feature["name"]]) for feature in features],
}
environment = {
    "id": 1,
    "name": "production",
    "api_key": "key",
    "updated_at": "2026-01-01T00:00:00+00:00",
    "project": project,
    "feature_states": [state(feature, False) for feature in features],
    "identity_overrides": [],
}
json.dump(environment, open("environment.json", "w"))
json.dump({"traits": TRAITS, "names": list(CONDITIONS)}, open("given.json", "w"))
PYTHON
cat > node.js <<'JS'
const { Flagsmith, LocalFileHandler } = require('flagsmith-nodejs');
const { traits, names } = require('./given.json');
(async () => {
  const sdk = new Flagsmith({ offlineMode: true, offlineHandler: new LocalFileHandler('environment.json') });
  const flags = await sdk.getIdentityFlags('7', traits);
  console.log(JSON.stringify(names.map((name) => flags.isFeatureEnabled(name))));
})();
JS
cat > check.py <<'PYTHON'
import json
import sys

from flagsmith import Flagsmith
from flagsmith.offline_handlers import LocalFileHandler

given = json.load(open("given.json"))
sdk = Flagsmith(offline_mode=True, offline_handler=LocalFileHandler("environment.json"))
flags = sdk.get_identity_flags("7", given["traits"])
seen = [(node, flags.is_feature_enabled(name)) for name, node in zip(given["names"], json.load(sys.stdin), strict=True)]
for name, (node, python) in zip(given["names"], seen, strict=True):
    print(f"{name:50} {node!s:6} {python}")
python_only, node_only = (False, True), (True, False)
sys.exit(seen != [python_only, python_only, node_only, python_only, (True, True), python_only, node_only])
PYTHON
venv/bin/python make.py
node node.js | venv/bin/python check.py
