"""Queries: the k nearest points, completely.

The promise: k rows come back whenever k rows match. Two ways of reading are there. `exact` computes every
matching row's distance, found through the GIN index, the primary key or a scan. `hnsw` walks the graph, or
`ivfflat` reads the nearest lists, and goes on (iterative scan) until enough rows match; it may stop early,
and then the exact way answers. Which one runs is chosen by cost from the measured share of rows that match
(vectors/widths.py), not by PostgreSQL's planner, which prefers the index even where it misses most matches.

A plan with a graph is one statement over all epochs (vectors/segments.py): each part of the index gives its
nearest, rows written since are read exactly, and the nearest of all are the answer. One statement sees one
state of the table, so that a row on its way from one range to another is seen once.
"""

import time
from typing import NamedTuple

from vectors import fields, lists, slow, widths
from vectors.clauses import Clause, clause_of
from vectors.collections import Collection
from vectors.database import FLOAT8, INT8, Connection
from vectors.kinds import DISTANCES
from vectors.points import columns, parts, points_count, where
from vectors.segments import Span, unindexed_from

SAMPLE_ROWS = 2000
SAMPLE_PAGES_LEAST = 100
ESTIMATE_SECONDS = 30
ESTIMATES_MOST = 2000
# From so many values times the share that matches, checking rows costs more than the GIN index saves.
LOOKED_UP_FROM = 20


class Place(NamedTuple):
    """Where a page of matches ended: the last one, and how many there were up to it."""

    distance: float
    id: str
    seen: int


class Share(NamedTuple):
    """The shares of rows that a query reaches: of all, and of those in the index's first part."""

    all: float
    first: float


EVERYTHING = Share(1.0, 1.0)


def matching_share(
    connection: Connection, collection: Collection, namespace: str | None, clause: Clause | None
) -> Share:
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
    condition = " AND ".join(conditions) or "true"
    first = "true"
    if collection.parts and collection.parts[0].last is not None:
        first = f"epoch <= {collection.parts[0].last}"
    result = connection.run(
        f"SELECT count(*) FILTER (WHERE {condition}), count(*),"
        f" count(*) FILTER (WHERE {first} AND {condition}), count(*) FILTER (WHERE {first})"
        f" FROM {collection.table} TABLESAMPLE SYSTEM ({percent:.6f})",
        parameters,
        prepare=False,
    )
    matching, seen, matching_first, seen_first = (INT8(result.get_value(0, at))[0] for at in range(4))
    share = matching / seen if seen else 1.0
    share = Share(share, matching_first / seen_first if seen_first else share)
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
    return round(matching_share(connection, collection, namespace, clause).all * collection.rows)


def spans_of(
    collection: Collection, share: Share, top_k: int, through_index: bool, recall: float | None
) -> tuple[tuple[Span, ...], int]:
    """How to read a collection that has an index, and how widely that; no spans: all of it exactly."""
    parts = collection.parts
    newer = sum(part.rows for part in parts[1:])
    exact, ef = widths.choose(
        collection, max(collection.rows - newer, 0), share.first, top_k, through_index, recall
    )
    if exact:
        return (), 0
    spans = [Span(None if parts[0].last is None else parts[0].first, parts[0].last, False)]
    for part in parts[1:]:
        exact, part_ef = widths.choose(collection, part.rows, share.all, top_k, False, recall)
        ef = max(ef, part_ef)
        if exact and spans[-1].exact:
            spans[-1] = spans[-1]._replace(last=part.last)
        else:
            spans.append(Span(part.first, part.last, exact))
    rest = unindexed_from(parts)
    if rest is not None and spans[-1].exact:
        spans[-1] = spans[-1]._replace(last=None)
    elif rest is not None:
        spans.append(Span(rest, None, True))
    return tuple(spans), ef


class Graph(NamedTuple):
    """How the graph is asked for a query of no filter: the statement, ef_search, and the ranges it reads."""

    statement: str
    ef: int
    spans: tuple[Span, ...]
    # Of all points the share in the query's namespace.
    share: float


def graph_of(
    connection: Connection,
    collection: Collection,
    *,
    top_k: int,
    namespace: str,
    include: tuple[str, ...],
    recall: float | None,
) -> Graph | None:
    """How points_query would ask the graph first for such a query; None: it would read everything."""
    if not collection.parts:
        return None
    share = matching_share(connection, collection, namespace, None)
    spans, ef = spans_of(collection, share, top_k, False, recall)
    if not spans:
        return None
    statement = nearest_sql(collection, spans, columns(include, collection), "namespace = $2", top_k, ef)
    return Graph(statement, ef, spans, share.all)


@slow.watched
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
    # What is held against many rows.
    by_row = lists.looked_up(clause)
    declared = clause is not None and fields.narrowing(clause.needs, collection.declared) is not None
    plan, ef, share, spans = "exact", 0, EVERYTHING, ()
    # The graph knows no place to go on from: it yields the pages before as well, and a few to spare.
    reach = top_k if after is None else after.seen + top_k + max(after.seen // 10, 8)
    if collection.parts and not exact and (after is None or reach <= widths.EF_STEPS[-1]):
        share = matching_share(connection, collection, namespace, by_row)
        through_index = declared or (clause is not None and clause.indexed)
        spans, ef = spans_of(collection, share, reach, through_index, recall)
    elif (declared or by_row is not clause) and collection.rows > SAMPLE_ROWS:
        share = matching_share(connection, collection, namespace, by_row)
    rows = None
    if spans:
        plan = collection.index_type
        widths.set_width(connection, collection, ef)
        result = run(connection, collection, packed, reach, namespace, by_row, include, spans, width=ef)
        if complete(result, spans, reach):
            rows = ranked(result)[:reach]
            candidates = scanned(collection, spans, ef, result.ntuples)
            if after is not None:
                place = (after.distance, after.id.encode())
                rows = [row for row in rows if row[:2] > place][:top_k]
                if len(rows) < top_k:
                    rows = None
        if rows is None:
            plan = f"{plan}+exact"
    if rows is None:
        needed = clause
        if by_row is not clause and lists.values_in(by_row) * share.all > LOOKED_UP_FROM:
            clause = by_row
        if declared:
            clause = fields.narrowed(clause, needed.needs, collection.declared, share.all)
        result = run(connection, collection, packed, top_k, namespace, clause, include, (), after)
        candidates = max(int(share.all * collection.rows), result.ntuples)
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
        "share": None if share is EVERYTHING else share.all,
    }


def run(
    connection,
    collection,
    packed,
    limit,
    namespace,
    clause: Clause | None,
    include,
    spans: tuple[Span, ...],
    after: Place | None = None,
    width: int = 0,
):
    """The statement of one plan; rows of (id, distance, parts asked for, span), in no certain order.

    With spans, each gives up to `limit` rows. Without, all rows are read exactly: the first by distance and
    id, behind `after` when it is given.
    """
    condition, parameters = clause.sql(3) if clause is not None else ("", [])
    key = (limit, include, condition, spans, after is None, width if collection.quantized else 0)
    statement = collection.statements.get(key)
    if statement is None:
        conditions = "namespace = $2" + (f" AND {condition}" if condition else "")
        if after is not None:
            first = len(parameters) + 3
            conditions += f" AND ({collection.distance('$1')}, id) > (${first}::float8, ${first + 1})"
        statement = nearest_sql(collection, spans, columns(include, collection), conditions, limit, width)
        if len(collection.statements) > 500:
            collection.statements.clear()
        collection.statements[key] = statement
    if clause is None and after is None:
        return connection.run(statement, [packed, namespace.encode()], [1, 0])
    if after is not None:
        parameters = [*parameters, repr(after.distance).encode(), after.id.encode()]
    formats = [1, 0, *[0] * len(parameters)]
    return connection.run(statement, [packed, namespace.encode(), *parameters], formats, prepare=False)


def nearest_sql(collection: Collection, spans, more: str, conditions: str, limit: int, width: int = 0) -> str:
    """SQL of the rows (id, distance, `more`, span) nearest to $1 that meet the conditions.

    `width`: how widely the index will be searched.
    """
    distance = collection.distance("$1")
    # No index gives the order of a sum, so that one is sorted from all rows.
    exactly = f"({distance}) + 0, id"
    read = widths.ranked_anew(width, limit) if collection.quantized else limit
    parts = []
    for at, span in enumerate(spans or (Span(None, None, True),)):
        part = (
            f"SELECT id, {distance} AS distance{more}, {at} AS span FROM {collection.table}"
            f" WHERE {conditions}{span.condition()} ORDER BY "
        )
        if span.exact:
            part += f"{exactly} LIMIT {limit}"
        else:
            part += f"{collection.indexed_distance('$1')} LIMIT {read}"
            if collection.quantized:
                part = f"SELECT * FROM ({part}) near ORDER BY distance + 0, id LIMIT {limit}"
        parts.append(part)
    return parts[0] if len(parts) == 1 else " UNION ALL ".join(f"({part})" for part in parts)


def complete(result, spans: tuple[Span, ...], limit: int) -> bool:
    """Whether every part of the index gave as many rows as were asked for: none may have stopped early."""
    if len(spans) == 1:
        return result.ntuples == limit
    value, last = result.get_value, result.nfields - 1
    counts = [0] * len(spans)
    for row in range(result.ntuples):
        counts[value(row, last)[3]] += 1
    return all(span.exact or count == limit for span, count in zip(spans, counts, strict=True))


def scanned(collection: Collection, spans: tuple[Span, ...], ef: int, found: int) -> int:
    """About how many rows a plan with an index compared: ef in each graph, or those of as many lists, and all
    of what is read exactly."""
    if collection.index_type == "ivfflat":
        ef = ef * collection.parts[0].rows // collection.lists
    graphs = {span.first or 0 for span in spans if not span.exact}
    read = collection.rows - sum(part.rows for part in collection.parts if part.first in graphs)
    if len(graphs) == len(spans):
        read = 0
    return max(ef * len(graphs) + max(read, 0), found)


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
