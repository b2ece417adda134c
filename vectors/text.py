"""Full-text search on content.

The query is taken as people write it (websearch_to_tsquery): words that must all be there, "phrases", or,
and - before what must not be; nothing in it is an error. The score is PostgreSQL's ts_rank_cd with
normalisation 1 and 32: how many of the words stand how near to each other, divided by 1 plus the logarithm of
the content's length, and brought between 0 and 1.
"""

from controlplane.errors import ConflictError, InvalidError
from vectors import narrowing, slow, words
from vectors.clauses import Clause
from vectors.collections import Collection
from vectors.database import FLOAT4, INT8, Connection
from vectors.points import columns, parts, where

QUERY_MOST = 4096
NORMALISATION = 1 | 32


def check_query(text: str, at: str) -> None:
    """InvalidError for what cannot be searched for in any collection."""
    if not text.strip() or len(text) > QUERY_MOST:
        raise InvalidError(f"text holds 1 to {QUERY_MOST} characters.", field=at)
    if "\0" in text:
        raise InvalidError("Texts must not hold the character NUL.", field=at)


def check_enabled(collection: Collection, at: str) -> None:
    """InvalidError when the collection has no full text, ConflictError while its index is not there yet."""
    if collection.text_language is None:
        raise InvalidError(
            f"The collection {collection.name} has no full-text index; enable it:"
            f' PATCH /api/v1/vectors/collections/{collection.name} {{"text": {{"language": "english"}}}}.',
            code="text_disabled",
            field=at,
        )
    if not collection.text_indexed:
        raise ConflictError(
            "The full-text index of this collection is not built yet: GET jobs tells how far it is.",
            code="building",
        )


@slow.watched
def points_text(
    connection: Connection,
    collection: Collection,
    *,
    text: str,
    top_k: int,
    namespace: str = "",
    filter: dict | Clause | None = None,
    include=("metadata",),
    score_threshold: float | None = None,
) -> dict:
    """The top_k points whose content matches best: {matches, plan, ef, candidates, exhausted}.

    All points that match are ranked; `candidates` is how many there are.
    """
    clause = narrowing.chosen(connection, collection, namespace, filter)
    conditions, parameters = where(namespace, clause, 3)
    kept = words.COLUMN if collection.text_stored else words.expression(collection.text_language)
    ranked = (
        f"SELECT id AS found, ts_rank_cd({kept}, query, {NORMALISATION}) AS score,"
        f" count(*) OVER () AS matching FROM {collection.table},"
        " websearch_to_tsquery($1::regconfig, $2) AS query"
        f" WHERE {kept} @@ query AND {' AND '.join(conditions)} ORDER BY score DESC, found LIMIT {top_k}"
    )
    if include:
        # The parts are read of the best alone, not of all that are ranked.
        ranked = (
            f"SELECT found, score, matching{columns(include, collection)} FROM ({ranked}) best"
            f" JOIN {collection.table} ON namespace = $3 AND id = found"
        )
    # Planned for its own words: rare ones and common ones are not read alike.
    result = connection.run(
        ranked,
        [collection.text_language.encode(), text.encode("utf-8", "replace"), *parameters],
        prepare=False,
    )
    value = result.get_value
    rows = sorted((-FLOAT4(value(row, 1))[0], value(row, 0), row) for row in range(result.ntuples))
    matches = []
    for score, point_id, row in rows:
        if score_threshold is not None and -score < score_threshold:
            break
        match = {"id": point_id.decode(), "score": -score, "scores": {"vector": None, "text": -score}}
        match.update(parts(result, row, 3, include))
        matches.append(match)
    return {
        "matches": matches,
        "plan": "text",
        "ef": None,
        "candidates": INT8(value(0, 2))[0] if rows else 0,
        "exhausted": len(matches) < top_k,
    }
