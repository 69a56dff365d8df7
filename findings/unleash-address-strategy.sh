#!/bin/sh
# The strategy remoteAddress knows networks of IPv4 alone in unleash-client; the operator IN_CIDR beside it knows both.
#
# Versions: unleash-client 6.12.1 (npm), yggdrasil-engine 2.0.0 (PyPI); Node 20, Python 3.11.
# One guesses: the strategy and the operator of one SDK look at the address in one way, as they do in yggdrasil, so that
# an office with IPv6 may be written in either.
# Seen: an IPv6 address is let in by the strategy only where it is written letter for letter as it comes; a network, or
# the same address in capitals, lets nobody in, without a warning. A flag "for the office" works for those of its people
# whom the proxy reports with IPv4.
# Output (unleash-client, yggdrasil):
#   strategy 2001:db8::/32 for 2001:db8::5: False True
#   strategy 2001:DB8::5 for 2001:db8::5: False True
#   strategy 2001:db8::5 for 2001:db8::5: True True
#   strategy 10.0.0.0/8 for 10.0.0.5: True True
#   IN_CIDR 2001:db8::/32 for 2001:db8::5: True True
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
const strategy = (ips) => ({ name: "remoteAddress", parameters: { IPs: ips }, constraints: [] });
const operator = (network) => ({
  name: "default", parameters: {}, constraints: [{ contextName: "remoteAddress", operator: "IN_CIDR", values: [network] }],
});
const feature = (name, made) => ({ name, type: "release", enabled: true, strategies: [made] });
const networks = ["2001:db8::/32", "2001:DB8::5", "2001:db8::5", "10.0.0.0/8"];
module.exports = {
  features: [
    ...networks.map((network) => feature(`strategy ${network}`, strategy(network))),
    feature(`IN_CIDR ${networks[0]}`, operator(networks[0])),
  ],
  asks: [
    ...networks.map((network) => [`strategy ${network}`, { remoteAddress: network.startsWith("10") ? "10.0.0.5" : "2001:db8::5" }]),
    [`IN_CIDR ${networks[0]}`, { remoteAddress: "2001:db8::5" }],
  ],
};' '
for (name, context), (node, engine) in zip(given["asks"], both, strict=True):
    print(name, "for", context["remoteAddress"] + ":", node, engine)
sys.exit(both != [(False, True), (False, True), (True, True), (True, True), (True, True)])
'
