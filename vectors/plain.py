"""The plain query, from its body's bytes to its answer's: one vector; no filter, cursor or threshold.

Nearly all requests are such, and PostgreSQL answers one in about a millisecond, so each call of a function on
the way is felt. What is not plain, not valid or not well (an option of another type, a graph that gave too
few rows, a lost connection) is left to `vectors/queries.py`, which says what is wrong and answers alike, at
twice the cost.
"""

import math
import struct
import time
import zlib
from operator import itemgetter
from typing import NamedTuple

import msgspec
import orjson
import psycopg

from controlplane.errors import ProblemError
from vectors import bodies, collections, database, points, queries, search, slow, vectors, widths

FIELDS = frozenset(("vector", "top_k", "namespace", "include", "recall"))
FORMATS = (1, 0)
METADATA = ("metadata",)
PLANS_MOST = 500
Fragment = orjson.Fragment
by_distance_and_id = itemgetter(1, 0)
# A score from a distance: the first and as many times the distance as the second.
SCORES = {"cosine": (1.0, -1.0), "ip": (0.0, -1.0)}


class Plan(NamedTuple):
    """How one collection is asked with certain options, for as long as what is known of it is fresh."""

    statement: str
    kind: str
    ef: int
    # For each span of the statement how many rows it must give; None: any number.
    wanted: tuple[int | None, ...]
    # About how many rows are compared.
    candidates: int
    namespace: bytes
    top_k: int
    include: tuple[str, ...]
    recall: float | None
    share: float
    # The checksum that a cursor's mark goes on from.
    mark: int
    score: tuple[float, float]


def answered(name: str, raw: bytes) -> bytes | None:
    """JSON of a plain query's answer; None: it is not for this way. TimedOutError."""
    started = time.perf_counter()
    try:
        body = orjson.loads(raw)
        if type(body) is not dict or not FIELDS.issuperset(body) or may_hold_booleans(raw):
            return None
        values = tuple(body["vector"])
        top_k = body.get("top_k", 10)
        key = (top_k, body.get("namespace", ""), tuple(body.get("include", METADATA)), body.get("recall"))
        collection = collections.collection_get(name)
        # 10.0 equals 10 and is no top_k.
        plan = collection.plans.get(key) if type(top_k) is int else None
        packed = vectors.packed(values, collection.dimension)
        if not vectors.NORM_LEAST <= math.hypot(*values) <= vectors.NORM_MOST:
            return None
        pool = database.pool()
        connection = pool.take(look=False)
    except (orjson.JSONDecodeError, KeyError, TypeError, struct.error, OverflowError, ProblemError):
        return None
    try:
        connection.set_timeout()
        if plan is None:
            plan = planned(connection, collection, body, key)
            if plan is None:
                return None
        widths.set_width(connection, collection, plan.ef)
        result = connection.run(plan.statement, (packed, plan.namespace), FORMATS)
        count = result.ntuples
        if count < plan.top_k:
            return None
        seconds = time.perf_counter() - started
        if seconds > slow.recorder.seconds:
            note(connection, collection, plan, seconds, answered=True)
        rows = connection.rows(result)
    except psycopg.errors.QueryCanceled as error:
        if plan is not None:
            note(connection, collection, plan, time.perf_counter() - started, answered=False)
        raise database.problem_from(error) from error
    except (psycopg.Error, ProblemError):
        return None
    finally:
        pool.give(connection)
    if len(plan.wanted) > 1:
        spans = [row[-1] for row in rows]
        for span, wanted in enumerate(plan.wanted):
            if wanted is not None and spans.count(span) < wanted:
                return None
    rows.sort(key=by_distance_and_id)
    del rows[plan.top_k :]
    base, sign = plan.score
    if plan.include == METADATA:
        matches = [
            {"id": point_id, "score": base + sign * distance, "metadata": Fragment(metadata)}
            for point_id, distance, metadata, _ in rows
        ]
    else:
        matches = [
            {"id": row[0], "score": base + sign * row[1]} | points.parts_of(row[2:-1], plan.include)
            for row in rows
        ]
    point_id, distance, *_ = rows[-1]
    mark = zlib.crc32(packed, plan.mark)
    return orjson.dumps(
        {
            "matches": matches,
            "plan": plan.kind,
            "ef": plan.ef,
            "candidates": max(plan.candidates, count),
            "exhausted": False,
            "next_cursor": queries.cursor_encode(distance, point_id, plan.top_k, mark),
            "took_ms": round((time.perf_counter() - started) * 1000, 3),
        }
    )


def may_hold_booleans(raw: bytes) -> bool:
    """Whether JSON of FIELDS may hold true or false, which would pass for 1 and 0 in a vector.

    Looks for letters of theirs that the fields' names have not, or once: it is much faster than for words.
    """
    return b"f" in raw or (b"u" in raw and (raw.count(b"u") > 1 or b"include" not in raw))


def note(connection, collection, plan: Plan, seconds: float, *, answered: bool) -> None:
    """Hand a slow query over to their log."""
    query = {"namespace": plan.namespace.decode(), "top_k": plan.top_k, "recall": plan.recall}
    found = {
        "plan": plan.kind,
        "ef": plan.ef,
        "candidates": plan.candidates,
        "matches": range(plan.top_k),
    }
    slow.recorder.note(
        connection, collection, query, found if answered else None, plan.share if answered else None, seconds
    )


def planned(connection, collection, body: dict, key: tuple) -> Plan | None:
    """The plan of a body's options, kept with the collection; None when they are wrong, or no graph helps."""
    if collection.bits:
        return None
    try:
        options = {name: value for name, value in body.items() if name != "vector"}
        query = msgspec.convert(options, bodies.OneQuery)
        queries.check_options(query, "")
    except (msgspec.ValidationError, ProblemError):
        return None
    include = tuple(dict.fromkeys(query.include))
    found = None
    if query.recall != "exact":
        found = search.graph_of(
            connection,
            collection,
            top_k=query.top_k,
            namespace=query.namespace,
            include=include,
            recall=query.recall,
        )
    if found is None:
        return None
    plan = Plan(
        statement=found.statement,
        kind=collection.index_type,
        ef=found.ef,
        wanted=tuple(None if span.exact else query.top_k for span in found.spans),
        candidates=search.scanned(collection, found.spans, found.ef, 0),
        namespace=query.namespace.encode(),
        top_k=query.top_k,
        include=include,
        recall=query.recall,
        share=found.share,
        mark=queries.mark_begun(collection, query.namespace),
        score=SCORES.get(collection.metric, (0.0, 1.0)),
    )
    if len(collection.plans) >= PLANS_MOST:
        collection.plans.clear()
    collection.plans[key] = plan
    return plan
