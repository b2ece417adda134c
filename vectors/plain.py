"""The plain query, from its body's bytes to its answer's: one vector; no filter, cursor or threshold.

Nearly all requests are such, and PostgreSQL answers one in about a millisecond, so every call of a function on
the way is felt. What is not plain, not valid or not well (an option of another type, a graph that gave too
few rows, a lost connection) is left to `vectors/queries.py`, which says what is wrong and answers alike, at
twice the cost.
"""

import math
import struct
import time
import zlib
from typing import NamedTuple

import msgspec
import orjson
import psycopg

from controlplane.errors import ProblemError
from vectors import bodies, collections, database, points, queries, search, vectors
from vectors.database import FLOAT8

FIELDS = frozenset(("vector", "top_k", "namespace", "include", "recall"))
FORMATS = (1, 0)
METADATA = ("metadata",)
PLANS_MOST = 500
# A score from a distance: the first and as many times the distance as the second.
SCORES = {"cosine": (1.0, -1.0), "ip": (0.0, -1.0)}


class Plan(NamedTuple):
    """How one collection is asked with certain options, for as long as what is known of it is fresh."""

    statement: str
    ef: int
    namespace: bytes
    top_k: int
    include: tuple[str, ...]
    # The checksum that a cursor's mark goes on from.
    mark: int
    score: tuple[float, float]


def answered(name: str, raw: bytes) -> bytes | None:
    """JSON of a plain query's answer; None: it is not for this way."""
    started = time.perf_counter()
    try:
        body = orjson.loads(raw)
        # True and false would pass for 1 and 0.
        if type(body) is not dict or not FIELDS.issuperset(body) or b"true" in raw or b"false" in raw:
            return None
        values = body["vector"]
        top_k = body.get("top_k", 10)
        key = (top_k, body.get("namespace", ""), tuple(body.get("include", METADATA)), body.get("recall"))
        collection = collections.collection_get(name)
        packed = vectors.packer(collection.dimension).pack(collection.dimension, 0, *values)
        norm = math.hypot(*values)
        # 10.0 equals 10 and is no top_k.
        plan = collection.plans.get(key) if type(top_k) is int else None
        if not vectors.NORM_LEAST <= norm <= vectors.NORM_MOST:
            return None
        pool = database.pool()
        connection = pool.take()
    except (orjson.JSONDecodeError, KeyError, TypeError, struct.error, OverflowError, ProblemError):
        return None
    try:
        if plan is None:
            plan = planned(connection, collection, body, key)
            if plan is None:
                return None
        connection.set_ef(plan.ef)
        result = connection.run(plan.statement, (packed, plan.namespace), FORMATS)
    except (psycopg.Error, ProblemError):
        return None
    finally:
        pool.give(connection)
    count = result.ntuples
    if count != plan.top_k:
        return None
    value, include, (base, sign) = result.get_value, plan.include, plan.score
    if include == METADATA:
        rows = [(FLOAT8(value(row, 1))[0], value(row, 0), value(row, 2)) for row in range(count)]
        rows.sort()
        matches = [
            {"id": point_id.decode(), "score": base + sign * distance, "metadata": orjson.Fragment(metadata)}
            for distance, point_id, metadata in rows
        ]
    else:
        rows = [(FLOAT8(value(row, 1))[0], value(row, 0), row) for row in range(count)]
        rows.sort()
        matches = [
            {"id": point_id.decode(), "score": base + sign * distance}
            | points.parts(result, row, 2, include)
            for distance, point_id, row in rows
        ]
    place = queries.Place(rows[-1][0], matches[-1]["id"], count)
    return orjson.dumps(
        {
            "matches": matches,
            "plan": "hnsw",
            "ef": plan.ef,
            "candidates": max(plan.ef, count),
            "exhausted": False,
            "next_cursor": queries.cursor_encode(place, zlib.crc32(packed, plan.mark)),
            "took_ms": round((time.perf_counter() - started) * 1000, 3),
        }
    )


def planned(connection, collection, body: dict, key: tuple) -> Plan | None:
    """The plan of a body's options, kept with the collection; None unless they are valid and the graph is asked."""
    try:
        options = {name: value for name, value in body.items() if name != "vector"}
        query = msgspec.convert(options, bodies.OneQuery)
        queries.check_options(query, "")
    except (msgspec.ValidationError, ProblemError):
        return None
    include = tuple(dict.fromkeys(query.include))
    found = None
    if query.recall != "exact":
        found = search.graph_statement(
            connection, collection, query.top_k, query.namespace, include, query.recall
        )
    if found is None:
        return None
    statement, ef = found
    plan = Plan(
        statement=statement,
        ef=ef,
        namespace=query.namespace.encode(),
        top_k=query.top_k,
        include=include,
        mark=queries.mark_begun(collection, query.namespace),
        score=SCORES.get(collection.metric, (0.0, 1.0)),
    )
    if len(collection.plans) >= PLANS_MOST:
        collection.plans.clear()
    collection.plans[key] = plan
    return plan
