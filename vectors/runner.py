"""The runner: does jobs outside the request threads, in a process of its own.

Every replica has one. A job belongs to whoever holds its advisory lock; the lock goes with the session, so
when a runner dies the next one to look takes the job over. PostgreSQL notices the death of the client
within CONNECTION_CHECK, ends the statement, and with it the session.
"""

import logging
import os
import signal
import socket
import time

import psycopg
from psycopg import errors as pg_errors
from psycopg.types.json import Jsonb

from vectors import database
from vectors.collections import CACHE_SECONDS, METRICS, table_of
from vectors.indexes import BUILD, graph_bytes, indexes_drop

log = logging.getLogger("vectors.runner")

POLL_SECONDS = 1.0
CONNECTION_CHECK = "1s"
ATTEMPTS_MOST = 5
LOCK_CLASS = 0x41494E44


def lock_key(job_id) -> int:
    """The advisory lock of a job: a signed 64-bit number."""
    return (job_id.int ^ LOCK_CLASS) % 2**63


class Runner:
    """Takes queued jobs, one at a time, and those of runners that died."""

    def __init__(
        self, conninfo: str, *, memory_mib: int = 0, auto_points: int = 10_000, pause_seconds: float = 10
    ):
        self.conninfo = conninfo
        self.memory_mib = memory_mib
        self.auto_points = auto_points
        self.pause_seconds = pause_seconds
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._writes: dict = {}

    def connect(self) -> psycopg.Connection:
        db = psycopg.connect(
            self.conninfo, autocommit=True, connect_timeout=3, application_name="aindusdb-runner"
        )
        db.execute(f"SET client_connection_check_interval = '{CONNECTION_CHECK}'; SET statement_timeout = 0")
        return db

    def run_for_ever(self, alive=lambda: True) -> None:
        """Work until alive() is false; a database that is away is waited for."""
        while alive():
            try:
                with self.connect() as db:
                    db.execute("LISTEN vectors_jobs")
                    while alive():
                        if not self.run_pending(db):
                            for _ in db.notifies(timeout=POLL_SECONDS, stop_after=1):
                                pass
            except psycopg.Error as error:
                log.warning("waiting for the database: %s", str(error).strip().splitlines()[:1])
                time.sleep(POLL_SECONDS)

    def run_pending(self, db: psycopg.Connection) -> bool:
        """Do one job that is due, if there is one; queue builds that are due by themselves."""
        self.queue_due(db)
        rows = db.execute(
            "SELECT id FROM vectors_job WHERE state IN ('queued', 'running') ORDER BY created_at"
        ).fetchall()
        for (job_id,) in rows:
            if db.execute("SELECT pg_try_advisory_lock(%s)", [lock_key(job_id)]).fetchone()[0]:
                try:
                    if self.run_job(db, job_id):
                        return True
                finally:
                    if not db.closed and not db.broken:
                        db.execute("SELECT pg_advisory_unlock(%s)", [lock_key(job_id)])
        return False

    def run_job(self, db: psycopg.Connection, job_id) -> bool:
        """Do a job whose lock is held; False when it was finished meanwhile."""
        row = db.execute(
            "UPDATE vectors_job j SET state = 'running', attempt = attempt + 1, runner = %s,"
            " started_at = now() FROM vectors_collection c"
            " WHERE j.id = %s AND j.state IN ('queued', 'running') AND c.id = j.collection_id"
            " RETURNING j.kind, j.params, j.attempt, c.id, c.name, c.dimension, c.metric",
            [self.name, job_id],
        ).fetchone()
        if row is None:
            return False
        kind, params, attempt, collection_id, name, dimension, metric = row
        log.info("job %s %s of %s: attempt %d", job_id, kind, name, attempt)
        try:
            if attempt > ATTEMPTS_MOST:
                raise RuntimeError(
                    f"Given up: {ATTEMPTS_MOST} runners died of it; see the server's log and memory."
                )
            if kind != BUILD:
                raise RuntimeError(f"This version knows no jobs of kind {kind}.")
            result = self.build(db, job_id, collection_id, dimension, metric, params)
        except KeyboardInterrupt:
            with self.connect() as other:
                other.execute(
                    "UPDATE vectors_job SET state = 'queued', attempt = attempt - 1"
                    " WHERE id = %s AND state = 'running'",
                    [job_id],
                )
            raise
        except (pg_errors.OperationalError, pg_errors.InterfaceError) as error:
            if db.broken or db.closed:
                raise
            self.finish(db, job_id, "failed", error=str(error).strip())
        except (psycopg.Error, RuntimeError) as error:
            self.finish(db, job_id, "failed", error=str(error).strip())
        else:
            if result is not None:
                self.finish(db, job_id, "succeeded", result=result)
        return True

    def finish(self, db, job_id, state: str, *, result=None, error: str = "") -> None:
        """End a job, unless it was cancelled or its collection deleted meanwhile."""
        db.execute(
            "UPDATE vectors_job SET state = %s, result = %s, error = %s, finished_at = now()"
            " WHERE id = %s AND state = 'running'",
            [state, Jsonb(result) if result is not None else None, error[:2000], job_id],
        )
        (log.warning if error else log.info)("job %s %s %s", job_id, state, error)

    def build(self, db, job_id, collection_id, dimension: int, metric: str, params: dict) -> dict | None:
        """Build an index beside the one that serves, then let it serve; None when the job was cancelled."""
        table = table_of(collection_id)
        built = db.execute(
            "SELECT index_built FROM vectors_collection WHERE id = %s", [collection_id]
        ).fetchone()
        serving = built[0]["name"] if built and built[0] else None
        indexes_drop(db, collection_id, keep=serving)
        index = f"v_{job_id.hex}"
        if serving == index:
            return {"index": index}
        rows = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        precision = params.get("precision", "vector")
        needed = graph_bytes(rows, dimension, params["m"], precision)
        column, operators = "embedding", METRICS[metric][1]
        if precision == "halfvec":
            column, operators = f"(embedding::halfvec({dimension}))", operators.replace("vector", "halfvec")
        memory_bytes, workers = self.memory(db, needed)
        notices: list[str] = []
        db.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        started = time.monotonic()
        db.execute(f"SET maintenance_work_mem = '{memory_bytes // 1024}kB'")
        db.execute(f"SET max_parallel_maintenance_workers = {workers}")
        # The planner gives a build workers by the table's size alone; small ones gain as well.
        db.execute(f"ALTER TABLE {table} SET (parallel_workers = {workers})")
        try:
            db.execute(
                f"CREATE INDEX CONCURRENTLY {index} ON {table} USING hnsw ({column} {operators})"
                f" WITH (m = {int(params['m'])}, ef_construction = {int(params['ef_construction'])})"
            )
        finally:
            if not db.broken and not db.closed:
                db.execute(f"ALTER TABLE IF EXISTS {table} RESET (parallel_workers)")
        db.execute(
            "SELECT gin_clean_pending_list(indexrelid) FROM pg_index JOIN pg_class ON oid = indexrelid"
            " WHERE indrelid = to_regclass(%s) AND relam = (SELECT oid FROM pg_am WHERE amname = 'gin')",
            [table],
        )
        db.execute(f"ANALYZE {table}")
        seconds = round(time.monotonic() - started, 3)
        spilled = next((text for text in notices if "no longer fits" in text), None)
        kept = {
            "name": index,
            "type": "hnsw",
            "m": params["m"],
            "ef_construction": params["ef_construction"],
            "precision": precision,
            "rows": rows,
            "seconds": seconds,
        }
        served = db.execute(
            "UPDATE vectors_collection c SET index_built = %s, updated_at = now() WHERE id = %s AND EXISTS"
            " (SELECT 1 FROM vectors_job WHERE id = %s AND state = 'running')",
            [Jsonb(kept), collection_id, job_id],
        ).rowcount
        if not served:
            indexes_drop(db, collection_id, keep=serving)
            return None
        if serving is not None:
            # Whoever queries by what it remembers of the collection has the old index for as long.
            time.sleep(CACHE_SECONDS + 0.5)
        indexes_drop(db, collection_id, keep=index)
        return {
            "rows": rows,
            "seconds": seconds,
            "memory_bytes": memory_bytes,
            "memory_needed_bytes": needed,
            "warning": (
                f"The graph did not fit in {memory_bytes >> 20} MiB, which makes building slow: raise"
                " AINDUS_INDEX_MEMORY_MIB or the server's maintenance_work_mem."
                if spilled
                else None
            ),
        }

    def memory(self, db, needed: int) -> tuple[int, int]:
        """(maintenance_work_mem in bytes, parallel workers): what the graph needs, up to the limit."""
        kib, workers = db.execute(
            "SELECT (SELECT reset_val::bigint FROM pg_settings WHERE name = 'maintenance_work_mem'),"
            " (SELECT reset_val::int FROM pg_settings WHERE name = 'max_parallel_maintenance_workers')"
        ).fetchone()
        limit = self.memory_mib * 2**20 or kib * 1024
        return max(min(needed + 16 * 2**20, limit), 16 * 2**20), workers

    def queue_due(self, db) -> None:
        """Queue builds of collections that have grown past the limit and are not written any more."""
        now = time.monotonic()
        rows = db.execute(
            "SELECT c.id, c.index_options, s.n_tup_ins + s.n_tup_upd + s.n_tup_del, s.n_live_tup"
            " FROM vectors_collection c JOIN pg_stat_user_tables s ON s.schemaname = 'vectors_data'"
            " AND s.relname = 'p_' || replace(c.id::text, '-', '')"
            " WHERE c.auto_index AND c.index_built IS NULL AND c.index_options ->> 'type' = 'hnsw'"
            " AND s.n_live_tup >= %s AND NOT EXISTS (SELECT 1 FROM vectors_job j WHERE j.collection_id = c.id"
            " AND j.kind = %s AND (j.state IN ('queued', 'running') OR j.state = 'failed'))",
            [self.auto_points, BUILD],
        ).fetchall()
        seen = {}
        for collection_id, options, writes, _ in rows:
            before, since = self._writes.get(collection_id, (None, now))
            if writes != before:
                since = now
            seen[collection_id] = (writes, since)
            if now - since >= self.pause_seconds:
                db.execute(
                    "INSERT INTO vectors_job"
                    " (id, collection_id, kind, state, params, error, attempt, runner, created_at)"
                    " VALUES (%s, %s, %s, 'queued', %s, '', 0, '', now()) ON CONFLICT DO NOTHING",
                    [_new_id(), collection_id, BUILD, Jsonb(options)],
                )
        self._writes = seen


def _new_id():
    from controlplane import ids

    return ids.uuid7()


def main(alive=lambda: True) -> None:
    """Run until SIGTERM; a build in the middle is cancelled and queued again."""
    from django.conf import settings

    def stop(signum, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    runner = Runner(
        database.conninfo_from_settings(),
        memory_mib=settings.VECTORS["index_memory_mib"],
        auto_points=settings.VECTORS["auto_index_points"],
        pause_seconds=settings.VECTORS["auto_index_pause_seconds"],
    )
    try:
        runner.run_for_ever(alive)
    except KeyboardInterrupt:
        log.info("stopped")
