"""Talks to the PostgreSQL server as its administrator: roles, databases and the extension `vector`."""

from contextlib import contextmanager, suppress

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from deployments.errors import Denied, ProviderError, QuotaExceeded, Transient

CONNECT_SECONDS = 4
STATEMENT_MS = 12_000


@contextmanager
def _told():
    """psycopg's errors as ours; none of them carries a password."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise Denied(
            f"PostgreSQL refused: {error.diag.message_primary}.",
            remedy="Give the user of DATABASE_URL the attributes CREATEDB and CREATEROLE.",
        ) from error
    except (psycopg.errors.TooManyConnections, psycopg.errors.DiskFull) as error:
        raise QuotaExceeded(
            f"PostgreSQL has no room: {error.diag.message_primary}.",
            remedy="Raise max_connections, or free disk space, on the PostgreSQL server.",
        ) from error
    except psycopg.OperationalError as error:
        raise Transient(
            f"PostgreSQL does not answer: {str(error).strip().splitlines()[0]}",
            remedy="See that the PostgreSQL server of DATABASE_URL runs.",
        ) from error
    except psycopg.Error as error:
        raise ProviderError(f"PostgreSQL: {error.diag.message_primary or type(error).__name__}") from error


class PostgresClient:
    """Short-lived administrative connections; every call is safe to repeat."""

    def __init__(self, admin_url: str):
        self.admin_url = admin_url

    def __repr__(self):
        return "PostgresClient()"

    @contextmanager
    def connect(self, database: str | None = None):
        """An autocommit connection to a database of the server (the administrator's own by default)."""
        parameters = {
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "aindus-admin",
            "options": f"-c statement_timeout={STATEMENT_MS} -c lock_timeout=8000",
        }
        if database:
            parameters["dbname"] = database
        with (
            _told(),
            psycopg.connect(make_conninfo(self.admin_url, **parameters), autocommit=True) as connection,
        ):
            yield connection

    def url(self, name: str, password: str, database: str = "") -> str:
        """The URL by which the role `name` reaches a database: its own of that name by default."""
        parts = conninfo_to_dict(self.admin_url)
        host, port = parts.get("host") or "", parts.get("port")
        extra = [f"{key}={parts[key]}" for key in ("sslmode", "sslrootcert") if parts.get(key)]
        if host.startswith("/") or not host:
            extra.insert(0, f"host={host or '/var/run/postgresql'}")
            if port:
                extra.append(f"port={port}")
            place = ""
        else:
            place = f"[{host}]" if ":" in host else host
            place += f":{port}" if port else ""
        return f"postgresql://{name}:{password}@{place}/{database or name}" + (
            f"?{'&'.join(extra)}" if extra else ""
        )

    def server(self) -> dict:
        """{version, vector, max_connections, connections, superuser, createdb, createrole}."""
        with self.connect() as connection:
            row = connection.execute(
                """
                SELECT current_setting('server_version'),
                       (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'),
                       current_setting('max_connections')::int
                         - current_setting('superuser_reserved_connections')::int,
                       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
                       r.rolsuper, r.rolcreatedb, r.rolcreaterole
                FROM pg_roles r WHERE r.rolname = current_user
                """
            ).fetchone()
        names = ("version", "vector", "max_connections", "connections", "superuser", "createdb", "createrole")
        return dict(zip(names, row, strict=True))

    def ensure_role(self, name: str, password: str, connection_limit: int) -> None:
        """A role that may sign in with this password and nothing else."""
        with self.connect() as connection:
            # The server is sent the verifier, so that no statement log ever shows the password.
            verifier = connection.pgconn.encrypt_password(
                password.encode(), name.encode(), b"scram-sha-256"
            ).decode()
            if not self._role(connection, name):
                with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                    connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
            connection.execute(
                sql.SQL(
                    "ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT {} PASSWORD {}"
                ).format(sql.Identifier(name), sql.Literal(connection_limit), sql.Literal(verifier))
            )
            if not connection.execute("SELECT pg_has_role(current_user, %s, 'USAGE')", [name]).fetchone()[0]:
                connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(name)))

    def ensure_database(self, name: str) -> None:
        """A database owned by the role of the same name, closed to every other role, with `vector`."""
        with self.connect() as connection:
            if not self._database(connection, name):
                with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(
                        sql.SQL("CREATE DATABASE {0} OWNER {0} TEMPLATE template0 ENCODING 'UTF8'").format(
                            sql.Identifier(name)
                        )
                    )
            connection.execute(sql.SQL("ALTER DATABASE {0} OWNER TO {0}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        with self.connect(name) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")

    def set_role(self, name: str, what: str, value: int | bool) -> None:
        """Set one attribute of a role: `connection_limit` or `login`."""
        clause = (
            sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(value))
            if what == "connection_limit"
            else sql.SQL("LOGIN" if value else "NOLOGIN")
        )
        with self.connect() as connection:
            connection.execute(sql.SQL("ALTER ROLE {} {}").format(sql.Identifier(name), clause))

    def set_owner(self, name: str) -> None:
        """Give the database to the role of its name."""
        with self.connect() as connection:
            connection.execute(sql.SQL("ALTER DATABASE {0} OWNER TO {0}").format(sql.Identifier(name)))

    def close_to_public(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))

    def ensure_extension(self, name: str) -> None:
        with self.connect(name) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")

    def observe(self, name: str) -> dict:
        """What there is of a target: role, connection_limit, can_sign_in, database, owner, public_connect,
        bytes, vector (its version).
        """
        with self.connect() as connection:
            role = self._role(connection, name)
            database = self._database(connection, name)
        found = {
            "role": bool(role),
            "connection_limit": role[1] if role else None,
            "can_sign_in": bool(role and role[2]),
            "database": bool(database),
            "owner": database[1] if database else None,
            "public_connect": bool(database and database[2]),
            "bytes": database[3] if database else None,
            "vector": None,
        }
        if database:
            with self.connect(name) as connection:
                row = connection.execute(
                    "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
                ).fetchone()
            found["vector"] = row[0] if row else None
        return found

    def drop(self, name: str) -> None:
        """Drop the databases of the role, whoever is connected to them, then the role; absence is fine."""
        with self.connect() as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database WHERE datname = %s OR pg_get_userbyid(datdba) = %s",
                [name, name],
            ).fetchall()
            for row in rows:
                connection.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(row[0]))
                )
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))

    @staticmethod
    def _role(connection, name: str):
        return connection.execute(
            "SELECT rolname, rolconnlimit, rolcanlogin FROM pg_roles WHERE rolname = %s", [name]
        ).fetchone()

    @staticmethod
    def _database(connection, name: str):
        return connection.execute(
            """
            SELECT d.datname, pg_get_userbyid(d.datdba),
                   d.datacl IS NULL OR EXISTS (
                       SELECT FROM aclexplode(d.datacl) a
                       WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT'),
                   pg_database_size(d.oid)
            FROM pg_database d WHERE d.datname = %s
            """,
            [name],
        ).fetchone()
