"""Indexes: asking for a build, dropping one, and what one will take."""

from django.conf import settings
from psycopg import errors as pg_errors
from psycopg.types.json import Jsonb

from controlplane import ids
from controlplane.errors import ConflictError, InvalidError
from vectors import collections, database, kinds
from vectors.collections import Collection
from vectors.jobs import records

BUILD, MERGE = "index.build", "index.merge"


def memory_limit_bytes(db, memory_mib: int) -> int:
    """The most maintenance_work_mem of a build: of the setting, or (0) the server's own."""
    if memory_mib:
        return memory_mib * 2**20
    kib = db.execute(
        "SELECT reset_val::bigint FROM pg_settings WHERE name = 'maintenance_work_mem'"
    ).fetchone()[0]
    return kib * 1024


def estimate(db, collection: Collection, options: dict) -> dict:
    """What a build will need: {memory_needed_bytes, memory_limit_bytes, warning}; no warning when it fits."""
    needed = kinds.build_bytes(options, collection.dimension, collection.rows)
    limit = memory_limit_bytes(db, settings.VECTORS["index_memory_mib"])
    return {
        "memory_needed_bytes": needed,
        "memory_limit_bytes": limit,
        "warning": does_not_fit(needed, limit) if needed > limit else None,
    }


def does_not_fit(needed: int, limit: int) -> str:
    return (
        f"The graph needs about {needed >> 20} MiB and may take {limit >> 20} MiB, which makes building"
        " several times slower: raise AINDUS_INDEX_MEMORY_MIB or the server's maintenance_work_mem, or build"
        " at precision halfvec."
    )


def index_build(*, name: str, options: dict | None = None) -> dict:
    """Queue the build of a collection's index; the job. ConflictError when one is on its way."""
    collection = collections.collection_load(name)
    given = {key: value for key, value in (options or {}).items() if value is not None}
    if given.get("type") == "flat":
        raise InvalidError(
            "flat needs no build: DELETE the index to search exactly.", field="type", code="not_buildable"
        )
    if collection.index_options["type"] == "flat":
        given.setdefault("type", "hnsw")
    chosen = kinds.options(given, collection.metric, collection.dimension, collection.index_options)
    with database.pool().connection() as connection:
        try:
            with connection.db.transaction():
                job_id = records.job_queue(connection.db, collection.id, BUILD, chosen)
                connection.db.execute(
                    "UPDATE vectors_collection SET index_options = %s, updated_at = now() WHERE id = %s",
                    [Jsonb(chosen), collection.id],
                )
        except pg_errors.UniqueViolation:
            raise ConflictError(
                "An index of this collection is being built already; wait for it, or delete it to stop it.",
                code="building",
            ) from None
        except pg_errors.ForeignKeyViolation:
            raise collections.unknown(name) from None
        needs = estimate(connection.db, collection, chosen)
    collections.collection_forget(name)
    return records.job_get(ids.encode("job", job_id)) | needs


def index_delete(*, name: str) -> None:
    """Stop a build, drop the index; queries are exact from then on, and none is built by itself."""
    collection = collections.collection_load(name)
    with database.pool().connection() as connection:
        connection.db.execute(
            "UPDATE vectors_job SET state = 'cancelled', finished_at = now()"
            " WHERE collection_id = %s AND kind = ANY(%s) AND state IN ('queued', 'running')",
            [collection.id, list(records.BUILDS)],
        )
        records.builds_stop(connection, collection.id)
        connection.db.execute(
            "UPDATE vectors_collection SET index_built = NULL, auto_index = false, updated_at = now()"
            " WHERE id = %s",
            [collection.id],
        )
        indexes_drop(connection.db, collection.id, keep=())
    collections.collection_forget(name)


def indexes_drop(db, collection_id, keep) -> None:
    """Drop the collection's vector indexes but those named, valid or left over by a build that died.

    What an unfinished job builds at this moment stays; its own end looks after it.
    """
    rows = db.execute(
        "SELECT c.oid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE i.indrelid = to_regclass(%s) AND c.relname ~ '^v_' AND NOT c.relname = ANY(%s)"
        " AND NOT EXISTS (SELECT 1 FROM vectors_job j WHERE j.collection_id = %s"
        " AND j.state IN ('queued', 'running') AND c.relname = 'v_' || replace(j.id::text, '-', ''))",
        [collections.table_of(collection_id), list(keep), collection_id],
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
        needs = estimate(connection.db, collection, built[1])
    described = collections.describe(collection)["index"]
    state = "ready" if built[0] else "none"
    if job and job["state"] in ("queued", "running"):
        state = "queued" if job["state"] == "queued" else "building"
    elif job and job["state"] == "failed" and not built[0]:
        state = "failed"
    return {
        "collection": collection.name,
        "state": state,
        "options": built[1],
        "built": collections.built_public(built[0]),
        "auto": built[2],
        "segments": described["segments"],
        "unindexed_points": described["unindexed_points"],
        **needs,
        "percent": job["percent"]
        if job and state in ("queued", "building")
        else (100.0 if built[0] else 0.0),
        "seconds_left": job["seconds_left"] if job else None,
        "job": job,
    }
