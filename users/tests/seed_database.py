"""A database of the seed, made by its own schema."""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager

import bcrypt
import psycopg
from psycopg import sql

SCHEMA = """
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
CREATE TABLE users (
    id varchar PRIMARY KEY, email varchar, hashed_password varchar, first_name varchar, last_name varchar,
    created_by varchar, updated_by varchar, is_active boolean, is_superuser boolean, is_verified boolean,
    login_failed_count integer, last_login timestamp, verified_on timestamp, deactivated_on timestamp,
    created_on timestamptz DEFAULT now(), updated_on timestamptz
);
CREATE TABLE feature_flags (
    codename varchar PRIMARY KEY, label varchar, description varchar, created_by varchar, updated_by varchar,
    is_active boolean, created_on timestamptz DEFAULT now(), updated_on timestamptz
);
"""
SERVER = os.environ.get("TEST_DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/postgres"


def hashed(password):
    """As the seed's library made it."""
    return bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()


class Seed:
    def __init__(self, dsn, name):
        self.dsn, self.name = dsn, name

    @property
    def url(self):
        return f"{SERVER.partition('?')[0].rpartition('/')[0]}/{self.name}"

    def execute(self, statement, values=()):
        with psycopg.connect(self.dsn) as connection:
            connection.execute(statement, values)

    def add(self, table="users", **row):
        """A row as the seed writes one; returns its id."""
        if table == "users":
            row = {"id": uuid.uuid4().hex, "is_active": True, "is_verified": True, "is_superuser": False} | row
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        )
        self.execute(statement, list(row.values()))
        return row.get("id")


@contextmanager
def seed_database():
    """A new one on the tests' PostgreSQL, dropped at the end; psycopg.OperationalError where there is no server."""
    name = f"seed_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(SERVER, autocommit=True, connect_timeout=3) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            seed = Seed(psycopg.conninfo.make_conninfo(SERVER, dbname=name), name)
            seed.execute(SCHEMA)
            yield seed
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
