"""Queries whose matches are grouped by a metadata field: the nearest groups, each with its nearest points.

A group is a text, number or boolean that the field holds; points without one are in no group. Groups come by
their nearest point. The graph's nearest candidates hold the first groups in their order, so they answer
when they fill all groups wanted; otherwise one pass over all matching rows does.
"""

from decimal import Decimal

import orjson

from vectors import fields, lists, search, slow, widths
from vectors.clauses import Clause, clause_of, text_array
from vectors.collections import Collection
from vectors.database import Connection
from vectors.points import columns

# Candidates the graph is asked for, for each match wanted.
CANDIDATES = 5


@slow.watched
def points_query_groups(
    connection: Connection,
    collection: Collection,
    *,
    packed: bytes,
    path: list[str],
    top_k: int,
    group_size: int,
    namespace: str = "",
    filter: dict | Clause | None = None,
    include=("metadata",),
    exact: bool = False,
    recall: float | None = None,
    score_threshold: float | None = None,
) -> dict:
    """The top_k nearest groups: {groups: [{value, matches}], plan, ef, candidates, exhausted}."""
    clause = clause_of(filter) if filter is not None else None
    by_row = lists.looked_up(clause)
    declared = clause is not None and fields.narrowing(clause.needs, collection.declared) is not None
    value = "metadata #> $3::text[]"

    def selecting(clause: Clause | None) -> tuple[str, list[bytes], list[int]]:
        """The conditions on the points that are in groups, their parameters and the formats of those."""
        condition, parameters = clause.sql(4) if clause is not None else ("true", [])
        arguments = [packed, namespace.encode(), text_array(path), *parameters]
        conditions = (
            f"namespace = $2 AND {condition} AND jsonb_typeof({value}) IN ('string', 'number', 'boolean')"
        )
        return conditions, arguments, [1, *[0] * (len(arguments) - 1)]

    plan, ef, groups, spans, share = "exact", 0, None, (), search.EVERYTHING
    wanted = CANDIDATES * top_k * group_size
    if collection.parts and not exact:
        share = search.matching_share(connection, collection, namespace, by_row)
        through_index = declared or (clause is not None and clause.indexed)
        spans, ef = search.spans_of(collection, share, wanted, through_index, recall)
    elif declared and collection.rows > search.SAMPLE_ROWS:
        share = search.matching_share(connection, collection, namespace, clause)
    if spans:
        conditions, arguments, formats = selecting(by_row)
        plan = collection.index_type
        widths.set_width(connection, collection, ef)
        more = f", ({value})::text AS value{columns(include, collection)}"
        result = connection.run(
            search.nearest_sql(collection, spans, more, conditions, wanted, ef),
            arguments,
            formats,
            prepare=False,
        )
        if search.complete(result, spans, wanted):
            groups = grouped(result, collection, include, top_k, group_size, wanted)
        if groups is None or len(groups) < top_k or any(len(g["matches"]) < group_size for g in groups):
            plan, groups = f"{plan}+exact", None
    if groups is None:
        names = "".join(f", {name}" for name in include)
        if declared:
            clause = fields.narrowed(clause, clause.needs, collection.declared, share.all)
        conditions, arguments, formats = selecting(clause)
        # Renumbered within each group, and groups by their nearest point.
        result = connection.run(
            f"SELECT id, distance, value::text{names} FROM (SELECT *, row_number() OVER nearest AS rank,"
            " first_value(distance) OVER nearest AS best, first_value(id) OVER nearest AS best_id"
            f" FROM (SELECT id, {collection.distance('$1')} AS distance,"
            f" {value} AS value{columns(include, collection)} FROM {collection.table}"
            f" WHERE {conditions}) points"
            " WINDOW nearest AS (PARTITION BY value ORDER BY distance, id)) ranked"
            f" WHERE rank <= {group_size} ORDER BY best, best_id, rank LIMIT {top_k * group_size}",
            arguments,
            formats,
            prepare=False,
        )
        groups = grouped(result, collection, include, top_k, group_size)
    candidates = result.ntuples if plan == collection.index_type else max(collection.rows, result.ntuples)
    exhausted = len(groups) < top_k
    if score_threshold is not None:
        for group in groups:
            group["matches"] = search.within(group["matches"], collection.metric, score_threshold)
        kept = [group for group in groups if group["matches"]]
        exhausted = exhausted or len(kept) < len(groups)
        groups = kept
    return {
        "groups": groups,
        "plan": plan,
        "ef": ef or None,
        "candidates": candidates,
        "exhausted": exhausted,
    }


def grouped(
    result, collection: Collection, include, top_k: int, group_size: int, nearest: int | None = None
) -> list[dict]:
    """The first top_k groups of rows of (id, distance, value, parts), of the `nearest` rows alone."""
    rows = {}
    for distance, point_id, row in search.ranked(result)[:nearest]:
        text = result.get_value(row, 2)
        # Numbers are one group when they are equal, however they were written.
        key = text if text[:1] in b'"tf' else Decimal(text.decode())
        if key not in rows:
            if len(rows) == top_k:
                continue
            rows[key] = (text, [])
        if len(rows[key][1]) < group_size:
            rows[key][1].append((distance, point_id, row))
    return [
        {
            "value": orjson.Fragment(text),
            "matches": search.matches_of(result, chosen, collection.metric, include, first=3),
        }
        for text, chosen in rows.values()
    ]
