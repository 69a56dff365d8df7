#!/bin/sh
# Django 6.1: a header with a word longer than a line leaves as encoded words; up to 5.2 it left as it was written.
#
# Versions: Django 5.2.19 and 6.1.3 on one and the same Python (3.12 or 3.13; as Django 6.1 needs 3.12, set PYTHON if
# python3 is older). Settings, code and mail are the same, and so is what mail.message()["List-Unsubscribe"] says in a test.
# One guesses: Django 6.0 moved to Python's modern email API, which the release notes call a change of types and of
# private names; the bytes of a mail whose headers are ASCII stay, or are folded elsewhere.
# Seen: an address with a signed token is longer than 77 characters, and every mail of that kind loses its one-click
# button: RFC 2047 (5) allows encoded words in texts and comments, not within <...>, and receivers look for the bracket.
# JSON in a header of a mail provider fares alike; Message-ID and References are spared.
# Output (the start of the header on the wire):
#   5.2.19  List-Unsubscribe: <https://example.org/stop?token=eyJJJ...   X-Variables: {"order":"77777777777...
#   6.1.3   List-Unsubscribe: =?utf-8?q?=3Chttps=3A//example=2Eorg/...   X-Variables: =?utf-8?q?=7B=22order...
set -eu
for python in "${PYTHON:-python3}" python3.14 python3.13 python3.12; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
    python=
done
[ -n "$python" ] || { echo "Django 6.1 needs Python 3.12: set PYTHON"; exit 2; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat > "$dir/probe.py" <<'PYTHON'
import sys

import django
from django.conf import settings

settings.configure()
django.setup()
from django.core.mail import EmailMessage

headers = {
    "List-Unsubscribe": f"<https://example.org/stop?token=ey{'J' * 80}>",
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    "X-Variables": f'{{"order":"{"7" * 80}"}}',
}
mail = EmailMessage("Subject", "Text", "us@example.org", ["ada@example.org"], headers=headers).message()
assert {name: mail[name] for name in headers} == headers
text = mail.as_bytes().decode("ascii").replace("\n ", " ")
wire = {name: text.split(f"\n{name}:")[1].split("\n")[0].strip() for name in headers}
address, variables = wire["List-Unsubscribe"], wire["X-Variables"]
print(f"{django.__version__:7} List-Unsubscribe: {address[:37]}...   X-Variables: {variables[:21]}...")
encoded = {name: value.startswith("=?utf-8?q?") for name, value in wire.items()}
new = sys.argv[1].startswith("6")
sys.exit(encoded != {"List-Unsubscribe": new, "List-Unsubscribe-Post": False, "X-Variables": new})
PYTHON
for version in 5.2.19 6.1.3; do
    "$python" -m venv "$dir/$version"
    "$dir/$version/bin/pip" install --quiet --disable-pip-version-check "django==$version"
    "$dir/$version/bin/python" "$dir/probe.py" "$version"
done
