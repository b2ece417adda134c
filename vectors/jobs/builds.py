"""Builds of vector indexes: of a whole collection, and of what was written since (vectors/segments.py)."""

import time

from psycopg.types.json import Jsonb

from vectors import kinds
from vectors.collections import CACHE_SECONDS, table_of
from vectors.indexes import does_not_fit, indexes_drop, memory_limit_bytes
from vectors.jobs import calibration
from vectors.jobs.work import CancelledError, Work
from vectors.segments import Part, covered, merge_due, parts_of, unindexed_from, with_part

# Rows that a drain moves in one transaction: whoever writes one of them waits for as long as this takes.
DRAIN_ROWS = 100
# From so many unindexed rows on a merge uses all processors that a build may.
BUSY_ROWS = 8_000
MEMORY_LEAST_BYTES = 16 * 2**20


def build(work: Work) -> dict | None:
    """Build an index of all rows beside what serves, then let it serve; None when the job was cancelled."""
    served = work.db.execute(
        "SELECT index_built FROM vectors_collection WHERE id = %s", [work.collection_id]
    ).fetchone()[0]
    last = close_epoch(work, wait=bool(served))
    result = make_part(work, work.params, 0, last, workers=None)
    part = Part(index_of(work), 0, last, result["rows"])
    work.db.execute(f"ANALYZE {table_of(work.collection_id)}")
    kept = {
        **options_built(work.params, result["rows"]),
        "rows": result["rows"],
        "seconds": result["seconds"],
    }
    kept |= calibration.efs(work, part, kept, result["seconds"])
    serve(work, part, kept)
    return result


def options_built(options: dict, rows: int) -> dict:
    """What is kept of the options that an index of so many rows was built with."""
    kept = {"type": options["type"], "precision": options.get("precision", "vector")}
    if options["type"] == "ivfflat":
        return kept | {"lists": kinds.lists_of(options, rows)}
    return kept | {"m": options["m"], "ef_construction": options["ef_construction"]}


def merge(work: Work) -> dict | None:
    """Index what was written since the parts were built, with those parts that are small beside it."""
    table = table_of(work.collection_id)
    built = work.db.execute(
        "SELECT index_built FROM vectors_collection WHERE id = %s", [work.collection_id]
    ).fetchone()[0]
    parts = parts_of(built)
    unindexed = 0
    if parts and parts[-1].last is not None:
        unindexed = work.db.execute(
            f"SELECT count(*) FROM {table} WHERE epoch >= {unindexed_from(parts)}"
        ).fetchone()[0]
    due = merge_due(parts, unindexed, work.params["least"], work.params["quiet"])
    if due is None:
        return {"rows": 0, "seconds": 0.0, "how": "nothing"}
    if due.drain:
        return drain(work, parts)
    first = parts[due.start].first if due.start < len(parts) else parts[-1].last + 1
    last = close_epoch(work, wait=True)
    # A few rows are soon indexed without taking the processors from queries; of many, reading them exactly
    # costs queries more.
    result = make_part(work, built, first, last, workers=None if unindexed > BUSY_ROWS else 0)
    serve(work, Part(index_of(work), first, last, result["rows"]), None)
    return result | {"how": "build"}


def index_of(work: Work) -> str:
    """The name of the index that a job makes."""
    return f"v_{work.job_id.hex}"


def close_epoch(work: Work, *, wait: bool) -> int:
    """Begin a new epoch; the one before. With `wait` once everyone writes in the new one.

    Rows written in the old one later than that are covered as well: the index takes them one by one.
    """
    row = work.db.execute(
        "UPDATE vectors_collection SET epoch = epoch + 1 WHERE id = %s RETURNING epoch - 1",
        [work.collection_id],
    ).fetchone()
    if row is None:
        raise CancelledError
    if wait:
        time.sleep(CACHE_SECONDS + 0.2)
    return row[0]


def make_part(work: Work, options: dict, first: int, last: int, *, workers: int | None) -> dict:
    """Make the job's index of a range of epochs; workers None: as many as the server allows."""
    db, table, index = work.db, table_of(work.collection_id), index_of(work)
    indexes_drop(db, work.collection_id, keep=serving(work))
    # Of an earlier attempt, which the job itself still protects.
    db.execute(f"DROP INDEX CONCURRENTLY IF EXISTS vectors_data.{index}")
    rows = db.execute(f"SELECT count(*) FROM {table} WHERE {covered(first, last)}").fetchone()[0]
    needed = kinds.build_bytes(options, work.dimension, rows)
    limit = memory_limit_bytes(db, work.memory_mib)
    memory_bytes = max(min(needed + MEMORY_LEAST_BYTES, limit), MEMORY_LEAST_BYTES)
    if workers is None:
        workers = db.execute(
            "SELECT reset_val::int FROM pg_settings WHERE name = 'max_parallel_maintenance_workers'"
        ).fetchone()[0]
    notices: list[str] = []

    def notice(diagnostic) -> None:
        notices.append(diagnostic.message_primary or "")

    db.add_notice_handler(notice)
    started = time.monotonic()
    db.execute(f"SET maintenance_work_mem = '{memory_bytes // 1024}kB'")
    db.execute(f"SET max_parallel_maintenance_workers = {workers}")
    # The planner gives a build workers by the table's size alone; small ones gain as well.
    db.execute(f"ALTER TABLE {table} SET (parallel_workers = {workers})")
    try:
        db.execute(
            f"CREATE INDEX CONCURRENTLY {index} ON {table}"
            f" {kinds.definition(work.metric, work.dimension, options, rows)} WHERE {covered(first, last)}"
        )
    finally:
        db.remove_notice_handler(notice)
        if not db.broken and not db.closed:
            db.execute(f"ALTER TABLE IF EXISTS {table} RESET (parallel_workers)")
    db.execute(
        "SELECT gin_clean_pending_list(indexrelid) FROM pg_index JOIN pg_class ON oid = indexrelid"
        " WHERE indrelid = to_regclass(%s) AND relam = (SELECT oid FROM pg_am WHERE amname = 'gin')",
        [table],
    )
    spilled = any("no longer fits" in text for text in notices)
    return {
        "rows": rows,
        "seconds": round(time.monotonic() - started, 3),
        "memory_bytes": memory_bytes,
        "memory_needed_bytes": needed,
        "warning": does_not_fit(needed, memory_bytes) if spilled else None,
    }


def serving(work: Work) -> list[str]:
    """The names of the indexes that serve."""
    row = work.db.execute(
        "SELECT index_built FROM vectors_collection WHERE id = %s", [work.collection_id]
    ).fetchone()
    return [part.name for part in parts_of(row[0])] if row else []


def serve(work: Work, part: Part, kept: dict | None) -> None:
    """Let a part serve, in the place of those it covers; `kept`: what is new of the index as a whole.

    CancelledError when the job was cancelled, or when another build has covered the range meanwhile.
    """
    db = work.db
    with db.transaction():
        row = db.execute(
            "SELECT index_built FROM vectors_collection c WHERE id = %s AND EXISTS"
            " (SELECT 1 FROM vectors_job WHERE id = %s AND state = 'running') FOR NO KEY UPDATE OF c",
            [work.collection_id, work.job_id],
        ).fetchone()
        before = row[0] if row else None
        parts = with_part(parts_of(before), part) if row and (before or kept) else None
        if parts is not None:
            built = (kept or before) | {"parts": [part._asdict() for part in parts]}
            db.execute(
                "UPDATE vectors_collection SET index_built = %s, updated_at = now() WHERE id = %s",
                [Jsonb(built), work.collection_id],
            )
    if parts is None:
        db.execute(f"DROP INDEX CONCURRENTLY IF EXISTS vectors_data.{part.name}")
        raise CancelledError
    if before:
        # Whoever queries by what it remembers of the collection has the old indexes for as long.
        time.sleep(CACHE_SECONDS + 0.5)
    indexes_drop(db, work.collection_id, keep=serving(work))


def drain(work: Work, parts: tuple[Part, ...]) -> dict:
    """Move all rows behind the first part into its range, where its index takes them one by one."""
    db, table, first = work.db, table_of(work.collection_id), parts[0]
    total = db.execute(f"SELECT count(*) FROM {table} WHERE epoch > {first.last}").fetchone()[0]
    started, moved = time.monotonic(), 0
    while moved < total:
        # No lock is waited for, so none can be part of a deadlock; what is being written moves another time.
        count = db.execute(
            f"WITH chosen AS (SELECT namespace, id FROM {table} WHERE epoch > {first.last}"
            f" LIMIT {DRAIN_ROWS} FOR UPDATE SKIP LOCKED)"
            f" UPDATE {table} t SET epoch = {first.last} FROM chosen"
            " WHERE t.namespace = chosen.namespace AND t.id = chosen.id"
        ).rowcount
        if not count:
            break
        moved += count
        work.report(phase="moving rows into the index", rows=moved, rows_total=max(total, moved))
    # Rows of the other parts are in the first one now; any that is not is read exactly.
    with db.transaction():
        row = db.execute(
            "SELECT index_built FROM vectors_collection WHERE id = %s FOR NO KEY UPDATE", [work.collection_id]
        ).fetchone()
        now = parts_of(row[0]) if row else ()
        if now == parts:
            grown = first._replace(rows=first.rows + moved)
            db.execute(
                "UPDATE vectors_collection SET index_built = %s WHERE id = %s",
                [Jsonb(row[0] | {"parts": [grown._asdict()]}), work.collection_id],
            )
    if now == parts and len(parts) > 1:
        time.sleep(CACHE_SECONDS + 0.5)
        indexes_drop(db, work.collection_id, keep=serving(work))
    return {"rows": moved, "seconds": round(time.monotonic() - started, 3), "how": "drain"}
