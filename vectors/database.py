"""Connections of the vector API to PostgreSQL.

A `Connection` is a psycopg connection whose hot statements go straight to libpq's prepared statements:
parameters and results in binary, the GIL released while the server works. Connections are kept on a
stack, so in steady state each thread works on one of its own, whichever threads the server makes.
"""

import contextlib
import logging
import os
import select
import struct
import threading
import time

import psycopg
from psycopg import pq

from controlplane.database import conninfo
from controlplane.errors import ConflictError, InvalidError, ProblemError, UnavailableError

log = logging.getLogger("vectors.database")

PREPARED_MOST = 400
DEADLOCK_ATTEMPTS = 5
TUPLES_OK, COMMAND_OK = int(pq.ExecStatus.TUPLES_OK), int(pq.ExecStatus.COMMAND_OK)
GOOD = (TUPLES_OK, COMMAND_OK)
OK, IDLE = int(pq.ConnStatus.OK), int(pq.TransactionStatus.IDLE)
FLOAT4 = struct.Struct(">f").unpack
FLOAT8 = struct.Struct(">d").unpack
INT8 = struct.Struct(">q").unpack

# Queries take the order of an index when one gives it; each setting is the connection's for good, because
# SET LOCAL around every query would cost a sixth of its time.
SESSION = (
    "SET jit = off;"
    "SET enable_sort = off;"
    "SET hnsw.iterative_scan = relaxed_order;"
    "SET hnsw.scan_mem_multiplier = 4;"
    "SET hnsw.max_scan_tuples = 40000;"
    "SET ivfflat.iterative_scan = relaxed_order;"
    "SET timezone = 'UTC'"
)


class TimedOutError(UnavailableError):
    """The database took longer than the limit for one statement; narrow the request or try again later."""

    code = "timeout"
    # For the gateway: other replicas ask the same database.
    headers = (("X-Retry-Elsewhere", "no"),)


class _Asked(threading.local):
    """What the request that a thread serves asks for: the most ms of each statement; 0: the pool's."""

    timeout_ms = 0


_asked = _Asked()


@contextlib.contextmanager
def timeout(milliseconds: int):
    """Give up each statement of this thread after so many ms, when the pool's own limit is not less."""
    _asked.timeout_ms = milliseconds
    try:
        yield
    finally:
        _asked.timeout_ms = 0


class Connection:
    """One connection, used by one thread at a time."""

    def __init__(self, conninfo: str, statement_timeout_ms: int):
        # psycopg must not prepare statements by itself: after a ROLLBACK or a DROP it would deallocate all
        # that are prepared, those of `run` as well.
        self.db = psycopg.connect(
            conninfo,
            autocommit=True,
            connect_timeout=3,
            application_name="aindusdb-api",
            prepare_threshold=None,
        )
        self.pg = self.db.pgconn
        poll = select.poll()
        poll.register(self.pg.socket, select.POLLIN | select.POLLHUP)
        self.readable = poll.poll
        self.reader = psycopg.adapt.Transformer(self.db)
        self._prepared: dict[str, bytes] = {}
        self._serial = 0
        self._ef = 0
        self._probes = 0
        # The forms of vectors that there is a staging table of.
        self.staging: set = set()
        # The statement that ran last, for the log of slow queries; whether that looks at all.
        self.last: tuple | None = None
        self.watched = True
        self.timeout_ms = int(statement_timeout_ms)
        self._asked_ms = 0
        self.simple(f"SET statement_timeout = {self.timeout_ms}; {SESSION}")

    def simple(self, sql: str) -> None:
        """Run one or several statements without parameters or rows."""
        self._check(self.pg.exec_(sql.encode()))

    def run(self, sql: str, parameters=(), formats=None, *, prepare: bool = True, types=None):
        """Run a statement with $1.. placeholders; the libpq result, all columns in binary.

        Parameters are bytes or None: text unless `formats` says 1 (binary). Statements are prepared and
        kept; with prepare=False each execution is planned for its own parameters.
        """
        self.last = (sql, parameters, formats, types)
        if prepare:
            name = self._prepared.get(sql)
            if name is None:
                name = self._prepare(sql)
            result = self.pg.exec_prepared(name, parameters, formats, 1)
        else:
            result = self.pg.exec_params(sql.encode(), parameters, types, formats, 1)
        if result.status != TUPLES_OK:
            self._check(result)
        return result

    def rows(self, result) -> list[tuple]:
        """All rows of a result of `run`, as psycopg reads binary columns."""
        self.reader.set_pgresult(result)
        return self.reader.load_rows(0, result.ntuples, tuple)

    def _prepare(self, sql: str) -> bytes:
        if len(self._prepared) >= PREPARED_MOST:
            oldest = next(iter(self._prepared))
            self.simple(f"DEALLOCATE {self._prepared.pop(oldest).decode()}")
        self._serial += 1
        name = f"v{self._serial}".encode()
        self._check(self.pg.prepare(name, sql.encode()))
        self._prepared[sql] = name
        return name

    def _check(self, result) -> None:
        if result.status not in GOOD:
            raise psycopg.errors.error_from_result(result, encoding="utf-8")

    def set_ef(self, ef: int) -> None:
        """Set hnsw.ef_search, only when it is another one than before."""
        if ef != self._ef:
            self.simple(f"SET hnsw.ef_search = {int(ef)}")
            self._ef = ef

    def set_probes(self, probes: int) -> None:
        """Set ivfflat.probes, only when it is another one than before."""
        if probes != self._probes:
            self.simple(f"SET ivfflat.probes = {int(probes)}")
            self._probes = probes

    def set_timeout(self) -> None:
        """Take over the timeout that this thread asks for, only when it is another one than before."""
        asked = _asked.timeout_ms
        if asked != self._asked_ms:
            if self.timeout_ms and asked >= self.timeout_ms:
                asked = 0
            if asked != self._asked_ms:
                self.simple(f"SET statement_timeout = {asked or self.timeout_ms}")
                self._asked_ms = asked

    @property
    def usable(self) -> bool:
        """Whether another request may use it."""
        return self.pg.status == OK and self.pg.transaction_status == IDLE

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.db.close()


class Pool:
    """Connections to one database, made as needed and kept on a stack."""

    def __init__(self, conninfo: str, *, statement_timeout_ms: int = 30_000, keep: int = 16):
        self.conninfo = conninfo
        self.statement_timeout_ms = statement_timeout_ms
        self.keep = keep
        self._free: list[Connection] = []

    def take(self, *, look: bool = True) -> Connection:
        """A connection that was good when last used, else a new one; UnavailableError when there is none.

        Without a look at its socket a server that went away is found by the first statement: for callers that
        try again.
        """
        while self._free:
            try:
                connection = self._free.pop()
            except IndexError:
                break
            # A server that went away has closed the socket, which makes it readable.
            if not look or not connection.readable(0):
                return connection
            connection.close()
        try:
            return Connection(self.conninfo, self.statement_timeout_ms)
        except psycopg.Error as error:
            raise problem_from(error) from error

    def give(self, connection: Connection) -> None:
        """Give a connection back; one that is not usable any more is closed."""
        if connection.usable and len(self._free) < self.keep:
            self._free.append(connection)
        else:
            connection.close()

    @contextlib.contextmanager
    def connection(self):
        """A connection for a block of statements; database errors come out as problems."""
        connection = self.take()
        try:
            connection.set_timeout()
            yield connection
        except psycopg.Error as error:
            raise problem_from(error) from error
        finally:
            self.give(connection)

    def call(self, work):
        """work(connection), tried again on a connection found broken and on deadlocks.

        Every statement of the vector API is idempotent, so an unknown outcome may be repeated.
        """
        attempt = 0
        while True:
            attempt += 1
            connection = self.take(look=attempt > 1)
            try:
                connection.set_timeout()
                return work(connection)
            except psycopg.errors.DeadlockDetected as error:
                if attempt >= DEADLOCK_ATTEMPTS:
                    raise problem_from(error) from error
                time.sleep(0.01 * attempt)
            except psycopg.Error as error:
                if attempt == 1 and lost(error, connection):
                    self.close()
                    continue
                raise problem_from(error) from error
            finally:
                self.give(connection)

    def close(self) -> None:
        """Close what is not in use."""
        while self._free:
            with contextlib.suppress(IndexError):
                self._free.pop().close()


def lost(error: psycopg.Error, connection: Connection) -> bool:
    """Whether the connection is gone, rather than the statement wrong."""
    state = error.sqlstate or ""
    return connection.pg.status != pq.ConnStatus.OK or state.startswith(("08", "57P"))


def problem_from(error: psycopg.Error) -> ProblemError:
    """What the caller is told of a database error; the error itself when it is a defect of ours."""
    state = error.sqlstate or ""
    detail = (error.diag.message_primary or str(error)).strip().splitlines()[0] if str(error) else ""
    if state == "57014":
        return TimedOutError(retry_after_seconds=2)
    if state == "55P03":
        return ConflictError("The collection is busy; try again.", code="busy")
    if state == "23505":
        return ConflictError("Something of this name exists already.", code="exists")
    if state in ("40P01", "40001"):
        return UnavailableError("Too many writers of the same points; try again.", retry_after_seconds=1)
    if state.startswith(("22", "54")):
        return InvalidError(f"The database refuses a value: {detail}.")
    if not state or state.startswith(("08", "57", "53", "28", "3D", "25006", "XX")):
        log.warning("database unavailable: %s %s", state, detail)
        return UnavailableError("The database does not answer; try again.", retry_after_seconds=1)
    return error


_pool: Pool | None = None
_lock = threading.Lock()


def conninfo_from_settings() -> str:
    """The libpq connection string of Django's default database (a test run's own while tests run)."""
    from django.db import connections

    return conninfo(connections["default"].settings_dict, without=("connect_timeout",))


def pool() -> Pool:
    """This process's pool, made on first use; a forked child makes its own."""
    global _pool
    if _pool is None:
        with _lock:
            if _pool is None:
                from django.conf import settings

                _pool = Pool(
                    conninfo_from_settings(), statement_timeout_ms=settings.VECTORS["statement_timeout_ms"]
                )
    return _pool


def _forked() -> None:
    global _pool
    _pool = None


# A child must not talk on its parent's connections.
os.register_at_fork(after_in_child=_forked)


def use(other: Pool | None) -> None:
    """Work on another pool (tests; a fork that must not share its parent's connections)."""
    global _pool
    _pool = other
