"""Indexes: asking for a build, how far it is, and what it will take."""

import datetime

from psycopg import errors as pg_errors
from psycopg.types.json import Jsonb

from controlplane import ids
from controlplane.errors import ConflictError, InvalidError, NotFoundError
from vectors import collections, database
from vectors.collections import Collection

BUILD = "index.build"
JOB_COLUMNS = (
    "j.id, c.name, j.kind, j.state, j.params, j.result, j.error, j.attempt, j.created_at, j.started_at,"
    " j.finished_at, j.collection_id"
)
# The share of a build that loading the rows into the graph takes; validation is the rest.
LOADING = 0.95


def graph_bytes(rows: int, dimension: int, m: int, precision: str = "vector") -> int:
    """About the memory that a graph of this many rows needs while it is built."""
    return int(rows * (dimension * (2 if precision == "halfvec" else 4) + 8 + 2 * m * 16 + 200) * 1.05)


def index_build(*, name: str, options: dict | None = None) -> dict:
    """Queue the build of a collection's index; the job. ConflictError when one is on its way."""
    collection = collections.collection_load(name)
    chosen = collections.index_options(options, collection.dimension, collection.index_options, at="index")
    if chosen["type"] != "hnsw":
        if options and options.get("type") == "flat":
            raise InvalidError(
                "flat needs no build: DELETE the index to search exactly.", field="type", code="not_buildable"
            )
        chosen["type"] = "hnsw"
    collections.indexable(collection.dimension, chosen["precision"], "")
    with database.pool().connection() as connection:
        try:
            with connection.db.transaction():
                job_id = ids.uuid7()
                connection.db.execute(
                    "INSERT INTO vectors_job"
                    " (id, collection_id, kind, state, params, error, attempt, runner, created_at)"
                    " VALUES (%s, %s, %s, 'queued', %s, '', 0, '', now())",
                    [job_id, collection.id, BUILD, Jsonb(chosen)],
                )
                connection.db.execute(
                    "UPDATE vectors_collection SET index_options = %s, updated_at = now() WHERE id = %s",
                    [Jsonb(chosen), collection.id],
                )
                connection.db.execute("NOTIFY vectors_jobs")
        except pg_errors.UniqueViolation:
            raise ConflictError(
                "An index of this collection is being built already; wait for it, or delete it to stop it.",
                code="building",
            ) from None
        except pg_errors.ForeignKeyViolation:
            raise collections.unknown(name) from None
    collections.collection_forget(name)
    return job_get(ids.encode("job", job_id))


def index_delete(*, name: str) -> None:
    """Stop a build, drop the index; queries are exact from then on, and none is built by itself."""
    collection = collections.collection_load(name)
    with database.pool().connection() as connection:
        connection.db.execute(
            "UPDATE vectors_job SET state = 'cancelled', finished_at = now()"
            " WHERE collection_id = %s AND kind = %s AND state IN ('queued', 'running')",
            [collection.id, BUILD],
        )
        connection.db.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index WHERE relid = to_regclass(%s)",
            [collection.table],
        )
        connection.db.execute(
            "UPDATE vectors_collection SET index_built = NULL, auto_index = false, updated_at = now()"
            " WHERE id = %s",
            [collection.id],
        )
        indexes_drop(connection.db, collection.id, keep=None)
    collections.collection_forget(name)


def indexes_drop(db, collection_id, keep: str | None) -> None:
    """Drop the collection's vector indexes but `keep`, valid or left over by a build that died."""
    rows = db.execute(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = to_regclass(%s)"
        " AND (SELECT relname FROM pg_class WHERE oid = indexrelid) ~ '^v_' "
        " AND (SELECT relname FROM pg_class WHERE oid = indexrelid) IS DISTINCT FROM %s",
        [collections.table_of(collection_id), keep],
    ).fetchall()
    for (index,) in rows:
        db.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")


def _job(row) -> dict:
    return {
        "id": ids.encode("job", row[0]),
        "collection": row[1],
        "kind": row[2],
        "state": row[3],
        "params": row[4],
        "result": row[5],
        "error": row[6],
        "attempt": row[7],
        "created_at": row[8],
        "started_at": row[9],
        "finished_at": row[10],
    }


def _with_progress(connection, row) -> dict:
    """The job with percent, phase and time left; what runs is asked of PostgreSQL itself."""
    job = _job(row)
    job["percent"] = 100.0 if job["state"] == "succeeded" else 0.0
    job["phase"], job["seconds_left"] = None, None
    if job["state"] != "running":
        return job
    progress = connection.db.execute(
        "SELECT phase, blocks_done, blocks_total, tuples_done, tuples_total, now()"
        " FROM pg_stat_progress_create_index"
        " WHERE relid = to_regclass(%s) ORDER BY pid LIMIT 1",
        [collections.table_of(row[11])],
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
        spent = (now - job["started_at"]) / datetime.timedelta(seconds=1)
        job["seconds_left"] = round(spent * (100 / job["percent"] - 1), 1)
    return job


def job_get(public_id: str) -> dict:
    """A job with its progress; NotFoundError."""
    try:
        job_id = ids.decode("job", public_id)
    except ValueError:
        raise NotFoundError("There is no such job.", code="unknown_job") from None
    with database.pool().connection() as connection:
        row = connection.db.execute(
            f"SELECT {JOB_COLUMNS} FROM vectors_job j JOIN vectors_collection c ON c.id = j.collection_id"
            " WHERE j.id = %s",
            [job_id],
        ).fetchone()
        if row is None:
            raise NotFoundError("There is no such job.", code="unknown_job")
        return _with_progress(connection, row)


def job_list(*, limit: int, after: str = "") -> tuple[list[dict], str | None]:
    """Jobs, the newest first, and the id to go on after."""
    condition, parameters = "", []
    if after:
        try:
            parameters.append(ids.decode("job", after))
        except ValueError:
            raise InvalidError(
                "This is no cursor of a former answer.", code="invalid_cursor", field="cursor"
            ) from None
        condition = "WHERE j.id < %s"
    with database.pool().connection() as connection:
        rows = connection.db.execute(
            f"SELECT {JOB_COLUMNS} FROM vectors_job j JOIN vectors_collection c ON c.id = j.collection_id"
            f" {condition} ORDER BY j.id DESC LIMIT %s",
            [*parameters, limit + 1],
        ).fetchall()
        items = [_with_progress(connection, row) for row in rows[:limit]]
    return items, items[-1]["id"] if len(rows) > limit else None


def index_get(collection: Collection) -> dict:
    """The index's state: none, queued, building, ready or failed (`job` says why), and what a build needs."""
    with database.pool().connection() as connection:
        row = connection.db.execute(
            f"SELECT {JOB_COLUMNS} FROM vectors_job j JOIN vectors_collection c ON c.id = j.collection_id"
            " WHERE j.collection_id = %s AND j.kind = %s ORDER BY j.id DESC LIMIT 1",
            [collection.id, BUILD],
        ).fetchone()
        job = _with_progress(connection, row) if row else None
        built = connection.db.execute(
            "SELECT index_built, index_options, auto_index FROM vectors_collection WHERE id = %s",
            [collection.id],
        ).fetchone()
    if built is None:
        raise collections.unknown(collection.name)
    state = "ready" if built[0] else "none"
    if job and job["state"] in ("queued", "running"):
        state = "queued" if job["state"] == "queued" else "building"
    elif job and job["state"] == "failed" and not built[0]:
        state = "failed"
    return {
        "collection": collection.name,
        "state": state,
        "options": built[1],
        "built": {key: value for key, value in (built[0] or {}).items() if key != "name"} or None,
        "auto": built[2],
        "memory_needed_bytes": graph_bytes(
            collection.rows, collection.dimension, built[1]["m"], built[1].get("precision", "vector")
        ),
        "percent": job["percent"]
        if job and state in ("queued", "building")
        else (100.0 if built[0] else 0.0),
        "seconds_left": job["seconds_left"] if job else None,
        "job": job,
    }
