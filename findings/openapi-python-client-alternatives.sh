#!/bin/sh
# openapi-python-client 0.29.1: what three plain ways to say "or" in an OpenAPI 3.1 document become. All are valid.
#
#   properties beside anyOf (alternatives that only narrow them)       the properties are gone: the models of the
#                                                                      alternatives have what these name, and no more
#   an open object, written out, within an alternative of anyOf        the alternative is dropped, and the function of the
#                                                                      operation imports its model all the same
#   a body that may be left out: anyOf of a shape and null             called without a body, the function raises
#                                                                      TypeError: its own placeholder is no JSON
#
# The guesses that failed: that a warning ("some pieces may be missing") is all that comes of an unsupported piece, and that
# a client which is generated and passes mypy --strict can be called. What works: alternatives that are whole, shapes that
# are referred to by name, and `required: false` with the bare shape for a body that may be left out.
#
# Prints one line for each. Exits 1 when the generator does otherwise.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check "openapi-python-client==0.29.1" 2>/dev/null
cat > "$dir/make.py" <<'PYTHON'
import json
import sys

TEXT = {"type": "string"}
OPEN = {"type": "object", "title": "Answer", "additionalProperties": True}
NARROWED = {
    "type": "object",
    "properties": {"token": TEXT, "method": TEXT, "code": TEXT},
    "required": ["token", "method"],
    "anyOf": [
        {"title": "ByCode", "properties": {"method": {"enum": ["code"]}}, "required": ["code"]},
        {"title": "ByLink", "properties": {"method": {"enum": ["link"]}}},
    ],
}
WHOLE = {
    "anyOf": [
        {"type": "object", "title": "Plain", "properties": {"code": TEXT}, "required": ["code"]},
        {"type": "object", "title": "ByKey", "properties": {"key": TEXT, "answer": OPEN}, "required": ["key"]},
    ]
}
REASON = {"type": "object", "properties": {"reason": TEXT}}


def operation(name, schema, required=True):
    body = {"required": required, "content": {"application/json": {"schema": schema}}}
    return {"post": {"operationId": name, "tags": ["all"], "requestBody": body, "responses": {"204": {"description": ""}}}}


OPTIONAL = {"anyOf": [{"$ref": "#/components/schemas/Reason"}, {"type": "null"}]}
document = {
    "openapi": "3.1.0",
    "info": {"title": "Or", "version": "1"},
    "paths": {
        "/narrowed": operation("narrowed", {"$ref": "#/components/schemas/Narrowed"}),
        "/whole": operation("whole", {"$ref": "#/components/schemas/Whole"}),
        "/optional": operation("optional", OPTIONAL, required=False),
    },
    "components": {"schemas": {"Narrowed": NARROWED, "Whole": WHOLE, "Reason": REASON}},
}
json.dump(document, open(sys.argv[1], "w"))
PYTHON
cat > "$dir/check.py" <<'PYTHON'
import importlib
import sys

from made import Client, models

client = Client(base_url="http://127.0.0.1:9")
lost = {"token"} - set(models.ByCode.__annotations__)
try:
    importlib.import_module("made.api.all_.whole")
    missing = ""
except ModuleNotFoundError as gone:
    missing = gone.name
optional = importlib.import_module("made.api.all_.optional")
try:
    optional.sync_detailed(client=client)
    error = ""
except Exception as raised:
    error = type(raised).__name__
print("properties beside anyOf:", "gone" if lost else "kept")
print("an open object within an alternative:", f"no {missing}" if missing else "imported")
print("a body that may be left out:", error)
sys.exit((bool(lost), missing, error) != (True, "made.models.by_key", "TypeError"))
PYTHON
"$dir/venv/bin/python" "$dir/make.py" "$dir/or.json"
cd "$dir"
PATH="$dir/venv/bin:$PATH" "$dir/venv/bin/openapi-python-client" generate --path or.json --meta none --output-path made >/dev/null 2>&1 || true
"$dir/venv/bin/python" check.py
