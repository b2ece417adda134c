"""How wide an index must be searched for each recall, measured on the collection's own points.

The nearest neighbours of a sample of points are found exactly and through the index, ever more widely. A
point's own vector is left out of both lists. The promise is for queries that resemble the points; a margin
above each recall covers those that do so less.
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


def efs(work: Work, part: Part, built: dict, seconds: float) -> dict[str, int]:
    """The least width (vectors/widths.py) of each recall, by str(recall); {} when the part is too small.

    `built`: what the index was built with; `seconds`: how long that took, which bounds the measurement.
    """
    if part.rows < ROWS_LEAST:
        return {}
    connection = Connection(work.conninfo, 0)
    try:
        collection = dataclasses.replace(
            collection_at(connection.db, work.collection_id),
            index_built=built | {"parts": [part._asdict()]},
            parts=(part,),
        )
        return _measured(connection, collection, part, max(SECONDS_LEAST, seconds * SHARE_OF_BUILD))
    finally:
        connection.close()


def _measured(connection: Connection, collection: Collection, part: Part, seconds: float) -> dict[str, int]:
    condition = covered(part.first, part.last)
    percent = min(100.0, 150.0 * SAMPLE / part.rows)
    result = connection.run(
        f"SELECT embedding FROM {collection.table} TABLESAMPLE BERNOULLI ({percent:.6f}) WHERE {condition}"
        f" LIMIT {SAMPLE}"
    )
    vectors = [result.get_value(row, 0) for row in range(result.ntuples)]
    exact = search.nearest_sql(collection, (), "", condition, NEIGHBOURS + 1)
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
        through = search.nearest_sql(collection, spans, "", "true", NEIGHBOURS + 1, width)
        hits = 0
        for vector, most in zip(vectors, furthest, strict=False):
            near = [d for d in distances(connection, through, vector) if d <= most + SAME * abs(most)]
            # One of them is the point itself.
            hits += max(min(len(near), NEIGHBOURS + 1) - 1, 0)
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
