"""Rows by the million, made by the database itself: no row passes a client, as with `COPY` each one would."""

from importlib import import_module
from typing import Any


def is_postgresql() -> bool:
    from django.db import connection

    return connection.vendor == "postgresql"


def ago(seconds: str) -> str:
    """The time so many seconds before now, as SQL."""
    if is_postgresql():
        return f"now() - ({seconds}) * interval '1 second'"
    return f"strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', (-({seconds})) || ' seconds')"


def key(number: str) -> str:
    text = f"lpad(to_hex({number}), 32, '0')" if is_postgresql() else f"printf('%%032x', {number})"
    return f"({text})::uuid" if is_postgresql() else text


def chosen(number: str, *words: str) -> str:
    """One of the words, going round."""
    cases = " ".join(f"WHEN {at} THEN '{word}'" for at, word in enumerate(words))
    return f"CASE ({number}) %% {len(words)} {cases} END"


def insert(model: Any, count: int, /, **given: str) -> None:
    """`count` rows; `given` are SQL expressions of `i`, other columns take the default of their field."""
    from django.db import connection, models

    names, values, params = [], [], []
    for column in model._meta.concrete_fields:
        if column.name in given:
            names.append(column.column)
            values.append(given[column.name])
        elif not isinstance(column, models.AutoField):
            default = column.get_default() if column.has_default() else None
            if default is None and not column.null:
                default = False if isinstance(column, models.BooleanField) else ""
            names.append(column.column)
            values.append("%s")
            params.append(column.get_db_prep_save(default, connection))
    quoted = ", ".join(f'"{name}"' for name in names)
    sql = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
        f'INSERT INTO "{model._meta.db_table}" ({quoted}) SELECT {", ".join(values)} FROM n'
    )
    statement(sql, params)


def statement(sql: str, params: Any = None) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def fill(people: int, flags: int) -> None:
    """As many people, messages and audit events, a session and a notification for each fifth of them, the flags with a
    week of use by the hour."""
    from django.utils import timezone

    from feature_flags.models import FeatureFlag, FlagSeen, FlagUsage
    from notifications.models import Attempt, InAppNotification, Message
    from users.models import AuditEvent, User, UserSession

    first = chosen("i", "Ada", "Grace", "Ilva", "Rosa", "Chidi", "Mei", "Noor")
    last = chosen("i / 7", "Lovelace", "Hopper", "Okafor", "Nguyen", "Li", "Ito", "Berg", "Silva", "Kowalska")
    if is_postgresql():
        # A row at a time the index of the search takes as long as all the rest.
        statement("ALTER TABLE users_user DISABLE TRIGGER USER")
        statement("DROP INDEX user_search_text")
    insert(
        User,
        people,
        id=key("i"),
        email=f"lower({first}) || '.' || lower({last}) || i || '@' || {chosen('i', 'example.org', 'example.net')}",
        first_name=first,
        last_name=last,
        created_at=ago("i * 30"),
        updated_at=ago("i * 30"),
        email_verified_at=ago("i * 30"),
        last_login=ago("i"),
    )
    if is_postgresql():
        search = import_module("users.migrations.0009_user_search")
        statement(search.POSTGRESQL[3])
        statement(search.INDEX)
        statement("ALTER TABLE users_user ENABLE TRIGGER USER")
    insert(UserSession, people // 5, id=key("i"), user=key("i * 5"), created_at=ago("i"), expires_at=ago("i - 2000000"))
    insert(
        AuditEvent,
        people,
        at=ago(f"{people} - i"),
        event=chosen("i", "login.ok", "login.ok", "login.failed", "user.registered"),
        outcome=chosen("i", "ok", "ok", "failed", "ok"),
        user_id=key("i"),
        actor=f"replace(cast({key('i')} as text), '-', '')",
        door="'api'",
        data="'{}'",
    )
    done = f"{people} - i > 50"
    insert(
        Message,
        people,
        uid=key("i"),
        type=chosen("i", "users.welcome", "users.new_sign_in"),
        category=chosen("i", "account", "security"),
        language="'en'",
        context='\'{"first_name": "Ada"}\'',
        user=key("i"),
        to_address="'person' || i || '@example.org'",
        message_id="'<' || i || '@example.org>'",
        created_at=ago(f"{people} - i"),
        state=f"CASE WHEN {done} THEN {chosen('i', *['sent'] * 49, 'failed')} ELSE 'queued' END",
        priority="5",
        due_at=f"CASE WHEN {done} THEN NULL ELSE {ago('0')} END",
        expires_at=ago(f"{people} - i - 3600"),
        max_attempts="8",
        attempts=f"CASE WHEN {done} THEN 1 ELSE 0 END",
        finished_at=f"CASE WHEN {done} THEN {ago(f'{people} - i')} END",
    )
    insert(
        Attempt,
        people // 5,
        message="i * 5",
        n="1",
        worker="'w'",
        created_at=ago("i"),
        duration_ms="90",
        outcome="'accepted'",
    )
    insert(
        InAppNotification,
        people // 5,
        user=key("i"),
        type="'notifications.announcement'",
        category="'announcement'",
        title="'News ' || i",
        created_at=ago("i"),
    )
    now = timezone.now()
    rows = [FeatureFlag(codename=f"FF_{number:05}", is_active=number % 2 == 0) for number in range(flags)]
    FeatureFlag.objects.bulk_create(rows, batch_size=500)
    FlagSeen.objects.bulk_create(FlagSeen(codename=row.codename, last_seen_at=now) for row in rows[::2])
    name = "'FF_' || lpad(cast(i %% 5000 as text), 5, '0')" if is_postgresql() else "printf('FF_%%05d', i %% 5000)"
    hour = (
        "date_trunc('hour', now()) - (i / 5000) * interval '1 hour'"
        if is_postgresql()
        else "strftime('%%Y-%%m-%%d %%H:00:00', 'now', '-' || (i / 5000) || ' hours')"
    )
    insert(FlagUsage, flags * 168, codename=name, hour=hour, app_name="'web'", yes="i %% 100", no="7")
    statement("ANALYZE")


def age(people: int) -> int:
    """Fill the other tables that grow, and make a twentieth of every kind of row old enough for the job that ends it;
    return how many that is."""
    from django.contrib.admin.models import LogEntry
    from django.contrib.contenttypes.models import ContentType
    from django.contrib.sessions.models import Session

    from lib import encryption
    from notifications import models as mail
    from users import models as users

    over = people // 20

    def aged(days: int, rest: str = "i") -> str:
        """So many days ago for the first ones, lately for the others."""
        return ago(f"CASE WHEN i <= {over} THEN {days * 86400} + {over} - i ELSE {rest} END")

    def binary(number: str) -> str:
        text = f"lpad(to_hex({number}), 64, '0')" if is_postgresql() else f"printf('%%064x', {number})"
        return f"decode({text}, 'hex')" if is_postgresql() else f"CAST({text} AS BLOB)"

    def milliseconds(seconds: str) -> str:
        now = "extract(epoch FROM now())::bigint" if is_postgresql() else "CAST(strftime('%%s', 'now') AS INTEGER)"
        return f"({now} + {seconds}) * 1000"

    reset = f"CASE WHEN i <= {over} THEN -i ELSE 3600 END"
    insert(
        users.OneTimeToken,
        people,
        id=key("i"),
        user=key("i"),
        purpose="'reset'",
        key_id="'x'",
        payload="'{}'",
        expires_at=aged(2, "-i"),
    )
    insert(
        users.RateBucket,
        people,
        key=binary("i"),
        scope="'login'",
        count="1",
        reset_at=milliseconds(reset),
        **dict.fromkeys(("blocked_until", "max_count", "pause", "doublings", "at"), "0"),
    )
    insert(
        users.RefreshToken,
        people,
        hash=binary("i"),
        session=key(f"1 + i %% {people // 5}"),
        created_at=aged(60),
    )
    insert(
        users.MfaDevice,
        people,
        id=key("i"),
        user=key("i"),
        kind="'totp'",
        secret=f"CASE WHEN i <= {over} THEN '{encryption.encrypt('JBSWY3DPEHPK3PXP')}' ELSE '' END",
        created_at=aged(2),
        confirmed_at=f"CASE WHEN i > {over} THEN {ago('i')} END",
        transports="'[]'",
    )
    insert(
        users.ApiKey,
        over,
        id=key("i"),
        user=key(f"{people} - i"),
        name="'job'",
        prefix="'sb_'",
        hash=binary("i"),
        scopes="'inbox'",
        created_at=aged(200),
        expires_at=aged(100),
    )
    insert(users.GivenAnswer, over, key=binary("i"), body_hash=binary("i"), created_at=aged(2))
    insert(users.Registration, over, id=key("i"), user=key(f"{over} + i"), password="'x'", created_at=aged(40))
    insert(
        users.AuditEvent,
        over,
        at=aged(500),
        event="'login.ok'",
        user_id=key(f"{people} - i"),
        door="'api'",
        data="'{}'",
    )
    insert(Session, people, session_key="'k' || i", session_data="'x'", expire_date=aged(2, "-i"))
    insert(
        LogEntry,
        people,
        user=key(str(people)),
        content_type=str(ContentType.objects.get_for_model(users.User).pk),
        object_id=f"cast({key('i')} as text)",
        object_repr="'someone@example.org'",
        action_flag="2",
    )
    insert(
        mail.InAppNotification,
        people,
        user=key("i"),
        type="'notifications.announcement'",
        category="'announcement'",
        title="'News'",
        data="'{}'",
        created_at=aged(200),
        read_at=f"CASE WHEN i <= {over} THEN {ago('8640000 + i')} END",
    )
    insert(
        mail.DeliveryEvent,
        people,
        provider="'p'",
        event_id="'e' || i",
        message="i",
        kind="'delivered'",
        recipient="'person' || i || '@example.org'",
        at=aged(200),
        received_at=aged(200),
    )
    insert(
        mail.Suppression,
        people,
        address="'gone' || i || '@example.org'",
        scope="'all'",
        reason="'bounce'",
        expires_at=f"CASE WHEN i <= {over} THEN {ago('i')} END",
    )
    insert(mail.Preference, people, user=key("i"), category="'product'", channel="'email'", enabled="true")
    insert(mail.WebhookEndpoint, 1, name="'crm'", url="'https://example.org/'", events="'[\"user.deleted\"]'")
    insert(
        mail.WebhookDelivery,
        people,
        uid=key("i"),
        endpoint=f"(SELECT min(id) FROM {mail.WebhookEndpoint._meta.db_table})",
        event="'user.updated'",
        subject="'user:' || i",
        body="'{}'",
        created_at=aged(100),
        state=f"CASE WHEN i > {people - over} THEN 'queued' ELSE 'delivered' END",
        due_at=f"CASE WHEN i > {people - over} THEN {ago('0')} END",
        expires_at=ago("-86400"),
    )

    def change(model: Any, setting: str, number: int, rows: int = over) -> None:
        """Of the number-th twentieth of the rows."""
        first, last = str(number * over), str(number * over + rows)
        if model is users.User:
            first, last = key(first), key(last)
        which = f"id > {first} AND id <= {last}"
        statement(f"UPDATE {model._meta.db_table} SET {setting} WHERE {which}".replace("%%", "%"))

    # Of people: those who asked to be deleted, and those who never verified. Of messages: old ones, contexts, waiting.
    inactive = f"is_active = false, deactivated_at = {ago('2592000')}, deactivated_reason = 'x'"
    change(users.User, f"{inactive}, delete_after_at = {ago('60')}", 0)
    unverified = "created_by = 'register', email_verified_at = NULL, password_changed_at = NULL"
    change(users.User, f"{unverified}, created_at = {ago('8640000')}", 1)
    change(mail.Message, f"state = 'sent', due_at = NULL, finished_at = {ago('8640000')}", 2)
    change(mail.Message, f"state = 'sent', due_at = NULL, finished_at = {ago('3456000')}", 3)
    later = f"expires_at = {ago('-864000')}, finished_at = NULL"
    change(mail.Message, f"state = 'queued', due_at = {ago('-3600')}, {later}", 4)
    failed = f"state = 'failed', due_at = NULL, type = 'users.welcome', finished_at = {ago('9')}"
    change(mail.Message, failed, 5, rows=over // 10)
    statement("ANALYZE")
    return over
