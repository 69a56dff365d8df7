"""The audit trail takes rows and gives none back: triggers refuse UPDATE and DELETE."""

from django.db import migrations

POSTGRESQL = (
    """
    CREATE OR REPLACE FUNCTION users_auditevent_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('switchboard.purge', true) = 'on' THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER users_auditevent_append_only BEFORE UPDATE OR DELETE ON users_auditevent
    FOR EACH ROW EXECUTE FUNCTION users_auditevent_refuse()
    """,
)
POSTGRESQL_DROP = (
    "DROP TRIGGER IF EXISTS users_auditevent_append_only ON users_auditevent",
    "DROP FUNCTION IF EXISTS users_auditevent_refuse()",
)

SQLITE = (
    """
CREATE TRIGGER users_auditevent_no_update BEFORE UPDATE ON users_auditevent
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
""",
    """
CREATE TRIGGER users_auditevent_no_delete BEFORE DELETE ON users_auditevent
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
""",
)
SQLITE_DROP = (
    "DROP TRIGGER IF EXISTS users_auditevent_no_update",
    "DROP TRIGGER IF EXISTS users_auditevent_no_delete",
)

CREATE = {"postgresql": POSTGRESQL, "sqlite": SQLITE}
DROP = {"postgresql": POSTGRESQL_DROP, "sqlite": SQLITE_DROP}


def create(apps, schema_editor):
    for statement in CREATE[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


def drop(apps, schema_editor):
    for statement in DROP[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("users", "0003_audit_trail_and_factors")]
    operations = [migrations.RunPython(create, drop)]
