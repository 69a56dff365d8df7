#!/bin/sh
# Django 5.2.19, SQLite: adding a field to a model drops the triggers of its table, or keeps them, by the field.
#
#   AddField, nullable, no default            ALTER TABLE … ADD COLUMN     triggers: kept
#   AddField, NOT NULL with a default         table made anew and copied   triggers: gone, without a word
#   AddField, NOT NULL with a db_default      table made anew and copied   triggers: gone, without a word
#
# The guess that failed: that a trigger made by RunSQL in one migration outlives an AddField in a later one, as it does on
# PostgreSQL, or does so at least where the database itself has the default. Dropping the old table takes its triggers along; the schema editor makes indexes and constraints anew, and
# knows nothing of triggers. A full-text index or an append-only table that a trigger keeps stops being kept, and nothing fails.
#
# Prints one line for each, as above. Exits 1 when Django does otherwise.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check "Django==5.2.19"
cat > "$dir/check.py" <<'PYTHON'
import sys

import django
from django.conf import settings

settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()

from django.db import connection, migrations, models
from django.db.migrations.state import ModelState, ProjectState


def triggers_after(field):
    """The triggers of a table with one, once the field has been added."""
    state = ProjectState()
    columns = [("id", models.AutoField(primary_key=True)), ("name", models.CharField(max_length=9))]
    state.add_model(ModelState("shop", "Item", columns))
    with connection.schema_editor() as editor:
        editor.create_model(state.apps.get_model("shop", "Item"))
    with connection.cursor() as cursor:
        cursor.execute("CREATE TRIGGER kept AFTER INSERT ON shop_item BEGIN SELECT 1; END")
    before, operation = state.clone(), migrations.AddField("Item", "more", field)
    operation.state_forwards("shop", state)
    with connection.schema_editor() as editor:
        operation.database_forwards("shop", editor, before, state)
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        found = [name for (name,) in cursor.fetchall()]
        cursor.execute("DROP TABLE shop_item")
    return found


seen = {
    "nullable, no default": triggers_after(models.CharField(max_length=9, null=True)),
    "NOT NULL with a default": triggers_after(models.CharField(max_length=9, default="")),
    "NOT NULL with a db_default": triggers_after(models.CharField(max_length=9, db_default="")),
}
for name, triggers in seen.items():
    print(f"{name}: {'kept' if triggers else 'gone'}")
sys.exit([bool(triggers) for triggers in seen.values()] != [True, False, False])
PYTHON
"$dir/venv/bin/python" "$dir/check.py"
