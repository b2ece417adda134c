"""Builds of vector indexes."""

import time

from psycopg.types.json import Jsonb

from vectors.collections import CACHE_SECONDS, METRICS, table_of
from vectors.indexes import graph_bytes, indexes_drop
from vectors.jobs.work import Work


def build(work: Work) -> dict | None:
    """Build an index beside the one that serves, then let it serve; None when the job was cancelled."""
    db, job_id, collection_id, params = work.db, work.job_id, work.collection_id, work.params
    dimension, metric = work.dimension, work.metric
    table = table_of(collection_id)
    built = db.execute("SELECT index_built FROM vectors_collection WHERE id = %s", [collection_id]).fetchone()
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
    memory_bytes, workers = memory(work, needed)
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


def memory(work: Work, needed: int) -> tuple[int, int]:
    """(maintenance_work_mem in bytes, parallel workers): what the graph needs, up to the limit."""
    kib, workers = work.db.execute(
        "SELECT (SELECT reset_val::bigint FROM pg_settings WHERE name = 'maintenance_work_mem'),"
        " (SELECT reset_val::int FROM pg_settings WHERE name = 'max_parallel_maintenance_workers')"
    ).fetchone()
    limit = work.memory_mib * 2**20 or kib * 1024
    return max(min(needed + 16 * 2**20, limit), 16 * 2**20), workers
