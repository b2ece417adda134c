"""Queries: the k nearest points, completely.

The promise: k rows come back whenever k rows match. Two ways of reading are there. `exact` computes every
matching row's distance, found through the GIN index, the primary key or a scan. `hnsw` walks the graph and
goes on (iterative scan) until enough rows match; it may stop early, and then the exact way answers. Which
one runs is chosen by cost from the measured share of rows that match, not by PostgreSQL's planner, which
prefers the graph even where it misses most matches.
"""

import time

from vectors.clauses import Clause, clause_of
from vectors.collections import Collection
from vectors.database import FLOAT8, INT8, Connection
from vectors.points import columns, parts

EF_STEPS = (100, 200, 400, 1000)
SAMPLE_ROWS = 2000
SAMPLE_PAGES_LEAST = 100
ESTIMATE_SECONDS = 30
ESTIMATES_MOST = 2000
# Microseconds a row of 384 dimensions costs: found through an index, and read by a scan; and a step of ef.
COST_ROW, COST_SCANNED, COST_EF = 1.8, 0.4, 30.0
# Candidates the graph must yield per match wanted, for a recall of at least 0.95 under a filter.
FILTERED_WIDTH = 6


def ef_for(wanted: float) -> int:
    """The least step of ef_search that is at least `wanted`."""
    for step in EF_STEPS:
        if wanted <= step:
            return step
    return EF_STEPS[-1]


def matching_share(
    connection: Connection, collection: Collection, namespace: str, clause: Clause | None
) -> float:
    """The share of the collection's rows that a query reaches, from a sample of its pages; kept for 30 s."""
    # Its hash, not itself: a clause may hold thousands of ids, and a collision costs no more than a plan.
    key = (namespace, clause if clause is None else hash(clause))
    now = time.monotonic()
    kept = collection.estimates.get(key)
    if kept is not None and kept[1] > now:
        return kept[0]
    pages = max(collection.pages, 1)
    rows_per_page = max(collection.rows / pages, 1)
    wanted_pages = max(SAMPLE_PAGES_LEAST, SAMPLE_ROWS / rows_per_page)
    percent = min(100.0, 100.0 * wanted_pages / pages)
    condition, parameters = "namespace = $1", [namespace.encode()]
    if clause is not None:
        text, more = clause.sql(2)
        condition += f" AND {text}"
        parameters += more
    result = connection.run(
        f"SELECT count(*) FILTER (WHERE {condition}), count(*) FROM {collection.table}"
        f" TABLESAMPLE SYSTEM ({percent:.6f})",
        parameters,
        prepare=False,
    )
    matching, seen = INT8(result.get_value(0, 0))[0], INT8(result.get_value(0, 1))[0]
    share = matching / seen if seen else 1.0
    if len(collection.estimates) >= ESTIMATES_MOST:
        collection.estimates.clear()
    collection.estimates[key] = (share, now + ESTIMATE_SECONDS)
    return share


def choose(collection: Collection, share: float, top_k: int, through_index: bool) -> tuple[str, int]:
    """("exact", 0) or ("hnsw", ef_search): whichever is expected to cost less at a recall of 0.95."""
    matching = share * collection.rows
    wanted = max(top_k * 2, 60) if share > 0.98 else max(FILTERED_WIDTH * top_k / max(share, 1e-9), 60)
    if through_index or share < 0.98:
        exact = (
            COST_ROW * matching if through_index else COST_SCANNED * collection.rows + COST_ROW * matching / 4
        )
    else:
        exact = COST_SCANNED * collection.rows
    if exact <= COST_EF * wanted:
        return "exact", 0
    return "hnsw", ef_for(wanted)


def points_query(
    connection: Connection,
    collection: Collection,
    *,
    packed: bytes,
    top_k: int,
    namespace: str = "",
    filter: dict | Clause | None = None,
    include=("metadata",),
    exact: bool = False,
    score_threshold: float | None = None,
) -> dict:
    """The top_k nearest points to a packed vector, nearest first.

    Answers {matches: [{id, score, ...}], plan, candidates, exhausted}. Score: cosine similarity, dot
    product, or for l2 the distance (less is nearer). `candidates` is how many rows were compared (for the
    exact plan an estimate unless all matches came back); `exhausted`: no further row matches.
    """
    clause = clause_of(filter) if filter is not None else None
    plan, ef, share = "exact", 0, 1.0
    if collection.index_built is not None and not exact:
        if clause is None and collection.estimates.get((namespace, None), (0, 0))[1] > time.monotonic():
            share = collection.estimates[namespace, None][0]
        else:
            share = matching_share(connection, collection, namespace, clause)
        plan, ef = choose(collection, share, top_k, clause is not None and clause.indexed)
    result = None
    if plan == "hnsw":
        connection.set_ef(ef)
        result = run(connection, collection, packed, top_k, namespace, clause, include, exact=False)
        candidates = max(ef, result.ntuples)
        if result.ntuples < top_k:
            plan = "hnsw+exact"
            result = None
    if result is None:
        result = run(connection, collection, packed, top_k, namespace, clause, include, exact=True)
        candidates = max(int(share * collection.rows), result.ntuples)
    exhausted = result.ntuples < top_k
    if exhausted:
        candidates = result.ntuples
    matches = matches_of(result, collection.metric, include)
    if score_threshold is not None:
        if collection.metric == "l2":
            kept = [match for match in matches if match["score"] <= score_threshold]
        else:
            kept = [match for match in matches if match["score"] >= score_threshold]
        exhausted = exhausted or len(kept) < len(matches)
        matches = kept
    return {"matches": matches, "plan": plan, "candidates": candidates, "exhausted": exhausted}


def run(connection, collection, packed, top_k, namespace, clause: Clause | None, include, *, exact: bool):
    """The statement of one plan; rows of (id, distance, parts asked for), in no certain order."""
    condition, parameters = clause.sql(3) if clause is not None else ("", [])
    key = (top_k, include, condition, exact)
    statement = collection.statements.get(key)
    if statement is None:
        distance = collection.distance("$1")
        conditions = "namespace = $2" + (f" AND {condition}" if condition else "")
        # No index gives the order of a sum, so that one is sorted from all rows.
        order = f"({distance}) + 0" if exact else distance
        statement = (
            f"SELECT id, {distance}{columns(include)} FROM {collection.table}"
            f" WHERE {conditions} ORDER BY {order} LIMIT {top_k}"
        )
        if len(collection.statements) > 500:
            collection.statements.clear()
        collection.statements[key] = statement
    if clause is None:
        return connection.run(statement, [packed, namespace.encode()], [1, 0])
    formats = [1, 0, *[0] * len(parameters)]
    return connection.run(statement, [packed, namespace.encode(), *parameters], formats, prepare=False)


def matches_of(result, metric: str, include) -> list[dict]:
    """The rows as matches, nearest first, equal ones by id."""
    rows = []
    value = result.get_value
    for row in range(result.ntuples):
        distance = FLOAT8(value(row, 1))[0]
        rows.append((distance, value(row, 0), row))
    rows.sort()
    matches = []
    for distance, point_id, row in rows:
        if metric == "cosine":
            score = 1.0 - distance
        elif metric == "ip":
            score = -distance
        else:
            score = distance
        match = {"id": point_id.decode(), "score": score}
        if include:
            match.update(parts(result, row, 2, include))
        matches.append(match)
    return matches
