"""Indexes: asking for a build, dropping one, and what one will take."""

from psycopg import errors as pg_errors
from psycopg.types.json import Jsonb

from controlplane import ids
from controlplane.errors import ConflictError, InvalidError
from vectors import collections, database
from vectors.collections import Collection
from vectors.jobs import records

BUILD = "index.build"


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
    return records.job_get(ids.encode("job", job_id))


def index_delete(*, name: str) -> None:
    """Stop a build, drop the index; queries are exact from then on, and none is built by itself."""
    collection = collections.collection_load(name)
    with database.pool().connection() as connection:
        connection.db.execute(
            "UPDATE vectors_job SET state = 'cancelled', finished_at = now()"
            " WHERE collection_id = %s AND kind = %s AND state IN ('queued', 'running')",
            [collection.id, BUILD],
        )
        records.builds_stop(connection, collection.id)
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


def index_get(collection: Collection) -> dict:
    """The index's state: none, queued, building, ready or failed (`job` says why), and what a build needs."""
    with database.pool().connection() as connection:
        row = connection.db.execute(
            f"SELECT {records.COLUMNS} FROM {records.SOURCE} WHERE j.collection_id = %s AND j.kind = %s"
            " ORDER BY j.id DESC LIMIT 1",
            [collection.id, BUILD],
        ).fetchone()
        job = records.with_progress(connection, row) if row else None
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
