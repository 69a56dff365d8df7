"""Users are found by any part of their name and address, accents aside: a text for each, kept by triggers, and an index of
every three letters in it.

On PostgreSQL that needs the extension `pg_trgm`. Where the role may not create it no index is made: the search is right
all the same, and slow among many. docs/operating.md says how to make it later.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import DatabaseError, migrations, models, transaction

from lib import folding

TEXT = "' ' || {row}.first_name || ' ' || {row}.last_name || ' ' || {row}.email"
NAMES = ("first_name", "last_name", "email")
POSTGRESQL = (
    f"""
    CREATE FUNCTION users_usersearch_text(users_user) RETURNS text LANGUAGE sql IMMUTABLE AS $$
      SELECT CASE WHEN octet_length(text) = length(text) THEN lower(text) ELSE {folding.postgresql("text")} END
      FROM (SELECT {TEXT.format(row="$1")} AS text) AS given
    $$
    """,
    """
    CREATE FUNCTION users_usersearch_keep() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_OP = 'DELETE' THEN
        DELETE FROM users_usersearch WHERE user_id = OLD.id;
        RETURN NULL;
      END IF;
      INSERT INTO users_usersearch (user_id, text) VALUES (NEW.id, users_usersearch_text(NEW))
        ON CONFLICT (user_id) DO UPDATE SET text = excluded.text WHERE users_usersearch.text <> excluded.text;
      RETURN NULL;
    END $$
    """,
    f"""
    CREATE TRIGGER users_usersearch_keep AFTER INSERT OR DELETE OR UPDATE OF {", ".join(NAMES)} ON users_user
    FOR EACH ROW EXECUTE FUNCTION users_usersearch_keep()
    """,
    """
    INSERT INTO users_usersearch (user_id, text) SELECT id, users_usersearch_text(users_user) FROM users_user
    ORDER BY created_at ON CONFLICT (user_id) DO NOTHING
    """,
)
INDEX = "CREATE INDEX user_search_text ON users_usersearch USING gin (text gin_trgm_ops)"
POSTGRESQL_DROP = (
    "DROP TRIGGER users_usersearch_keep ON users_user",
    "DROP FUNCTION users_usersearch_keep()",
    "DROP FUNCTION users_usersearch_text(users_user)",
)

# A later migration that remakes one of the two tables drops its triggers, and has to make them again.
FOLDS = [f"UPDATE users_usersearch SET text = {text}" for text in folding.sqlite("text")]
KEEP = "\n".join(
    (
        f"INSERT INTO users_usersearch (user_id, text) VALUES (new.id, {TEXT.format(row='new')})",
        "  ON CONFLICT (user_id) DO UPDATE SET text = excluded.text;",
        *(f"{fold} WHERE user_id = new.id;" for fold in FOLDS),
        "DELETE FROM users_usersearch_index WHERE rowid = (SELECT id FROM users_usersearch WHERE user_id = new.id);",
        "INSERT INTO users_usersearch_index (rowid, text)",
        "  SELECT id, text FROM users_usersearch WHERE user_id = new.id;",
    )
)
SQLITE = (
    "CREATE VIRTUAL TABLE users_usersearch_index USING fts5(text, tokenize='trigram')",
    f"CREATE TRIGGER users_usersearch_insert AFTER INSERT ON users_user BEGIN {KEEP} END",
    f"""
    CREATE TRIGGER users_usersearch_update AFTER UPDATE ON users_user
    WHEN {" OR ".join(f"old.{name} <> new.{name}" for name in NAMES)} BEGIN {KEEP} END
    """,
    """
    CREATE TRIGGER users_usersearch_delete AFTER DELETE ON users_user
    BEGIN DELETE FROM users_usersearch WHERE user_id = old.id; END
    """,
    """
    CREATE TRIGGER users_usersearch_index_delete AFTER DELETE ON users_usersearch
    BEGIN DELETE FROM users_usersearch_index WHERE rowid = old.id; END
    """,
    f"""
    INSERT INTO users_usersearch (user_id, text)
    SELECT id, {TEXT.format(row="users_user")} FROM users_user ORDER BY created_at
    """,
    *(f"{fold} WHERE length(CAST(text AS blob)) <> length(text)" for fold in FOLDS),
    "INSERT INTO users_usersearch_index (rowid, text) SELECT id, text FROM users_usersearch",
)
SQLITE_DROP = (
    *(f"DROP TRIGGER users_usersearch_{event}" for event in ("insert", "update", "delete", "index_delete")),
    "DROP TABLE users_usersearch_index",
)


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        run(schema_editor, SQLITE)
        return
    run(schema_editor, POSTGRESQL)
    try:
        with transaction.atomic(schema_editor.connection.alias):
            run(schema_editor, ["CREATE EXTENSION IF NOT EXISTS pg_trgm", INDEX])
    except DatabaseError as error:
        print(f"\n  No index for the search of users, see docs/operating.md: {error}")


def drop(apps, schema_editor):
    run(schema_editor, SQLITE_DROP if schema_editor.connection.vendor == "sqlite" else POSTGRESQL_DROP)


def run(schema_editor, statements):
    for statement in statements:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("users", "0008_one_spelling_of_addresses")]
    operations = [
        migrations.CreateModel(
            name="UserSearch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.DO_NOTHING, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                ("text", models.TextField()),
            ],
        ),
        migrations.RunPython(create, drop),
    ]
