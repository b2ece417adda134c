"""Makes the indexes that a collection declares, while it is read and written."""

import time

from psycopg import sql

from vectors import declared, words
from vectors.collections import table_of
from vectors.declarations import PRESENT
from vectors.jobs.work import CancelledError, Work


def make(work: Work) -> dict:
    """Drop the indexes that are not declared or were left half made, make those missing, one by one."""
    db, table = work.db, table_of(work.collection_id)
    started = time.monotonic()
    row = db.execute(
        "SELECT c.fields, c.text_language, EXISTS (SELECT 1 FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped)"
        " FROM vectors_collection c WHERE c.id = %s",
        [table, words.COLUMN, work.collection_id],
    ).fetchone()
    if row is None:
        raise CancelledError
    needed = declared.indexes(work.collection_id, *row)
    names = {index.name for index in needed}
    present = dict(db.execute(PRESENT, [table]).fetchall())
    dropped = [index for index, valid in present.items() if index not in names or not valid]
    missing = [index for index in needed if not present.get(index.name)]
    for index in dropped:
        work.report(phase="dropping an index", force=True)
        name = sql.Identifier("vectors_data", index)
        db.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(name))
    for done, index in enumerate(missing):
        work.report(phase="building an index", indexes=done, indexes_total=len(missing), force=True)
        db.execute(f"CREATE INDEX CONCURRENTLY {index.name} ON {table} {index.definition}")
    work.report(phase="reading statistics", indexes=len(missing), indexes_total=len(missing), force=True)
    # Without statistics of its own an index on an expression is taken to be worth nothing.
    db.execute(f"ANALYZE {table}")
    return {
        "made": len(missing),
        "dropped": len(dropped),
        "seconds": round(time.monotonic() - started, 3),
    }
