"""Slow queries: what they were, how they were planned, kept by a thread of its own.

The request hands over what is known and goes on. The thread keeps two a second at most and has one planned
again each EXPLAIN_SECONDS (EXPLAIN, which runs nothing), so that a time of slow queries is not made slower;
what is beyond is only counted. Of a filter the shape is kept and a bounded excerpt, of the vector nothing.
"""

import datetime
import functools
import logging
import queue
import re
import threading
import time

import orjson
import psycopg
from django.conf import settings
from psycopg.types.json import Jsonb

from controlplane.errors import ProblemError
from vectors import database
from vectors.clauses import clause_of

log = logging.getLogger("vectors.slow")

KEPT = 1000
PRUNED_EVERY = 50
PENDING_MOST = 20
PAUSE_SECONDS = 0.5
EXPLAIN_SECONDS = 5.0
EXPLAIN_TIMEOUT_MS = 2000
# How long the thread and its connection wait for the next before they end.
IDLE_SECONDS = 10.0
EXCERPT_CHARACTERS = 200
LITERAL_CHARACTERS = 40
EXPLAIN_CHARACTERS = 4000
LITERAL = re.compile(r"'((?:[^']|'')*)'")
DETAILS = ("kind", "namespace", "top_k", "recall", "exact", "plan", "ef", "share", "candidates", "matches")
DETAILS += ("filter", "filter_excerpt", "error")


def watched(service):
    """A service of queries, whose slow calls are noted: service(connection, collection, **query) -> found.

    `share`, the share of points that the query reaches, is taken out of what it found.
    """

    @functools.wraps(service)
    def call(connection, collection, **query):
        started = time.perf_counter()
        try:
            found = service(connection, collection, **query)
        except psycopg.errors.QueryCanceled:
            recorder.note(connection, collection, query, None, None, time.perf_counter() - started)
            raise
        seconds = time.perf_counter() - started
        share = found.pop("share", None)
        if seconds > recorder.seconds and connection.watched:
            recorder.note(connection, collection, query, found, share, seconds)
        return found

    return call


def shape(filter):
    """A filter with its values left out: {"year": {"$gte": "number"}, "genre": {"$in": ["text", 3]}}."""
    if isinstance(filter, dict):
        return {str(key)[:LITERAL_CHARACTERS]: shape(value) for key, value in filter.items()}
    if isinstance(filter, list):
        if filter and all(isinstance(item, dict) for item in filter):
            return [shape(item) for item in filter[:PENDING_MOST]]
        return [
            *dict.fromkeys(shape(item) for item in filter if not isinstance(item, dict | list)),
            len(filter),
        ]
    if filter is None or isinstance(filter, bool):
        return "null" if filter is None else "boolean"
    return "text" if isinstance(filter, str) else "number"


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def filter_details(filter) -> dict:
    """{filter, filter_excerpt}: the shape, and the beginning of it with its values."""
    if filter is None:
        return {"filter": None, "filter_excerpt": None}
    if isinstance(filter, dict):
        return {
            "filter": shape(filter),
            "filter_excerpt": cut(orjson.dumps(filter).decode(), EXCERPT_CHARACTERS),
        }
    condition, parameters = clause_of(filter).sql(1)
    values = ", ".join(value.decode() for value in parameters)
    return {"filter": cut(condition, 1000), "filter_excerpt": cut(values, EXCERPT_CHARACTERS)}


class Recorder:
    """The slow queries of this process on their way to the table."""

    def __init__(self):
        self.seconds = float("inf")
        # note(name, by) counts "slow".
        self.counted = lambda name, by: None
        self.pending: queue.SimpleQueue = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection: database.Connection | None = None
        self._explained = -EXPLAIN_SECONDS
        self._kept = 0
        self._left_out = 0

    def configure(self, counted=None) -> None:
        """Take the threshold from the settings; without this nothing is slow."""
        milliseconds = settings.VECTORS["slow_query_ms"]
        self.seconds = milliseconds / 1000 if milliseconds else float("inf")
        if counted is not None:
            self.counted = counted

    def note(self, connection, collection, query: dict, found: dict | None, share, seconds: float) -> None:
        """Hand a slow query over; of a statement that was given up `found` is None."""
        if self.seconds == float("inf") or not connection.watched:
            return
        self.counted("slow", 1)
        if self.pending.qsize() >= PENDING_MOST:
            self._left_out += 1
            return
        at = datetime.datetime.now(datetime.UTC)
        self.pending.put(
            (at, database.pool().conninfo, collection.name, query, found, share, seconds, connection.last)
        )
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="slow-queries", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                entry = self.pending.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self.pending.empty():
                        self._close()
                        self._thread = None
                        return
                continue
            try:
                self._keep(*entry)
            except (psycopg.Error, ProblemError) as error:
                log.warning("a slow query was not kept: %s", str(error).strip().splitlines()[:1])
                self._close()
            except Exception:
                log.exception("a slow query was not kept")
                self._close()
            time.sleep(PAUSE_SECONDS)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _keep(self, at, conninfo, collection, query, found, share, seconds, statement) -> None:
        details = self._details(query, found, share)
        left_out, self._left_out = self._left_out, 0
        shown = {name: value for name, value in details.items() if value is not None}
        shown.pop("filter_excerpt", None)
        log.warning(
            "slow query of %s: %.0f ms, %s%s",
            *(collection, seconds * 1000, orjson.dumps(shown).decode()),
            f"; {left_out} more were not kept" if left_out else "",
        )
        if self._connection is None or self._connection.db.info.dsn != conninfo:
            self._close()
            self._connection = database.Connection(conninfo, EXPLAIN_TIMEOUT_MS)
        explain = None
        if statement is not None and time.monotonic() - self._explained >= EXPLAIN_SECONDS:
            self._explained = time.monotonic()
            explain = explained(self._connection, statement, details["ef"])
        self._connection.db.execute(
            "INSERT INTO vectors_slow_query (at, collection, took_ms, detail, explain)"
            " VALUES (%s, %s, %s, %s, %s)",
            [at, collection, seconds * 1000, Jsonb(details), explain],
        )
        if self._kept % PRUNED_EVERY == 0:
            self._connection.db.execute(
                "DELETE FROM vectors_slow_query WHERE id <="
                " (SELECT id FROM vectors_slow_query ORDER BY id DESC OFFSET %s LIMIT 1)",
                [KEPT],
            )
        self._kept += 1

    @staticmethod
    def _details(query: dict, found: dict | None, share) -> dict:
        found = found or {}
        grouped = "path" in query
        return {
            "kind": "groups" if grouped else "text" if "text" in query else "query",
            "namespace": cut(query.get("namespace", ""), LITERAL_CHARACTERS),
            "top_k": query["top_k"],
            "recall": query.get("recall"),
            "exact": query.get("exact", False),
            "plan": found.get("plan"),
            "ef": found.get("ef"),
            "share": share,
            "candidates": found.get("candidates"),
            "matches": len(found.get("groups" if grouped else "matches", ())) if found else None,
            **filter_details(query.get("filter")),
            "error": None if found else "timeout",
        }


def explained(connection: database.Connection, statement: tuple, ef: int | None) -> str | None:
    """How PostgreSQL plans a statement anew for the same values, literals cut short; None when it cannot."""
    sql, parameters, formats, types = statement
    try:
        if ef:
            connection.set_ef(ef)
        result = connection.run(f"EXPLAIN {sql}", parameters, formats, prepare=False, types=types)
    except psycopg.Error as error:
        log.info("a slow query cannot be explained: %s", str(error).strip().splitlines()[:1])
        return None
    lines = "\n".join(result.get_value(row, 0).decode() for row in range(result.ntuples))
    return cut(LITERAL.sub(lambda found: f"'{cut(found[1], LITERAL_CHARACTERS)}'", lines), EXPLAIN_CHARACTERS)


recorder = Recorder()


def use(other: Recorder) -> None:
    """Hand slow queries to another recorder (tests)."""
    global recorder
    recorder = other


def slow_query_list(
    *,
    limit: int,
    before: int | None = None,
    collection: str | None = None,
    since: datetime.datetime | None = None,
    until: datetime.datetime | None = None,
) -> tuple[list[dict], int | None]:
    """Slow queries of all replicas, since <= at < until, the newest first, and the number to go on before."""
    with database.pool().connection() as connection:
        rows = connection.db.execute(
            "SELECT id, at, collection, took_ms, detail, explain FROM vectors_slow_query"
            " WHERE (%s::bigint IS NULL OR id < %s) AND (%s::text IS NULL OR collection = %s)"
            " AND (%s::timestamptz IS NULL OR at >= %s) AND (%s::timestamptz IS NULL OR at < %s)"
            " ORDER BY id DESC LIMIT %s",
            [before, before, collection, collection, since, since, until, until, limit + 1],
        ).fetchall()
    items = [
        {
            "at": row[1],
            "collection": row[2],
            "took_ms": round(row[3], 3),
            **{name: row[4].get(name) for name in DETAILS},
            "explain": row[5],
        }
        for row in rows[:limit]
    ]
    return items, rows[limit - 1][0] if len(rows) > limit else None
