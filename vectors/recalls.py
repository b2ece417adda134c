"""Recall of collections as it was measured: asking for a measurement, the series, and when one is due.

`vectors/jobs/recall.py` measures.
"""

import datetime
import time

from psycopg import errors as pg_errors

from controlplane import ids
from controlplane.errors import ConflictError, InvalidError
from vectors import collections, database, widths
from vectors.collections import Collection
from vectors.jobs import records

MEASURE = "recall.measure"
# Of a collection; with one a day more than two years.
SAMPLES_KEPT = 1000
DEFAULT = {"queries": 100, "k": 10, "recall": None}
# The share of a collection's points that must have been written since for another measurement by itself.
CHANGED_LEAST = 0.05
# How often a runner looks for what is due, and the lock that makes one of several runners queue it.
LOOK_SECONDS = 15.0
QUEUE_LOCK = 0x41494E45
COLUMNS = ("at", "k", "queries", "asked", "recall", "ef", "plan", "points", "p50_ms", "exact_p50_ms")
# Rows written to a collection's table since PostgreSQL began to count.
WRITES = "s.n_tup_ins + s.n_tup_upd + s.n_tup_del"
STATISTICS = (
    "pg_stat_user_tables s ON s.schemaname = 'vectors_data'"
    " AND s.relname = 'p_' || replace(c.id::text, '-', '')"
)


def recall_measure(*, name: str, queries: int, k: int, recall: float | None = None) -> dict:
    """Queue a measurement; the job. ConflictError when one of this collection is on its way."""
    if recall is not None and recall not in widths.RECALLS:
        raise InvalidError("recall is 0.95 or 0.99; leave it out for the default.", field="recall")
    collection = collections.collection_load(name)
    params = {"queries": queries, "k": k, "recall": recall}
    with database.pool().connection() as connection:
        try:
            job_id = records.job_queue(connection.db, collection.id, MEASURE, params)
        except pg_errors.UniqueViolation:
            raise ConflictError(
                "The recall of this collection is being measured already; wait for it.", code="measuring"
            ) from None
        except pg_errors.ForeignKeyViolation:
            raise collections.unknown(name) from None
    return records.job_get(ids.encode("job", job_id))


def recall_list(
    collection: Collection,
    *,
    limit: int,
    before: int | None = None,
    since: datetime.datetime | None = None,
    until: datetime.datetime | None = None,
) -> tuple[list[dict], int | None]:
    """Measurements with since <= at < until, the newest first, and the number to go on before."""
    with database.pool().connection() as connection:
        rows = connection.db.execute(
            f"SELECT id, {', '.join(COLUMNS)} FROM vectors_recall WHERE collection_id = %s"
            " AND (%s::bigint IS NULL OR id < %s) AND (%s::timestamptz IS NULL OR at >= %s)"
            " AND (%s::timestamptz IS NULL OR at < %s) ORDER BY id DESC LIMIT %s",
            [collection.id, before, before, since, since, until, until, limit + 1],
        ).fetchall()
    items = [dict(zip(COLUMNS, row[1:], strict=True)) for row in rows[:limit]]
    return items, rows[limit - 1][0] if len(rows) > limit else None


def sample_keep(db, collection_id, sample: dict, *, most: int = SAMPLES_KEPT) -> None:
    """Add a measurement to a collection's series, and let go of the oldest."""
    db.execute(
        f"INSERT INTO vectors_recall (collection_id, {', '.join(COLUMNS)})"
        f" VALUES (%s, now(), {', '.join(['%s'] * (len(COLUMNS) - 1))})",
        [collection_id, *(sample[name] for name in COLUMNS[1:])],
    )
    db.execute(
        "DELETE FROM vectors_recall WHERE collection_id = %s AND id <= (SELECT id FROM vectors_recall"
        " WHERE collection_id = %s ORDER BY id DESC OFFSET %s LIMIT 1)",
        [collection_id, collection_id, most],
    )


class Schedule:
    """Queues measurements that are due by themselves, one at a time in the whole database.

    Due is a collection with an index that was never measured, or was built since, or that was measured
    longer ago than the interval and of which CHANGED_LEAST was written meanwhile. Indexes come first: they
    are what makes queries fast, and a measurement reads much.
    """

    def __init__(self, hours: float):
        self.hours = hours
        self._next = 0.0

    def queue_due(self, db) -> None:
        now = time.monotonic()
        if not self.hours or now < self._next:
            return
        self._next = now + LOOK_SECONDS
        with db.transaction():
            if not db.execute("SELECT pg_try_advisory_xact_lock(%s)", [QUEUE_LOCK]).fetchone()[0]:
                return
            due = db.execute(
                f"SELECT c.id FROM vectors_collection c JOIN {STATISTICS} LEFT JOIN LATERAL"
                " (SELECT created_at, (result ->> 'writes')::bigint AS writes FROM vectors_job"
                " WHERE collection_id = c.id AND kind = %(measure)s"
                " ORDER BY created_at DESC LIMIT 1) last ON true"
                " WHERE c.index_built IS NOT NULL AND NOT EXISTS"
                " (SELECT 1 FROM vectors_job WHERE kind IN (%(measure)s, 'index.build', 'index.merge')"
                " AND state IN ('queued', 'running'))"
                " AND (last.created_at IS NULL OR EXISTS"
                " (SELECT 1 FROM vectors_job j WHERE j.collection_id = c.id AND j.kind = 'index.build'"
                " AND j.state = 'succeeded' AND j.finished_at > last.created_at)"
                " OR last.created_at < now() - %(hours)s * interval '1 hour'"
                f" AND abs({WRITES} - coalesce(last.writes, 0)) >= %(changed)s * greatest(s.n_live_tup, 1))"
                " ORDER BY last.created_at NULLS FIRST LIMIT 1",
                {"measure": MEASURE, "hours": self.hours, "changed": CHANGED_LEAST},
            ).fetchone()
            if due is not None:
                records.job_queue(db, due[0], MEASURE, DEFAULT)
