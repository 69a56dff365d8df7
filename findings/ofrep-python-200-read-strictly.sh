#!/bin/sh
# openfeature-provider-ofrep 0.3.0 with openfeature-sdk 0.10.0 (Python): a good 200 comes out as the default value.
#
# OFREP's `evaluationSuccess` makes `reason` any text and `variant` optional, and JSON has one kind of number. For each
# answer the client asks for the flag and prints what it got, the error code it noted, and what the server said:
#
#   value false, no "variant"              True  GENERAL        the server said False
#   value false, no "reason"               True  GENERAL        the server said False
#   value false, reason "TARGETING_ON"     True  GENERAL        the server said False
#   10 to get_float_value                  0.5   TYPE_MISMATCH  the server said 10
#   10.0 to get_float_value                10.0  None           the server said 10.0
#   true to get_integer_value              True  None           the server said True
#
# The guess that failed: that a field the protocol leaves out may be left out, that 10 is a float to a client whose
# language takes it for one, and that a boolean is no integer. Nothing is raised: whoever does not look at the error code
# of the details goes on with the default. A server has to send a variant and one of the SDK's own reasons every time.
#
# Exits 1 when the client answers otherwise.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check openfeature-provider-ofrep==0.3.0 openfeature-sdk==0.10.0
cat > "$dir/check.py" <<'PYTHON'
import json
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider

logging.disable(logging.CRITICAL)
full = {"key": "f", "reason": "STATIC", "variant": "v"}
without = lambda name: {field: value for field, value in full.items() if field != name}
ASKED = [
    ('value false, no "variant"', "boolean", True, {**without("variant"), "value": False}, (True, "GENERAL")),
    ('value false, no "reason"', "boolean", True, {**without("reason"), "value": False}, (True, "GENERAL")),
    ('value false, reason "TARGETING_ON"', "boolean", True, {**full, "reason": "TARGETING_ON", "value": False}, (True, "GENERAL")),
    ("10 to get_float_value", "float", 0.5, {**full, "value": 10}, (0.5, "TYPE_MISMATCH")),
    ("10.0 to get_float_value", "float", 0.5, {**full, "value": 10.0}, (10.0, None)),
    ("true to get_integer_value", "integer", 7, {**full, "value": True}, (True, None)),
]


class Server(BaseHTTPRequestHandler):
    answer = {}

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(self.answer).encode()
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
surprised = False
for words, kind, default, answer, seen in ASKED:
    Server.answer = answer
    details = getattr(client, f"get_{kind}_details")("f", default)
    code = details.error_code.value if details.error_code else None
    print(f"{words:<38} {details.value!s:<5} {code!s:<14} the server said {answer['value']}")
    surprised |= (details.value, code) != seen or type(details.value) is not type(seen[0])
sys.exit(surprised)
PYTHON
"$dir/venv/bin/python" "$dir/check.py"
