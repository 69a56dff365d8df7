#!/bin/sh
# Django 6.1: the text of a TemplateSyntaxError begins with the name of the template's origin, but not with its name.
#
# An editor of templates shows staff what is wrong, and words some messages anew, told apart by how they begin
# ("Invalid filter: ..."). Up to Django 6.0 the text of the error is the message alone. In 6.1 it is "Template: ORIGIN, "
# and then the message, where the template was made with an origin, as each template of a loader is; a template made of a
# string has no prefix, and neither has one that got a `name` alone. So a test with Template("...") sees no change, and the
# page that compiles the stored text with an Origin does.
#
# Seen (python 3.13):
#   django 5.2.19: plain "Invalid filter: 'nope'", with a name the same, with an origin the same
#   django 6.1.3:  plain "Invalid filter: 'nope'", with a name the same, with an origin "Template: mail.txt, Invalid filter: 'nope'"
set -eu
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' || { echo "Django 6.1 needs Python 3.12: set PYTHON"; exit 2; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat > "$dir/probe.py" <<'PY'
import sys

import django
from django.conf import settings

settings.configure()
django.setup()
from django.template import Engine, Origin, Template, TemplateSyntaxError

seen = []
for options in ({}, {"name": "mail.txt"}, {"origin": Origin("mail.txt", "mail.txt")}):
    try:
        Template("{{ first_name|nope }}", engine=Engine(), **options)
    except TemplateSyntaxError as error:
        seen.append(str(error))
print(django.__version__, seen)
prefix = "Template: mail.txt, " if sys.argv[1] == "6.1" else ""
assert seen == ["Invalid filter: 'nope'"] * 2 + [f"{prefix}Invalid filter: 'nope'"], seen
PY
for version in 5.2.19 6.1.3; do
    "$python" -m venv "$dir/$version"
    "$dir/$version/bin/pip" install -q --disable-pip-version-check "django==$version"
    "$dir/$version/bin/python" "$dir/probe.py" "${version%.*}"
done
