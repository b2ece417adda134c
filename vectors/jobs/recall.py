"""Measurements of recall: what queries find of what exact search finds, on points of the collection."""

import contextlib
import statistics
import time
from collections import Counter

import psycopg
from django.conf import settings

from vectors import collections, database, recalls, search
from vectors.jobs.work import FailedError, Work
from vectors.kinds import DISTANCES

# As many times the points wanted are read from random pages and chosen among: those of one page were often
# written together and are alike.
SPREAD = 20
LOCK = 0x41494E46
WAIT_SECONDS = 0.5


def measure(work: Work) -> dict:
    """Ask for points of the collection both ways; the result is kept in its series.

    Each query runs as a caller's would, on a connection of its own kind. It stops after
    AINDUS_RECALL_SECONDS with the queries done by then.
    """
    seconds = settings.VECTORS["recall_seconds"]
    with (
        alone(work),
        contextlib.closing(database.Connection(database.pool().conninfo, seconds * 1000)) as connection,
    ):
        connection.watched = False
        try:
            sample = measured(work, connection, time.monotonic() + seconds)
        except psycopg.errors.QueryCanceled:
            raise FailedError(
                f"One exact query takes longer than {seconds} s (AINDUS_RECALL_SECONDS); allow more."
            ) from None
    writes = work.db.execute(
        f"SELECT {recalls.WRITES} FROM vectors_collection c JOIN {recalls.STATISTICS} WHERE c.id = %s",
        [work.collection_id],
    ).fetchone()
    with work.db.transaction():
        work.report(force=True, rows=sample["queries"], rows_total=sample["queries"])
        recalls.sample_keep(work.db, work.collection_id, sample)
    return sample | {"writes": writes[0] if writes else 0}


@contextlib.contextmanager
def alone(work: Work):
    """Hold the lock of measurements: exact searches read whole collections, and two at once would halve each
    other and what the database has left for callers."""
    while not work.db.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()[0]:
        work.report(force=True, phase="waiting for another measurement")
        time.sleep(WAIT_SECONDS)
    try:
        yield
    finally:
        if not work.db.closed and not work.db.broken:
            work.db.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def measured(work: Work, connection: database.Connection, deadline: float) -> dict:
    """One sample of the series, made before a monotonic time (or of one query)."""
    k, asked = work.params["k"], work.params.get("recall")
    collections.collection_forget()
    collection = collections.collection_get(work.collection)
    chosen = points_sample(connection, collection, work.params["queries"])
    if not chosen:
        raise FailedError("The collection holds no points to ask for.")
    found, whole, times, exact_times, plans = 0, 0, [], [], Counter()
    for done, (namespace, point_id, packed) in enumerate(chosen):
        if done and time.monotonic() > deadline:
            break
        work.report(phase="querying", rows=done, rows_total=len(chosen))
        query = {"packed": packed, "top_k": k + 1, "namespace": namespace, "include": ()}
        # Both see the same points, whatever is written meanwhile.
        connection.simple("BEGIN ISOLATION LEVEL REPEATABLE READ")
        started = time.perf_counter()
        answer = search.points_query(connection, collection, recall=asked, **query)
        between = time.perf_counter()
        exact = search.points_query(connection, collection, exact=True, **query)
        exact_times.append(time.perf_counter() - between)
        times.append(between - started)
        connection.simple("COMMIT")
        plans[answer["plan"], answer["ef"]] += 1
        best = without(exact["matches"], point_id, k)
        found += hits(without(answer["matches"], point_id, k), best, work.metric)
        whole += len(best)
    plan, ef = plans.most_common(1)[0][0]
    return {
        "k": k,
        "queries": len(times),
        "asked": asked,
        # A point that is alone in its namespace has no others to find.
        "recall": found / whole if whole else 1.0,
        "ef": ef,
        "plan": plan,
        "points": collection.rows,
        "p50_ms": round(statistics.median(times) * 1000, 3),
        "exact_p50_ms": round(statistics.median(exact_times) * 1000, 3),
    }


def points_sample(connection, collection, count: int) -> list[tuple[str, str, bytes]]:
    """(namespace, id, vector in binary) of up to so many points, chosen at random."""
    percent = min(100.0, 100.0 * SPREAD * count / max(collection.rows, 1))
    while True:
        result = connection.run(
            f"SELECT namespace, id, embedding FROM {collection.table} TABLESAMPLE SYSTEM ({percent:.6f})"
            f" ORDER BY random() LIMIT {count}",
            prepare=False,
        )
        if result.ntuples == count or percent == 100.0:
            break
        percent = min(100.0, percent * 10)
    value = result.get_value
    return [(value(at, 0).decode(), value(at, 1).decode(), value(at, 2)) for at in range(result.ntuples)]


def without(matches: list[dict], point_id: str, k: int) -> list[dict]:
    """The k nearest but for the point that was asked for."""
    return [match for match in matches if match["id"] != point_id][:k]


def hits(matches: list[dict], best: list[dict], metric: str) -> int:
    """How many matches are as near as the last of the best: points equally near stand for each other."""
    if not best:
        return 0
    least = best[-1]["score"]
    if metric in DISTANCES:
        return sum(match["score"] <= least for match in matches)
    return sum(match["score"] >= least for match in matches)
