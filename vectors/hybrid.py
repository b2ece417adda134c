"""Hybrid search: the nearest points and those whose content matches best, fused into one list.

Each list is read DEPTH deep. Of k points wanted, each list alone gives k when it has as many, so that k come
back whenever k points match the filter. By ranks (rrf) a list's k-th point has at least 1 / (constant + k); a
point behind the depth of both has less than 2 / (constant + depth). From a depth of constant + 2 k on that is
less, so that no point outside of the lists could have been among the k.
"""

from vectors import bodies, points, search, text
from vectors.collections import Collection
from vectors.database import Connection
from vectors.kinds import DISTANCES

DEPTH_LEAST = 100


def depth(top_k: int, fusion: bodies.Fusion) -> int:
    """How many points of each list are fused."""
    return max(DEPTH_LEAST, fusion.k + 2 * top_k)


def points_hybrid(
    connection: Connection,
    collection: Collection,
    *,
    packed: bytes,
    words: str,
    fusion: bodies.Fusion,
    top_k: int,
    namespace: str,
    filter,
    include,
    exact: bool,
    recall: float | None,
    score_threshold: float | None,
) -> dict:
    """The top_k points by both lists: {matches, plan, ef, candidates, exhausted}.

    A match has `score`, of the fusion, and `scores` {vector, text}; null for the list that it is not on.
    """
    scope = {"top_k": depth(top_k, fusion), "namespace": namespace, "filter": filter, "include": ()}
    near = search.points_query(connection, collection, packed=packed, exact=exact, recall=recall, **scope)
    said = text.points_text(connection, collection, text=words, **scope)
    lists = [
        {match["id"]: match["score"] for match in near["matches"]},
        {match["id"]: match["score"] for match in said["matches"]},
    ]
    if fusion.method == "rrf":
        scores = by_ranks(lists, fusion.k)
    else:
        weights = (fusion.vector_weight, 1 - fusion.vector_weight)
        scores = by_weights(lists, weights, collection.metric in DISTANCES)
    best = sorted(scores, key=lambda point_id: (-scores[point_id], point_id.encode()))
    if score_threshold is not None:
        best = [point_id for point_id in best if scores[point_id] >= score_threshold]
    matches = [
        {
            "id": point_id,
            "score": scores[point_id],
            "scores": {"vector": lists[0].get(point_id), "text": lists[1].get(point_id)},
            **found,
        }
        for point_id, found in with_parts(connection, collection, namespace, best, top_k, include)
    ]
    return {
        "matches": matches,
        "plan": "hybrid",
        "ef": near["ef"],
        "candidates": near["candidates"] + said["candidates"],
        "exhausted": len(matches) < top_k,
    }


def by_ranks(lists: list[dict[str, float]], constant: int) -> dict[str, float]:
    """Reciprocal rank fusion: the sum over the lists of 1 / (constant + rank), ranks from 1 on."""
    scores: dict[str, float] = {}
    for found in lists:
        for rank, point_id in enumerate(found, 1):
            scores[point_id] = scores.get(point_id, 0.0) + 1 / (constant + rank)
    return scores


def by_weights(lists: list[dict[str, float]], weights, less_is_nearer: bool) -> dict[str, float]:
    """The weighted sum of each list's scores, brought between 0 (its worst) and 1 (its best).

    A point that is not on a list has 0 there; where all of a list are equal, they have 1.
    """
    scores: dict[str, float] = {}
    for found, weight, turned in zip(lists, weights, (less_is_nearer, False), strict=True):
        if not found:
            continue
        worst, best = min(found.values()), max(found.values())
        if turned:
            worst, best = best, worst
        for point_id, score in found.items():
            share = (score - worst) / (best - worst) if best != worst else 1.0
            scores[point_id] = scores.get(point_id, 0.0) + weight * share
    return scores


def with_parts(connection, collection, namespace: str, best: list[str], top_k: int, include):
    """(id, parts asked for) of the first top_k points that are still there."""
    if not include:
        return [(point_id, {}) for point_id in best[:top_k]]
    chosen: list[tuple[str, dict]] = []
    at = 0
    while len(chosen) < top_k and at < len(best):
        ids = best[at : at + top_k - len(chosen)]
        at += len(ids)
        found = points.points_fetch(connection, collection, namespace=namespace, ids=ids, include=include)
        for point in found["points"]:
            chosen.append((point.pop("id"), point))
    return chosen
