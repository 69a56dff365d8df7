#!/bin/sh
# standardwebhooks 1.1.0 (Python): a signature made with an aware datetime of another zone than UTC fits no timestamp header.
#
# Versions: standardwebhooks 1.1.0 and svix 2.9.1, which uses it (PyPI; Python 3.11), standardwebhooks 1.1.1 (npm; Node 20).
# One guesses: sign(msg_id, timestamp, data) takes an aware datetime for the instant that it is, as everything in the
# standard library does, and the header to send with it is its int(timestamp.timestamp()).
# Seen: sign() keeps the wall clock and replaces the zone by UTC. In UTC nothing shows, and neither does it in tests of
# hosts that run in UTC; with Django's timezone.localtime() every delivery is refused, by either language's verify(), as
# "No matching signature found", which points at the secret. A naive datetime is taken for UTC, where its timestamp()
# takes it for local time, so that datetime.now() fails wherever the host has another zone.
# An empty body differs as well: correctly signed, verify() raises json's JSONDecodeError here, and returns in Node.
# Output (signed with the instant in a zone; verify() of Python, and of Node):
#   UTC                                         accepted                    accepted
#   Europe/Berlin, the same instant             No matching signature found No matching signature found
#   UTC, empty body                             JSONDecodeError             accepted
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --ignore-scripts --no-audit --no-fund standardwebhooks@1.1.1 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check standardwebhooks==1.1.0 svix==2.9.1 tzdata==2026.6
cat > node.js <<'JS'
const { Webhook } = require('standardwebhooks');
const { secret, deliveries } = JSON.parse(require('fs').readFileSync(0));
for (const { body, headers } of deliveries) {
  try {
    new Webhook(secret).verify(body, headers);
    console.log('accepted');
  } catch (error) {
    console.log(error.message);
  }
}
JS
cat > check.py <<'PYTHON'
import json
import subprocess
import sys
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import standardwebhooks
import svix.webhooks

SECRET = "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
now = datetime.now(UTC)
WAYS = [
    ("UTC", now, "{}"),
    ("Europe/Berlin, the same instant", now.astimezone(ZoneInfo("Europe/Berlin")), "{}"),
    ("UTC, empty body", now, ""),
]


def delivery(time, body):
    signature = standardwebhooks.Webhook(SECRET).sign("msg_1", time, body)
    assert signature == svix.webhooks.Webhook(SECRET).sign("msg_1", time, body)
    stamp = str(int(time.timestamp()))
    headers = {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": signature}
    return {"body": body, "headers": headers}


def verified(body, headers):
    try:
        standardwebhooks.Webhook(SECRET).verify(body, headers)
    except standardwebhooks.WebhookVerificationError as refused:
        return str(refused)
    except ValueError as error:
        return type(error).__name__
    return "accepted"


assert now == WAYS[1][1]
deliveries = [delivery(time, body) for _, time, body in WAYS]
asked = json.dumps({"secret": SECRET, "deliveries": deliveries})
node = subprocess.run(["node", "node.js"], input=asked, capture_output=True, text=True, check=True).stdout.splitlines()
seen = [(verified(**one), other) for one, other in zip(deliveries, node, strict=True)]
for (name, _, _), (python, other) in zip(WAYS, seen, strict=True):
    print(f"{name:43} {python:27} {other}")
refused = "No matching signature found"
sys.exit(seen != [("accepted", "accepted"), (refused, refused), ("JSONDecodeError", "accepted")])
PYTHON
venv/bin/python check.py
