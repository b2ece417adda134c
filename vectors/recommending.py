"""Recommendations: the points nearest to what some points have in common and others have not."""

import math

from controlplane.errors import InvalidError, NotFoundError
from vectors import vectors
from vectors.clauses import text_array
from vectors.collections import Collection
from vectors.database import Connection
from vectors.points import no_nul

EXAMPLES_MOST = 200


def examples_vector(
    connection: Connection,
    collection: Collection,
    *,
    namespace: str,
    positive: list[str],
    negative: list[str],
) -> bytes:
    """The mean of the positive points' vectors, moved away from the mean of the negative ones' by what lies
    between them, packed; NotFoundError, InvalidError. Under cosine only the directions count."""
    if collection.bits:
        raise InvalidError(
            "Bit vectors have no mean to be near to: query by the id of a point instead.",
            code="not_served",
            field="positive",
        )
    no_nul(positive, "positive")
    no_nul(negative, "negative")
    result = connection.run(
        f"SELECT id, embedding FROM {collection.table} WHERE namespace = $1 AND id = ANY($2::text[])",
        [namespace.encode(), text_array([*positive, *negative])],
    )
    found = {
        result.get_value(row, 0).decode(): vectors.unpack(result.get_value(row, 1))
        for row in range(result.ntuples)
    }
    for point_id in (*positive, *negative):
        if point_id not in found:
            raise NotFoundError(
                f"There is no point {point_id[:100]!r} in this namespace.", code="unknown_point"
            )
    if collection.metric == "cosine":
        for point_id, values in found.items():
            norm = math.hypot(*values)
            found[point_id] = [value / norm for value in values]
    target = mean([found[point_id] for point_id in positive])
    if negative:
        away = mean([found[point_id] for point_id in negative])
        target = [2 * value - other for value, other in zip(target, away, strict=True)]
    packed = vectors.pack(target, collection.dimension, "positive")
    if collection.metric == "cosine" and math.hypot(*target) < 1e-6:
        raise InvalidError(
            "These points cancel each other out, so nothing is near to them: give others.",
            code="zero_vector",
            field="positive",
        )
    vectors.check(packed, collection.metric, "positive")
    return packed


def mean(rows) -> list[float]:
    return [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
