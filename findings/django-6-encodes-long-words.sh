#!/bin/sh
# Django 6.1: a header with a word longer than a line leaves as encoded words; up to 5.2 it left as it was written.
#
# Versions: Django 5.2.19 and 6.1.3 on one and the same Python, 3.12 or 3.13 (one is looked for, or named by PYTHON);
# read by mailparser 3.14.2 (npm; Node 20). Code, settings and mail are the same, and so is what
# mail.message()["List-Unsubscribe"] says in a test.
# One guesses: Django 6.0 moved to Python's modern email API, so other types come out of message(); headers that are ASCII
# stay as they are, or are folded elsewhere.
# Seen: an address with a signed token is longer than 77 characters, and mails of that kind lose their one-click button:
# RFC 2047 (5) allows encoded words in texts and comments, not within <...>, where a reader looks for the address. JSON
# in a header for the mail provider fares alike. A long Message-ID is spared.
# Output (the start of the header on the wire, and what mailparser finds in List-Unsubscribe):
#   5.2.19  <https://example.org/stop?token=eyJJJ   {"order":"77777777777   <...   an address
#   6.1.3   =?utf-8?q?=3Chttps=3A//example=2Eorg/   =?utf-8?q?=7B=22order   <...   no address
set -eu
for python in "${PYTHON:-python3}" python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[23].*/bin/python; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
    python=
done
[ -n "$python" ] || { echo "Django 6.1 needs Python 3.12: set PYTHON"; exit 2; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --ignore-scripts --no-audit --no-fund mailparser@3.14.2 >/dev/null
cat > read.js <<'JS'
require('mailparser').simpleParser(require('fs').readFileSync(0)).then((mail) => {
  console.log(mail.headers.get('list').unsubscribe.url ? 'an address' : 'no address');
});
JS
cat > probe.py <<'PYTHON'
import subprocess
import sys

import django
from django.conf import settings

settings.configure()
django.setup()
from django.core.mail import EmailMessage

headers = {
    "List-Unsubscribe": f"<https://example.org/stop?token=ey{'J' * 80}>",
    "X-Variables": f'{{"order":"{"7" * 80}"}}',
    "Message-ID": f"<{'m' * 80}@example.org>",
}
mail = EmailMessage("Subject", "Text", "us@example.org", ["ada@example.org"], headers=headers).message()
assert {name: mail[name] for name in headers} == headers
data = mail.as_bytes()
text = data.decode("ascii").replace("\n ", " ")
address, variables, message_id = (text.split(f"\n{name}:")[1].split("\n")[0].strip() for name in headers)
found = subprocess.run(["node", "read.js"], input=data, capture_output=True, check=True).stdout.decode().strip()
print(f"{django.__version__:7} {address[:37]}   {variables[:21]}   {message_id[:1]}...   {found}")
new = sys.argv[1].startswith("6")
encoded = [value.startswith("=?utf-8?q?") for value in (address, variables, message_id)]
sys.exit((encoded, found) != ([new, new, False], "no address" if new else "an address"))
PYTHON
for version in 5.2.19 6.1.3; do
    "$python" -m venv "$version"
    "$version/bin/pip" install --quiet --disable-pip-version-check "django==$version"
    "$version/bin/python" probe.py "$version"
done
