#!/bin/sh
# OpenFeature: whom a request without a user is decided for, and whether an answer of another type comes through, by SDK.
#
# Versions: @openfeature/server-sdk 1.23.0 (npm; Node 20), openfeature-sdk 0.10.0 (PyPI; Python 3.11). The global context
# names a host as targeting key, as a default for jobs; each call brings what its session knows.
# One guesses: the context of the call is merged over the global one in one way, as the specification has it (3.2.3), and
# a key that is not known is not there. And: the typed call gives that type or the default (1.3.4).
# Seen: { targetingKey: session.user?.id } takes the host's key away in Node, and attributes too. In Python no call can
# get rid of it: None and "" both leave the host's, so that everybody without an account is decided, and counted, as that
# one host, in one and the same bucket. Node hands on whatever type the provider answers; Python gives the default.
# Output (what the call gives; what Node's provider gets, what Python's gets):
#   nothing                       host-1 eu    host-1 eu
#   key undefined or None         - eu         host-1 eu
#   key ""                        "" eu        host-1 eu
#   region undefined or None      host-1 -     host-1 -
#   a text from get number        "7"          5
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --ignore-scripts --no-audit --no-fund @openfeature/server-sdk@1.23.0 @openfeature/core@1.12.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check openfeature-sdk==0.10.0
cat > node.js <<'JS'
const { OpenFeature } = require('@openfeature/server-sdk');
const said = (value) => (value === undefined || value === null ? '-' : value === '' ? '""' : value);
let got;
const provider = {
  metadata: { name: 'probe' }, runsOn: 'server', hooks: [],
  resolveNumberEvaluation: async (key, fallback, context) => {
    got = `${said(context.targetingKey)} ${said(context.region)}`;
    return { value: '7' };
  },
};
(async () => {
  await OpenFeature.setProviderAndWait(provider);
  OpenFeature.setContext({ targetingKey: 'host-1', region: 'eu' });
  const client = OpenFeature.getClient();
  const seen = [];
  let value;
  for (const context of [{}, { targetingKey: undefined }, { targetingKey: '' }, { region: undefined }]) {
    value = await client.getNumberValue('flag', 5, context);
    seen.push(got);
  }
  console.log(JSON.stringify([...seen, JSON.stringify(value)]));
})();
JS
cat > check.py <<'PYTHON'
import json
import logging
import sys

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.provider import AbstractProvider, Metadata

logging.disable(logging.CRITICAL)
got = []


class Provider(AbstractProvider):
    def get_metadata(self):
        return Metadata("probe")

    def resolve_integer_details(self, flag_key, default_value, evaluation_context=None):
        context = evaluation_context
        got.append(f"{context.targeting_key or '-'} {context.attributes.get('region') or '-'}")
        return FlagResolutionDetails("7")

    resolve_boolean_details = resolve_string_details = resolve_integer_details
    resolve_float_details = resolve_object_details = resolve_integer_details


api.set_provider(Provider())
api.set_evaluation_context(EvaluationContext("host-1", {"region": "eu"}))
WAYS = {
    "nothing": EvaluationContext(),
    "key undefined or None": EvaluationContext(None),
    'key ""': EvaluationContext(""),
    "region undefined or None": EvaluationContext(attributes={"region": None}),
}
for context in WAYS.values():
    value = api.get_client().get_integer_value("flag", 5, context)
both = list(zip(json.load(sys.stdin), [*got, str(value)], strict=True))
for name, (node, python) in zip([*WAYS, "a text from get number"], both, strict=True):
    print(f"{name:29} {node:12} {python}")
here = "host-1 eu"
sys.exit(both != [(here, here), ("- eu", here), ('"" eu', here), ("host-1 -", "host-1 -"), ('"7"', "5")])
PYTHON
node node.js | venv/bin/python check.py
