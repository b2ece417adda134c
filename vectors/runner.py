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
from django.utils.module_loading import import_string
from psycopg import errors as pg_errors
from psycopg.types.json import Jsonb

from controlplane import ids
from controlplane.errors import ProblemError
from vectors import database
from vectors.indexes import BUILD
from vectors.jobs.work import CancelledError, FailedError, Work
from vectors.recalls import MEASURE, Schedule

log = logging.getLogger("vectors.runner")

POLL_SECONDS = 1.0
CONNECTION_CHECK = "1s"
ATTEMPTS_MOST = 5
LOCK_CLASS = 0x41494E44
# The function that does the jobs of a kind, given its Work: the result, or None when it was cancelled.
# Imported when first needed, because some bring libraries that most runners never need.
HANDLERS = {
    BUILD: "vectors.jobs.builds.build",
    MEASURE: "vectors.jobs.recall.measure",
}


def lock_key(job_id) -> int:
    """The advisory lock of a job: a signed 64-bit number."""
    return (job_id.int ^ LOCK_CLASS) % 2**63


class Runner:
    """Takes queued jobs, one at a time, and those of runners that died."""

    def __init__(
        self,
        conninfo: str,
        *,
        memory_mib: int = 0,
        auto_points: int = 10_000,
        pause_seconds: float = 10,
        recall_hours: float = 0,
    ):
        self.conninfo = conninfo
        self.memory_mib = memory_mib
        self.auto_points = auto_points
        self.pause_seconds = pause_seconds
        self.recalls = Schedule(recall_hours)
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
        """Do one job that is due, if there is one; queue what is due by itself."""
        self.queue_due(db)
        self.recalls.queue_due(db)
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
            " RETURNING j.id, j.kind, j.params, c.id, c.name, c.dimension, c.metric, j.attempt,"
            " coalesce(j.progress, '{}')",
            [self.name, job_id],
        ).fetchone()
        if row is None:
            return False
        work = Work(db, *row, memory_mib=self.memory_mib)
        log.info("job %s %s of %s: attempt %d", job_id, work.kind, work.collection, work.attempt)
        try:
            if work.attempt > ATTEMPTS_MOST:
                raise FailedError(
                    f"Given up: {ATTEMPTS_MOST} runners died of it; see the server's log and memory."
                )
            if work.kind not in HANDLERS:
                raise FailedError(f"This version knows no jobs of kind {work.kind}.")
            result = import_string(HANDLERS[work.kind])(work)
        except KeyboardInterrupt:
            with self.connect() as other:
                other.execute(
                    "UPDATE vectors_job SET state = 'queued', attempt = attempt - 1"
                    " WHERE id = %s AND state = 'running'",
                    [job_id],
                )
            raise
        except CancelledError:
            log.info("job %s was cancelled", job_id)
        except (pg_errors.OperationalError, pg_errors.InterfaceError) as error:
            if db.broken or db.closed:
                raise
            self.finish(db, job_id, "failed", error=str(error).strip())
        except (psycopg.Error, FailedError, ProblemError) as error:
            self.finish(db, job_id, "failed", error=str(error).strip())
        except Exception:
            log.exception("job %s failed", job_id)
            self.finish(
                db, job_id, "failed", error=f"A defect of this server; its log has the cause at {job_id}."
            )
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
                    [ids.uuid7(), collection_id, BUILD, Jsonb(options)],
                )
        self._writes = seen


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
        recall_hours=settings.VECTORS["recall_hours"],
    )
    try:
        runner.run_for_ever(alive)
    except KeyboardInterrupt:
        log.info("stopped")
