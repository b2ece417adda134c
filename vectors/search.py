"""Queries: the k nearest points, completely.

The promise: k rows come back whenever k rows match. Two ways of reading are there. `exact` computes every
matching row's distance, found through the GIN index, the primary key or a scan. `hnsw` walks the graph and
goes on (iterative scan) until enough rows match; it may stop early, and then the exact way answers. Which
one runs is chosen by cost from the measured share of rows that match, not by PostgreSQL's planner, which
prefers the graph even where it misses most matches.
"""

import time
from typing import NamedTuple

from vectors.clauses import Clause, clause_of
from vectors.collections import DISTANCES, Collection
from vectors.database import FLOAT8, INT8, Connection
from vectors.points import columns, parts, points_count, where

EF_STEPS = (80, 120, 160, 240, 320, 480, 640, 1000)
SAMPLE_ROWS = 2000
SAMPLE_PAGES_LEAST = 100
ESTIMATE_SECONDS = 30
ESTIMATES_MOST = 2000
# Microseconds a row of 384 dimensions costs: found through an index, and read by a scan; and a step of ef,
# alone and where each candidate is held against a filter.
COST_ROW, COST_SCANNED, COST_EF, COST_EF_FILTERED = 1.8, 0.4, 11.0, 22.0
# How wide the graph is searched for a recall: the least ef, ef per match, and ef per match under a filter.
# Calibrated on 30,000 real texts of 384 dimensions (docs/api.md has the figures).
WIDTHS = {0.95: (80, 1.5, 6), None: (160, 2.5, 8), 0.99: (320, 4, 12)}
RECALLS = (*WIDTHS, "exact")


class Place(NamedTuple):
    """Where a page of matches ended: the last one, and how many there were up to it."""

    distance: float
    id: str
    seen: int


def ef_for(wanted: float) -> int:
    """The least step of ef_search that is at least `wanted`."""
    for step in EF_STEPS:
        if wanted <= step:
            return step
    return EF_STEPS[-1]


def matching_share(
    connection: Connection, collection: Collection, namespace: str | None, clause: Clause | None
) -> float:
    """The share of the collection's rows that a query reaches, from a sample of its pages; kept for 30 s.

    Namespace None: rows of all namespaces.
    """
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
    conditions, parameters = where(namespace, clause)
    result = connection.run(
        f"SELECT count(*) FILTER (WHERE {' AND '.join(conditions) or 'true'}), count(*)"
        f" FROM {collection.table} TABLESAMPLE SYSTEM ({percent:.6f})",
        parameters,
        prepare=False,
    )
    matching, seen = INT8(result.get_value(0, 0))[0], INT8(result.get_value(0, 1))[0]
    share = matching / seen if seen else 1.0
    if len(collection.estimates) >= ESTIMATES_MOST:
        collection.estimates.clear()
    collection.estimates[key] = (share, now + ESTIMATE_SECONDS)
    return share


def points_estimate(
    connection: Connection, collection: Collection, *, namespace: str | None, filter: dict | Clause | None
) -> int:
    """About how many points there are, at a cost that does not grow with the collection."""
    clause = clause_of(filter) if filter is not None else None
    if collection.rows <= SAMPLE_ROWS:
        return points_count(connection, collection, namespace=namespace, filter=clause)
    if namespace is None and clause is None:
        return collection.rows
    return round(matching_share(connection, collection, namespace, clause) * collection.rows)


def choose(
    collection: Collection, share: float, top_k: int, through_index: bool, recall: float | None = None
) -> tuple[str, int]:
    """("exact", 0) or ("hnsw", ef_search): whichever is expected to cost less at the recall asked for."""
    matching = share * collection.rows
    least, width, filtered = WIDTHS[recall]
    wanted = max(top_k * width, least) if share > 0.98 else max(filtered * top_k / max(share, 1e-9), least)
    if through_index or share < 0.98:
        exact = (
            COST_ROW * matching if through_index else COST_SCANNED * collection.rows + COST_ROW * matching / 4
        )
    else:
        exact = COST_SCANNED * collection.rows
    cost = COST_EF if share > 0.98 else COST_EF_FILTERED
    if exact <= cost * wanted or (recall == 0.99 and wanted > EF_STEPS[-1]):
        return "exact", 0
    return "hnsw", ef_for(wanted)


def graph_statement(
    connection: Connection,
    collection: Collection,
    top_k: int,
    namespace: str,
    include: tuple[str, ...],
    recall: float | None,
) -> tuple[str, int] | None:
    """(statement, ef_search) that points_query would use for such a query of no filter; None: no graph."""
    if collection.index_built is None:
        return None
    share = matching_share(connection, collection, namespace, None)
    plan, ef = choose(collection, share, top_k, False, recall)
    if plan == "exact":
        return None
    return statement_of(collection, top_k, include, "", 0, exact=False, after=False), ef


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
    recall: float | None = None,
    score_threshold: float | None = None,
    after: Place | None = None,
) -> dict:
    """The top_k nearest points to a packed vector, nearest first; with `after` those behind that place.

    Answers {matches: [{id, score, ...}], plan, ef, candidates, exhausted, last}. Score: cosine similarity,
    dot product, or for l2 the distance (less is nearer). `candidates` is how many rows were compared (for
    the exact plan an estimate unless all matches came back); `exhausted`: no further row matches; `last`:
    the Place of the last match.
    """
    clause = clause_of(filter) if filter is not None else None
    plan, ef, share = "exact", 0, 1.0
    # The graph knows no place to go on from: it yields the pages before as well, and a few to spare.
    reach = top_k if after is None else after.seen + top_k + max(after.seen // 10, 8)
    if collection.index_built is not None and not exact and (after is None or reach <= EF_STEPS[-1]):
        share = matching_share(connection, collection, namespace, clause)
        plan, ef = choose(collection, share, reach, clause is not None and clause.indexed, recall)
    rows = None
    if plan == "hnsw":
        connection.set_ef(ef)
        result = run(connection, collection, packed, reach, namespace, clause, include, exact=False)
        candidates = max(ef, result.ntuples)
        if result.ntuples == reach:
            rows = ranked(result)
            if after is not None:
                place = (after.distance, after.id.encode())
                rows = [row for row in rows if row[:2] > place][:top_k]
                if len(rows) < top_k:
                    rows = None
        if rows is None:
            plan = "hnsw+exact"
    if rows is None:
        result = run(
            connection, collection, packed, top_k, namespace, clause, include, exact=True, after=after
        )
        candidates = max(int(share * collection.rows), result.ntuples)
        rows = ranked(result)
    exhausted = len(rows) < top_k
    if exhausted and after is None:
        candidates = len(rows)
    matches = matches_of(result, rows, collection.metric, include)
    last = None
    if matches:
        last = Place(rows[-1][0], matches[-1]["id"], len(rows) + (after.seen if after else 0))
    if score_threshold is not None:
        kept = within(matches, collection.metric, score_threshold)
        exhausted = exhausted or len(kept) < len(matches)
        matches = kept
    return {
        "matches": matches,
        "plan": plan,
        "ef": ef or None,
        "candidates": candidates,
        "exhausted": exhausted,
        "last": last,
    }


def run(
    connection,
    collection,
    packed,
    limit,
    namespace,
    clause: Clause | None,
    include,
    *,
    exact: bool,
    after: Place | None = None,
):
    """The statement of one plan; rows of (id, distance, parts asked for), in no certain order.

    Of the exact plan they are the first by distance and id, behind `after` when it is given.
    """
    condition, parameters = clause.sql(3) if clause is not None else ("", [])
    statement = statement_of(
        collection, limit, include, condition, len(parameters), exact=exact, after=after is not None
    )
    if clause is None and after is None:
        return connection.run(statement, [packed, namespace.encode()], [1, 0])
    if after is not None:
        parameters = [*parameters, repr(after.distance).encode(), after.id.encode()]
    formats = [1, 0, *[0] * len(parameters)]
    return connection.run(statement, [packed, namespace.encode(), *parameters], formats, prepare=False)


def statement_of(
    collection: Collection,
    limit: int,
    include: tuple[str, ...],
    condition: str,
    parameters: int,
    *,
    exact: bool,
    after: bool,
) -> str:
    """SQL of one plan, kept with the collection; `condition` has so many parameters, from $3 on."""
    key = (limit, include, condition, exact, after)
    statement = collection.statements.get(key)
    if statement is None:
        distance = collection.distance("$1")
        conditions = "namespace = $2" + (f" AND {condition}" if condition else "")
        if after:
            first = parameters + 3
            conditions += f" AND ({distance}, id) > (${first}::float8, ${first + 1})"
        # No index gives the order of a sum, so that one is sorted from all rows.
        order = f"({distance}) + 0, id" if exact else collection.indexed_distance("$1")
        statement = (
            f"SELECT id, {distance}{columns(include)} FROM {collection.table}"
            f" WHERE {conditions} ORDER BY {order} LIMIT {limit}"
        )
        if len(collection.statements) > 500:
            collection.statements.clear()
        collection.statements[key] = statement
    return statement


def ranked(result) -> list[tuple[float, bytes, int]]:
    """(distance, id, row), nearest first, equal ones by id."""
    value = result.get_value
    return sorted((FLOAT8(value(row, 1))[0], value(row, 0), row) for row in range(result.ntuples))


def within(matches: list[dict], metric: str, threshold: float) -> list[dict]:
    """The matches at least as near as a score says."""
    if metric in DISTANCES:
        return [match for match in matches if match["score"] <= threshold]
    return [match for match in matches if match["score"] >= threshold]


def matches_of(result, rows, metric: str, include, first: int = 2) -> list[dict]:
    """Ranked rows as matches; the parts asked for are the columns from `first` on."""
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
            match.update(parts(result, row, first, include))
        matches.append(match)
    return matches
