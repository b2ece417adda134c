"""Jobs as they are kept: shown, listed, cancelled."""

import datetime
import time
import uuid

from psycopg.types.json import Jsonb

from controlplane import ids
from controlplane.errors import ConflictError, InvalidError, NotFoundError
from vectors import collections, database

COLUMNS = (
    "j.id, c.name, j.kind, j.state, j.params, j.result, j.error, j.attempt, j.created_at, j.started_at,"
    " j.finished_at, j.progress, j.collection_id"
)
SOURCE = "vectors_job j JOIN vectors_collection c ON c.id = j.collection_id"
# Kinds that are one CREATE INDEX, whose progress PostgreSQL keeps.
BUILDS = ("index.build", "index.merge")
# Of finished jobs of a kind and collection, and how often a runner looks for more.
KEPT = 100
PRUNE_SECONDS = 600.0
# The share of a build that loading the rows into the graph takes; validation is the rest.
LOADING = 0.95


# Of the progress: from where a runner goes on.
INTERNAL = ("resume", "read")


def _shown(params: dict) -> dict:
    """Parameters without what only the runner needs to know; the query of a URL may hold a signature."""
    shown = {name: value for name, value in params.items() if name != "upload_id"}
    if "?" in (shown.get("url") or ""):
        shown["url"] = shown["url"].partition("?")[0] + "?..."
    return shown


def _job(row) -> dict:
    return {
        "id": ids.encode("job", row[0]),
        "collection": row[1],
        "kind": row[2],
        "state": row[3],
        "params": _shown(row[4]),
        "result": row[5],
        "error": row[6],
        "attempt": row[7],
        "created_at": row[8],
        "started_at": row[9],
        "finished_at": row[10],
        "progress": row[11] and {key: row[11][key] for key in row[11] if key not in INTERNAL},
    }


def with_progress(connection, row) -> dict:
    """The job with percent, phase and time left; what runs is asked of PostgreSQL itself."""
    job = _job(row)
    job["percent"] = 100.0 if job["state"] == "succeeded" else 0.0
    job["phase"], job["seconds_left"] = None, None
    if job["state"] != "running":
        return job
    if job["kind"] not in BUILDS:
        return _with_reported(connection, job)
    progress = connection.db.execute(
        "SELECT phase, blocks_done, blocks_total, tuples_done, tuples_total, now()"
        " FROM pg_stat_progress_create_index"
        " WHERE relid = to_regclass(%s) ORDER BY pid LIMIT 1",
        [collections.table_of(row[12])],
    ).fetchone()
    if progress is None:
        return job
    phase, blocks, blocks_all, tuples, tuples_all, now = progress
    job["phase"] = phase
    done = max(blocks / blocks_all if blocks_all else 0.0, tuples / tuples_all if tuples_all else 0.0)
    if "validat" in phase or "old snapshots" in phase:
        job["percent"] = round(100 * (LOADING + (1 - LOADING) * min(done, 1) / 2), 1)
    elif "loading" in phase or "building" in phase:
        job["percent"] = round(100 * LOADING * min(done, 1), 1)
    if job["started_at"] and job["percent"] >= 1:
        job["seconds_left"] = _seconds_left(now - job["started_at"], job["percent"])
    return job


def _with_reported(connection, job: dict) -> dict:
    """The job with what its handler reported: rows or bytes done of all."""
    progress = job["progress"] or {}
    job["phase"] = progress.get("phase")
    for done, whole in (("bytes", "bytes_total"), ("rows", "rows_total"), ("indexes", "indexes_total")):
        if progress.get(whole):
            job["percent"] = round(100 * min(progress.get(done, 0) / progress[whole], 1), 1)
            break
    if job["started_at"] and job["percent"] >= 1:
        now = connection.db.execute("SELECT now()").fetchone()[0]
        job["seconds_left"] = _seconds_left(now - job["started_at"], job["percent"])
    return job


def _seconds_left(spent: datetime.timedelta, percent: float) -> float:
    return round(spent / datetime.timedelta(seconds=1) * (100 / percent - 1), 1)


def job_queue(db, collection_id: uuid.UUID, kind: str, params: dict) -> uuid.UUID:
    """Add a job and wake a runner; psycopg's UniqueViolation when one of this kind is unfinished."""
    job_id = ids.uuid7()
    with db.transaction():
        db.execute(
            "INSERT INTO vectors_job"
            " (id, collection_id, kind, state, params, error, attempt, runner, created_at)"
            " VALUES (%s, %s, %s, 'queued', %s, '', 0, '', now())",
            [job_id, collection_id, kind, Jsonb(params)],
        )
        db.execute("NOTIFY vectors_jobs")
    return job_id


def job_cancel(public_id: str) -> dict:
    """Stop a job that is queued or running; the job. NotFoundError, ConflictError when it has ended."""
    job = job_get(public_id)
    with database.pool().connection() as connection:
        row = connection.db.execute(
            "UPDATE vectors_job SET state = 'cancelled', finished_at = now()"
            " WHERE id = %s AND state IN ('queued', 'running') RETURNING kind, collection_id",
            [ids.decode("job", public_id)],
        ).fetchone()
        if row is None:
            raise ConflictError(f"The job has {job['state']} already.", code="ended")
        if row[0] in BUILDS:
            builds_stop(connection, row[1])
    return job_get(public_id)


def builds_stop(connection: database.Connection, collection_id) -> None:
    """Cancel what builds an index of a collection at this moment."""
    connection.db.execute(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index WHERE relid = to_regclass(%s)",
        [collections.table_of(collection_id)],
    )


def job_get(public_id: str) -> dict:
    """A job with its progress; NotFoundError."""
    try:
        job_id = ids.decode("job", public_id)
    except ValueError:
        raise NotFoundError("There is no such job.", code="unknown_job") from None
    with database.pool().connection() as connection:
        row = connection.db.execute(
            f"SELECT {COLUMNS} FROM {SOURCE} WHERE j.id = %s",
            [job_id],
        ).fetchone()
        if row is None:
            raise NotFoundError("There is no such job.", code="unknown_job")
        return with_progress(connection, row)


def id_after(prefix: str, cursor: str) -> uuid.UUID:
    """The id that a list goes on after; InvalidError when the cursor is none of ours."""
    try:
        return ids.decode(prefix, cursor)
    except ValueError:
        raise InvalidError(
            "This is no cursor of a former answer.", code="invalid_cursor", field="cursor"
        ) from None


def job_list(*, limit: int, after: str = "") -> tuple[list[dict], str | None]:
    """Jobs, the newest first, and the id to go on after."""
    condition, parameters = "", []
    if after:
        parameters.append(id_after("job", after))
        condition = "WHERE j.id < %s"
    with database.pool().connection() as connection:
        rows = connection.db.execute(
            f"SELECT {COLUMNS} FROM {SOURCE} {condition} ORDER BY j.id DESC LIMIT %s",
            [*parameters, limit + 1],
        ).fetchall()
        items = [with_progress(connection, row) for row in rows[:limit]]
    return items, items[-1]["id"] if len(rows) > limit else None


class Pruning:
    """Lets go of old jobs: merges and measurements come by themselves, and for ever."""

    def __init__(self):
        self._next = 0.0

    def prune_due(self, db) -> None:
        """Every PRUNE_SECONDS, delete the finished jobs of a collection and kind but the newest KEPT."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PRUNE_SECONDS
            jobs_prune(db)


def jobs_prune(db, *, keep: int = KEPT) -> None:
    db.execute(
        "DELETE FROM vectors_job WHERE id IN (SELECT id FROM (SELECT id, row_number()"
        " OVER (PARTITION BY collection_id, kind ORDER BY id DESC) AS place FROM vectors_job"
        " WHERE state NOT IN ('queued', 'running')) finished WHERE place > %s)",
        [keep],
    )
