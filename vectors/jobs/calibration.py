"""How wide an index must be searched for each recall, measured on the collection's own points.

The nearest neighbours of a sample of points are found exactly and through the index, ever more widely. A
point's own vector is left out of both lists. The promise is for queries that resemble the points; a margin
above each recall covers those that do so less.

A graph is measured once more among points that a filter leaves: every second and every tenth, chosen by a
hash of their ids. What a real filter leaves may lie elsewhere than its query, so these widths get a margin.
"""

import dataclasses
import time

from vectors import search, widths
from vectors.collections import Collection, collection_at
from vectors.database import FLOAT8, Connection
from vectors.jobs.work import Work
from vectors.segments import Part, Span, covered

NEIGHBOURS = 10
SAMPLE = 100
SAMPLE_LEAST = 20
# Smaller collections are searched exactly.
ROWS_LEAST = 1000
SECONDS_LEAST = 3.0
SHARE_OF_BUILD = 0.1
# The recall that the sample must reach for each one asked for.
WANTED = {0.95: 0.965, None: 0.985, 0.99: 0.995}
# A narrower search may settle in the wrong part of a graph of clusters, whatever the mean of a sample says.
LEAST = {0.95: 60, None: 160, 0.99: 240}
SAME = 1e-6
# The shares that filters leave, of which the widths for others are reckoned (vectors/widths.py).
SHARES = (0.5, 0.1)
SHARE_SAMPLE = 40
SHARE_MARGIN = 1.25


def efs(work: Work, part: Part, built: dict, seconds: float) -> dict[str, dict]:
    """{efs, filtered_efs}: the least width (vectors/widths.py) of each recall, by str(recall), without a
    filter and by the share that one leaves; {} when the part is too small, or the index not so searched.

    `built`: what the index was built with; `seconds`: how long that took, which bounds the measurement.
    """
    if part.rows < ROWS_LEAST:
        return {"efs": {}, "filtered_efs": {}}
    connection = Connection(work.conninfo, 0)
    try:
        collection = dataclasses.replace(
            collection_at(connection.db, work.collection_id),
            index_built=built | {"parts": [part._asdict()]},
            parts=(part,),
        )
        seconds = max(SECONDS_LEAST, seconds * SHARE_OF_BUILD)
        found = _measured(connection, collection, part, seconds)
        filtered = {}
        if collection.index_type == "hnsw":
            for share in SHARES:
                measured = _measured(connection, collection, part, seconds / len(SHARES), share)
                filtered[str(share)] = {
                    str(recall): measured[str(recall)]
                    if measured[str(recall)] <= floor(collection, recall)
                    else round(measured[str(recall)] * SHARE_MARGIN)
                    for recall in WANTED
                }
        return {"efs": found, "filtered_efs": filtered}
    finally:
        connection.close()


def _measured(
    connection: Connection, collection: Collection, part: Part, seconds: float, share: float | None = None
) -> dict[str, int]:
    """The least width of each recall, among all points or among a share of them that a filter leaves."""
    condition, among, others, size, own = covered(part.first, part.last), "true", "true", SAMPLE, 1
    if share is not None:
        chosen = f"(hashtext(id) & 1073741823) % {round(1 / share)}"
        # Points that the filter leaves out ask, so that none finds itself.
        among, others, size, own = f"{chosen} = 0", f"{chosen} = 1", SHARE_SAMPLE, 0
    percent = min(100.0, 150.0 * size / (share or 1) / part.rows)
    result = connection.run(
        f"SELECT embedding FROM {collection.table} TABLESAMPLE BERNOULLI ({percent:.6f})"
        f" WHERE {condition} AND {others} LIMIT {size}"
    )
    vectors = [result.get_value(row, 0) for row in range(result.ntuples)]
    exact = search.nearest_sql(collection, (), "", f"{condition} AND {among}", NEIGHBOURS + own)
    spans = (Span(part.first, part.last, False),)
    until = time.monotonic() + seconds
    furthest = []
    for vector in vectors:
        if len(furthest) >= SAMPLE_LEAST and time.monotonic() > until:
            break
        furthest.append(distances(connection, exact, vector)[-1])
    found, reached = {}, 0.0
    for width in widths.steps(collection):
        widths.set_width(connection, collection, width)
        through = search.nearest_sql(collection, spans, "", among, NEIGHBOURS + own, width)
        hits = 0
        for vector, most in zip(vectors, furthest, strict=False):
            near = [d for d in distances(connection, through, vector) if d <= most + SAME * abs(most)]
            # One of them may be the point itself.
            hits += max(min(len(near), NEIGHBOURS + own) - own, 0)
        reached = hits / (NEIGHBOURS * len(furthest))
        for recall, wanted in WANTED.items():
            if reached >= wanted and width >= floor(collection, recall):
                found.setdefault(str(recall), width)
        if len(found) == len(WANTED):
            break
    return {str(recall): found.get(str(recall), widths.OUT_OF_REACH) for recall in WANTED}


def floor(collection: Collection, recall: float | None) -> int:
    """The least width that is kept for a recall, whatever the sample says."""
    if collection.index_type == "ivfflat":
        return 1
    return widths.BITS[recall][0] if collection.quantized else LEAST[recall]


def distances(connection: Connection, statement: str, vector: bytes) -> list[float]:
    result = connection.run(statement, [vector], [1])
    return sorted(FLOAT8(result.get_value(row, 1))[0] for row in range(result.ntuples))
