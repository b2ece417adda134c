"""Databases beside a target's own in the running PostgreSQL, by its administrator."""

import psycopg
from psycopg import sql

from deployments.errors import Conflict, NotFound
from deployments.providers.base import Secret, TargetSpec
from deployments.providers.local.client import PostgresClient


class LocalDatabases:
    """They belong to the target's role, so that they go with it."""

    def __init__(self, client: PostgresClient, name_of):
        self.client = client
        self.name_of = name_of

    def own(self, target: TargetSpec) -> str:
        return self.name_of(target.target_id)

    def bytes(self, target: TargetSpec) -> int:
        """The size of the target's own database; NotFound when there is none."""
        with self.client.connect() as connection:
            row = connection.execute(
                "SELECT pg_database_size(oid) FROM pg_database WHERE datname = %s", [self.own(target)]
            ).fetchone()
        if row is None:
            raise NotFound(f"{target.name} has no database.", remedy="Apply the target's plan again.")
        return row[0]

    def make(self, target: TargetSpec, name: str) -> None:
        owner = self.own(target)
        self.drop(target, name)
        with self.client.connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'").format(
                    sql.Identifier(name), sql.Identifier(owner)
                )
            )
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        with self.client.connect(name) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")

    def url(self, target: TargetSpec, name: str) -> Secret:
        password = target.secrets.values["database_password"]
        return Secret({"database_url": self.client.url(self.own(target), password, name)})

    def identity(self, target: TargetSpec, name: str) -> str:
        with self.client.connect() as connection:
            return self._oids(connection, name).get(name, "")

    def swap(self, target: TargetSpec, name: str, kept: str) -> None:
        own = self.own(target)
        with self.client.connect() as connection:
            found = self._oids(connection, own, name, kept)
            if name in found and own in found:
                if kept in found:
                    raise Conflict(f"There is a database {kept} already.")
                for one in (own, name):
                    self._close(connection, one)
                with connection.transaction():
                    for before, after in ((own, kept), (name, own)):
                        connection.execute(
                            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                                sql.Identifier(before), sql.Identifier(after)
                            )
                        )
            elif own not in found or kept not in found:
                raise NotFound(f"{own} and {name} cannot change places: one of them is gone.")
            self._allow(connection, own, True)

    def reopen(self, target: TargetSpec) -> None:
        with self.client.connect() as connection:
            if self._oids(connection, self.own(target)):
                self._allow(connection, self.own(target), True)

    def drop(self, target: TargetSpec, name: str) -> None:
        if name == self.own(target):
            raise Conflict(f"{name} is the target's own database.")
        with self.client.connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def names(self, target: TargetSpec) -> list[str]:
        with self.client.connect() as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba"
                " WHERE r.rolname = %s AND datname <> %s ORDER BY 1",
                [self.own(target), self.own(target)],
            ).fetchall()
        return [row[0] for row in rows]

    @staticmethod
    def _oids(connection: psycopg.Connection, *names: str) -> dict[str, str]:
        rows = connection.execute(
            "SELECT datname, oid::text FROM pg_database WHERE datname = ANY(%s)", [list(names)]
        ).fetchall()
        return dict(rows)

    @staticmethod
    def _allow(connection: psycopg.Connection, name: str, allowed: bool) -> None:
        connection.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
                sql.Identifier(name), sql.SQL("true" if allowed else "false")
            )
        )

    def _close(self, connection: psycopg.Connection, name: str) -> None:
        """Nobody may connect from here on, and whoever is connected is disconnected."""
        self._allow(connection, name, False)
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name]
        )
