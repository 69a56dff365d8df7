#!/bin/sh
# openfeature-provider-ofrep 0.3.0 (Python): a flag whose key has a `#` or a `?` is asked for as another flag.
#
# The key is joined to the address as it is. OpenFeature's keys are any text, so these are what a program may ask for;
# printed is the flag that the server was asked for, as it decodes the path:
#
#   release                release
#   release#beta           release
#   release?beta           release
#   release 100%25         release 100%
#
# The guess that failed: that a client percent-encodes a segment of a path. No error comes of it: the answer is that of a
# flag that exists. Keys are safe that have letters, digits, dots, hyphens and underscores alone.
#
# Exits 1 when the client asks otherwise.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check openfeature-provider-ofrep==0.3.0 openfeature-sdk==0.10.0
cat > "$dir/check.py" <<'PYTHON'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import unquote, urlsplit

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider

SEEN = {
    "release": "release",
    "release#beta": "release",
    "release?beta": "release",
    "release 100%25": "release 100%",
}
asked = []


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        asked.append(unquote(urlsplit(self.path).path).removeprefix("/ofrep/v1/evaluate/flags/"))
        body = json.dumps({"key": "f", "reason": "STATIC", "variant": "on", "value": True}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
api.set_provider(OFREPProvider(f"http://127.0.0.1:{server.server_port}"))
client = api.get_client()
for key in SEEN:
    client.get_boolean_value(key, False)
    print(f"{key:<22} {asked[-1]}")
sys.exit(asked != list(SEEN.values()))
PYTHON
"$dir/venv/bin/python" "$dir/check.py"
