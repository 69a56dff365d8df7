"""The triggers that keep the audit trail as it was written, in the words of each database."""

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

_NO_UPDATE = """
CREATE TRIGGER users_auditevent_no_update BEFORE UPDATE ON users_auditevent
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
"""
SQLITE_NO_DELETE = """
CREATE TRIGGER users_auditevent_no_delete BEFORE DELETE ON users_auditevent
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
"""
SQLITE_ALLOW_DELETE = "DROP TRIGGER IF EXISTS users_auditevent_no_delete"
SQLITE = (_NO_UPDATE, SQLITE_NO_DELETE)
SQLITE_DROP = ("DROP TRIGGER IF EXISTS users_auditevent_no_update", SQLITE_ALLOW_DELETE)

CREATE = {"postgresql": POSTGRESQL, "sqlite": SQLITE}
DROP = {"postgresql": POSTGRESQL_DROP, "sqlite": SQLITE_DROP}
