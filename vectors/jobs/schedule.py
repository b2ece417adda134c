"""Which indexes are due by themselves: the first of a collection that has grown, and of what is newer.

While writes go on, rows that no index covers are indexed from `merge_points` on; once they have paused, all
of them, so that a quiet collection is one index and nothing else.
"""

import contextlib
import time

from psycopg import errors as pg_errors

from vectors.collections import table_of
from vectors.indexes import BUILD, MERGE
from vectors.jobs import records
from vectors.segments import merge_due, parts_of, unindexed_from

# From so many times the points that make an index due, it is built although writes go on.
BUSY_FACTOR = 10
# A collection whose index was built with so many rows is merged from a hundredth of them on.
MERGE_SHARE = 0.01
MERGE_POINTS_MOST = 20_000
# How long a merge that found nothing to do, or failed, is not tried again.
REST_SECONDS = 60.0


class Schedule:
    """What the runner remembers between looks: when each collection was last written."""

    def __init__(self, *, auto_points: int, merge_points: int, pause_seconds: float):
        self.auto_points = auto_points
        self.merge_points = merge_points
        self.pause_seconds = pause_seconds
        # By collection: (writes counted, since when, the looks at it that found nothing).
        self._writes: dict = {}
        self._settled: dict = {}

    def queue_due(self, db) -> None:
        """Queue what is due; one of each kind and collection at a time."""
        now = time.monotonic()
        rows = db.execute(
            "SELECT c.id, c.index_options, c.index_built, c.auto_index,"
            " s.n_tup_ins + s.n_tup_upd + s.n_tup_del, s.n_live_tup,"
            " EXISTS (SELECT 1 FROM vectors_job j WHERE j.collection_id = c.id"
            " AND j.kind IN ('index.build', 'index.merge') AND j.state IN ('queued', 'running')),"
            " EXISTS (SELECT 1 FROM vectors_job j WHERE j.collection_id = c.id AND j.kind = 'index.build'"
            " AND j.state = 'failed')"
            " FROM vectors_collection c JOIN pg_stat_user_tables s ON s.schemaname = 'vectors_data'"
            " AND s.relname = 'p_' || replace(c.id::text, '-', '')"
            " WHERE c.index_built IS NOT NULL OR c.auto_index AND c.index_options ->> 'type' <> 'flat'"
        ).fetchall()
        seen = {}
        for collection_id, options, built, auto, writes, live, busy, failed in rows:
            before, since = self._writes.get(collection_id, (None, now))
            if writes != before:
                since = now
                self._settled.pop(collection_id, None)
            seen[collection_id] = (writes, since)
            if busy:
                self._settled.pop(collection_id, None)
                continue
            quiet = now - since >= self.pause_seconds
            if built:
                self._queue_merge(db, collection_id, built, quiet, now)
            elif auto and not failed and live >= self.auto_points * (1 if quiet else BUSY_FACTOR):
                queue(db, collection_id, BUILD, options)
        self._writes = seen

    def _queue_merge(self, db, collection_id, built: dict, quiet: bool, now: float) -> None:
        if self._settled.get(collection_id, 0.0) > now:
            return
        parts = parts_of(built)
        behind = unindexed_from(parts)
        if behind is None:
            return
        least = min(max(self.merge_points, int(parts[0].rows * MERGE_SHARE)), MERGE_POINTS_MOST)
        unindexed = db.execute(
            f"SELECT count(*) FROM (SELECT FROM {table_of(collection_id)} WHERE epoch >= {behind}"
            f" LIMIT {least}) newer"
        ).fetchone()[0]
        if merge_due(parts, unindexed, least, quiet) is not None:
            queue(db, collection_id, MERGE, {"least": least, "quiet": quiet})
            self._settled[collection_id] = now + REST_SECONDS
        elif quiet:
            # Until it is written again there is nothing to find.
            self._settled[collection_id] = float("inf")


def queue(db, collection_id, kind: str, params: dict) -> None:
    """Queue a job unless one of the kind is on its way, or the collection is gone."""
    with contextlib.suppress(pg_errors.UniqueViolation, pg_errors.ForeignKeyViolation):
        records.job_queue(db, collection_id, kind, params)
