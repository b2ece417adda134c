"""The runner: does jobs outside the request threads, in processes of its own.

Every replica has one: a process that queues what is due by itself, with a child for each lane, so that a
build of hours keeps nobody else's rows from being indexed or imported. A job belongs to whoever holds its
advisory lock; the lock goes with the session, so when a runner dies the next one to look takes the job over.
PostgreSQL notices the death of the client within CONNECTION_CHECK, ends the statement, and with it the
session.
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

from controlplane.errors import ProblemError
from vectors import database, recalls, replica
from vectors.declarations import DECLARE
from vectors.indexes import BUILD, MERGE
from vectors.jobs import records
from vectors.jobs.schedule import Schedule
from vectors.jobs.work import CancelledError, FailedError, Work
from vectors.transfer.uploads import Expiry

log = logging.getLogger("vectors.runner")

POLL_SECONDS = 1.0
CONNECTION_CHECK = "1s"
ATTEMPTS_MOST = 5
LOCK_CLASS = 0x41494E44
# The function that does the jobs of a kind, given its Work: the result, or None when it was cancelled.
# Imported when first needed, because some bring libraries that most runners never need.
HANDLERS = {
    BUILD: "vectors.jobs.builds.build",
    DECLARE: "vectors.jobs.declared.make",
    MERGE: "vectors.jobs.builds.merge",
    recalls.MEASURE: "vectors.jobs.recall.measure",
    "points.import": "vectors.transfer.importing.run",
    "points.export": "vectors.transfer.exporting.run",
}

# Jobs of one lane are done one after the other; kinds that are named in none go to `data`.
LANES = {"build": (BUILD,), "merge": (MERGE,), "transfer": ("points.import", "points.export"), "data": ()}
NAMED = tuple(kind for kinds in LANES.values() for kind in kinds)
# Lanes that compute in this process, and so give way to those that serve.
NICE = {"transfer": 5}
STOP_SECONDS = 5.0


def lock_key(job_id) -> int:
    """The advisory lock of a job: a signed 64-bit number."""
    return (job_id.int ^ LOCK_CLASS) % 2**63


class Runner:
    """Takes queued jobs of one lane (None: of all), one at a time, and those of runners that died."""

    def __init__(
        self,
        conninfo: str,
        *,
        memory_mib: int = 0,
        auto_points: int = 10_000,
        merge_points: int = 2_000,
        pause_seconds: float = 10,
        recall_hours: float = 0,
        lane: str | None = None,
    ):
        self.conninfo = conninfo
        self.memory_mib = memory_mib
        self.lane = lane
        self.schedule = Schedule(
            auto_points=auto_points, merge_points=merge_points, pause_seconds=pause_seconds
        )
        self.recalls = recalls.Schedule(recall_hours)
        self.uploads = Expiry()
        self.jobs = records.Pruning()
        self.name = f"{socket.gethostname()}:{os.getpid()}"

    def connect(self) -> psycopg.Connection:
        db = psycopg.connect(
            self.conninfo, autocommit=True, connect_timeout=3, application_name="aindusdb-runner"
        )
        db.execute(f"SET client_connection_check_interval = '{CONNECTION_CHECK}'; SET statement_timeout = 0")
        return db

    def run_for_ever(self, alive=lambda: True) -> None:
        """Do the lane's jobs until alive() is false; a database that is away is waited for."""
        self._repeat(alive, self.run_due)

    def schedule_for_ever(self, alive=lambda: True) -> None:
        """Queue what is due by itself until alive() is false."""

        def look(db) -> bool:
            self.queue_due(db)
            return False

        self._repeat(alive, look)

    def _repeat(self, alive, work) -> None:
        while alive():
            try:
                with self.connect() as db:
                    db.execute("LISTEN vectors_jobs")
                    while alive():
                        if not work(db):
                            for _ in db.notifies(timeout=POLL_SECONDS, stop_after=1):
                                pass
            except psycopg.Error as error:
                log.warning("waiting for the database: %s", str(error).strip().splitlines()[:1])
                time.sleep(POLL_SECONDS)

    def run_pending(self, db: psycopg.Connection) -> bool:
        """Queue what is due and do one job, if there is one: what all processes of a runner do together."""
        self.queue_due(db)
        return self.run_due(db)

    def queue_due(self, db: psycopg.Connection) -> None:
        """Queue what is due by itself, delete uploads that have expired and jobs long past."""
        self.schedule.queue_due(db)
        self.recalls.queue_due(db)
        self.uploads.expire_due(db)
        self.jobs.prune_due(db)

    def run_due(self, db: psycopg.Connection) -> bool:
        """Do one job of the lane, if there is one."""
        condition, kinds = "true", list(NAMED)
        if self.lane is not None:
            kinds = list(LANES[self.lane]) or kinds
            condition = "kind = ANY(%(kinds)s)" if LANES[self.lane] else "NOT kind = ANY(%(kinds)s)"
        rows = db.execute(
            f"SELECT id FROM vectors_job WHERE state IN ('queued', 'running') AND {condition}"
            " ORDER BY created_at",
            {"kinds": kinds},
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
        work = Work(db, *row, memory_mib=self.memory_mib, conninfo=self.conninfo)
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


class Lanes:
    """The children of a runner: one process a lane, forked, and forked again when it ends."""

    def __init__(self, make):
        # make(lane) gives the Runner of a lane, in its own process.
        self.make = make
        self.children: dict[int, str] = {}

    def start(self, lane: str) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self.children[pid] = lane
            return
        status = 1
        try:
            replica.die_with(parent)
            os.nice(NICE.get(lane, 0))
            self.make(lane).run_for_ever()
            status = 0
        except KeyboardInterrupt:
            status = 0
        except BaseException:
            log.exception("the lane %s failed", lane)
        finally:
            os._exit(status)

    def keep(self) -> bool:
        """Start again what has ended; always True, so that it can be asked for being alive."""
        for pid, lane in list(self.children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                log.warning("the lane %s ended with %d; it is started again", lane, status)
                del self.children[pid]
                self.start(lane)
        return True

    def stop(self) -> None:
        """Have every lane put its job back, and wait for that."""
        for pid in self.children:
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        for pid in self.children:
            while os.waitpid(pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > until:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.02)


def main(alive=lambda: True) -> None:
    """Run until SIGTERM; a build in the middle is cancelled and queued again."""
    from django.conf import settings

    def stop(signum, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    def make(lane: str | None) -> Runner:
        options = settings.VECTORS
        return Runner(
            database.conninfo_from_settings(),
            memory_mib=options["index_memory_mib"],
            auto_points=options["auto_index_points"],
            merge_points=options["merge_index_points"],
            pause_seconds=options["auto_index_pause_seconds"],
            recall_hours=options["recall_hours"],
            lane=lane,
        )

    lanes = Lanes(make)
    try:
        for lane in LANES:
            lanes.start(lane)
        make(None).schedule_for_ever(lambda: lanes.keep() and alive())
    except KeyboardInterrupt:
        log.info("stopped")
    finally:
        lanes.stop()
