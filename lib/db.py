"""Queries in pieces, cursors of lists that grow, and values for SQL written by hand."""

from __future__ import annotations

import json
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import Model, Q, QuerySet
from django.utils.crypto import constant_time_compare, salted_hmac

from lib.errors import ProductError
from lib.text import whole_number

T = TypeVar("T")

#: Rows of one query, of one transaction, or values in one statement: databases take only so many.
SLICE = 500


def batches(items: Sequence[T], size: int = SLICE) -> Iterator[Sequence[T]]:
    """The items in order, at most `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def newest_first(rows: QuerySet[Any], *, by: str = "pk") -> Iterator[list[Any]]:
    """The rows in descending order of `by` and key, in lists of at most SLICE.

    Each list is a query of its own, so that neither memory nor a transaction grows with the rows.
    """
    ordered = rows.order_by(*dict.fromkeys((f"-{by}", "-pk")))
    found = list(ordered[:SLICE])
    while found:
        yield found
        if len(found) < SLICE:
            return
        last, value = found[-1].pk, getattr(found[-1], by)
        # The index answers the first condition; the second parts rows of one moment.
        after = Q(**{f"{by}__lte": value}) & (Q(**{f"{by}__lt": value}) | Q(pk__lt=last))
        found = list(ordered.filter(Q(pk__lt=last) if by == "pk" else after)[:SLICE])


def slices(rows: QuerySet[Any], *, by: str, size: int = 0) -> Iterator[list[Any]]:
    """The keys of the rows in the order of `by`, which has an index, in lists of at most `size`, or SLICE.

    For a caller that deletes or changes each before it asks for the next, which begins where that one ended.
    """
    left, before, size = rows.order_by(by), None, size or SLICE
    while found := list(left.values_list("pk", by)[:size]):
        if found == before:
            # Held by another, or back meanwhile: the next run finds them.
            return
        yield [pk for pk, _value in found]
        if len(found) < size:
            return
        before, left = found, rows.order_by(by).filter(**{f"{by}__gte": found[-1][1]})


def in_order(rows: QuerySet[Any], *names: str) -> Iterator[tuple[Any, ...]]:
    """These columns of the rows in the order of the first, which is unique and has an index, a query for each SLICE.

    For a caller that reads a big table to its end: a cursor of the database would hold one transaction open, or all of
    the rows.
    """
    ordered = rows.order_by(names[0]).values_list(*names)
    found = list(ordered[:SLICE])
    while found:
        yield from found
        found = list(ordered.filter(**{f"{names[0]}__gt": found[-1][0]})[:SLICE]) if len(found) == SLICE else []


def adapted(*values: Any) -> list[Any]:
    """The values as this database's driver takes them: datetimes and UUIDs change, all others stay."""
    return [_adapted(value) for value in values]


def _adapted(value: Any) -> Any:
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    if isinstance(value, uuid.UUID) and not connection.features.has_native_uuid_field:
        return value.hex
    return value


def insert_alike(pattern: Model, each: Sequence[Mapping[str, str]]) -> None:
    """Insert a row like `pattern` for each of these, which name the columns and texts that differ (UUIDs in hex); those
    that a unique constraint forbids are left out. One statement, in a fifteenth of the time of `bulk_create`."""
    if not each:
        return
    quoted = connection.ops.quote_name
    fields = {str(field.column): field for field in pattern._meta.concrete_fields if not field.primary_key}
    own = {name: field for name, field in fields.items() if name in each[0]}
    alike = {name: field for name, field in fields.items() if name not in own}
    if connection.vendor == "postgresql":
        typed = (f"{quoted(name)} {field.db_type(connection)}" for name, field in own.items())
        source = f"jsonb_to_recordset(%s) AS own({', '.join(typed)})"
    else:
        read = (f"json_extract(value, '$.{name}') AS {quoted(name)}" for name in own)
        source = f"(SELECT {', '.join(read)} FROM json_each(%s)) AS own"  # noqa: S608  (our own columns)
    columns = ", ".join(map(quoted, [*alike, *own]))
    values = ", ".join([*["%s"] * len(alike), *(f"own.{quoted(name)}" for name in own)])
    # Without WHERE, SQLite would read ON as the beginning of a join.
    sql = f"INSERT INTO {quoted(pattern._meta.db_table)} ({columns}) SELECT {values} FROM {source}"  # noqa: S608
    params = [field.get_db_prep_save(getattr(pattern, field.attname), connection) for field in alike.values()]
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} WHERE true ON CONFLICT DO NOTHING", [*params, json.dumps(each)])


def libpq_parameters(alias: str = DEFAULT_DB_ALIAS) -> dict[str, Any]:
    """How Django connects to PostgreSQL, so that sockets, passwords and certificates are read in one place."""
    of_django = {"cursor_factory", "context", "prepare_threshold"}
    parameters = connections[alias].get_connection_params()
    return {name: value for name, value in parameters.items() if name not in of_django}


def marks(values: Sequence[Any]) -> str:
    """As many placeholders as there are values, for `IN (...)`."""
    return ", ".join(["%s"] * len(values))


_MAC_LENGTH = 12


def make_cursor(pk: int | str, *, of: str) -> str:
    """What asks for the rows after this one, opaque; `of` names the list and its owner."""
    mac = salted_hmac("lib.cursors", f"{of}:{pk}", algorithm="sha256").digest()[:_MAC_LENGTH]
    return urlsafe_b64encode(mac + str(pk).encode()).rstrip(b"=").decode()


def read_cursor(cursor: str, *, of: str) -> int:
    """The key of the last row shown. Raises: BAD_CURSOR (400) for a cursor that is not this list's."""
    if (pk := whole_number(_read(cursor, of))) is None:
        raise _bad_cursor()
    return pk


def _read(cursor: str, of: str) -> str:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        value = urlsafe_b64decode(padded)[_MAC_LENGTH:].decode()
    except ValueError:
        raise _bad_cursor() from None
    # Made anew and compared whole: base64 has more than one spelling of the same bytes.
    if not constant_time_compare(make_cursor(value, of=of), cursor):
        raise _bad_cursor()
    return value


def _bad_cursor() -> ProductError:
    return ProductError("BAD_CURSOR", "This is no cursor of this list.")


def page(rows: QuerySet[Any], *, by: str, cursor: str, limit: int, of: str) -> tuple[list[Any], str | None]:
    """The rows in the order of `by` (`-created_at`, `name`) and key, from the cursor on, and the cursor of the rest.

    Raises: BAD_CURSOR (400).
    """
    field, is_descending = by.removeprefix("-"), by.startswith("-")
    toward, sign = ("lt", "-") if is_descending else ("gt", "")
    if cursor:
        try:
            value, pk = json.loads(_read(cursor, of))
        except TypeError:
            # An earlier release made cursors of the key alone.
            raise _bad_cursor() from None
        after = Q(**{f"{field}__{toward}": value}) | Q(**{f"pk__{toward}": pk})
        # The first condition is the one an index answers.
        rows = rows.filter(Q(**{f"{field}__{toward}e": value}) & after)
    found = list(rows.order_by(*dict.fromkeys((by, f"{sign}pk")))[: limit + 1])
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], make_cursor(
        json.dumps([getattr(last, field), last.pk], default=str, ensure_ascii=False), of=of
    )
