"""The recall of two releases, asked of a replica of each on the same points of the same collections."""

import time

from controlplane.errors import ProblemError
from deployments.models import Target
from deployments.operations.gates import Recalls
from deployments.target_api import TargetApi, collection_path

COLLECTIONS_MOST = 3
# All questions together, so that the step ends well within its lease; what is done by then counts.
SECONDS = 5.0
CALL_SECONDS = 2.0
BATCH = 10
# Of these metrics the score is a distance.
ASCENDING = ("l2", "l1", "hamming", "jaccard")


def recalls_of(target: Target, *, canary: str, stable: str, queries: int, k: int) -> Recalls:
    """Recall of the releases with these ids, by their answers to points of the target's largest collections.

    Exact answers are the stable release's: both read the same data. The point itself counts in none.
    """
    new = TargetApi(target, subject="canary", role="viewer", release=canary)
    old = TargetApi(target, subject="canary", role="viewer", release=stable)
    deadline = time.monotonic() + SECONDS
    found, old_found, same, whole, asked, names = 0, 0, 0, 0, 0, []
    try:
        collections = [one for one in old.collections() if one["points"]]
        collections.sort(key=lambda one: (-one["points"], one["name"]))
        if not collections:
            return Recalls(why="The target holds no points to ask for.")
        for collection in collections[:COLLECTIONS_MOST]:
            path = collection_path(collection["name"])
            drawn = old.call("GET", f"{path}/projection", timeout=CALL_SECONDS, sample=max(2, queries))
            points = drawn["points"][:queries]
            for start in range(0, len(points), BATCH):
                if asked and time.monotonic() > deadline:
                    break
                batch = points[start : start + BATCH]
                best = _answers(old, path, batch, k, exact=True)
                mine, theirs = _answers(new, path, batch, k), _answers(old, path, batch, k)
                ascending = collection["metric"] in ASCENDING
                for one, my, their in zip(best, mine, theirs, strict=True):
                    found += _hits(my, one, ascending)
                    old_found += _hits(their, one, ascending)
                    same += len(set(my) & set(their))
                    whole += len(one)
                asked += len(batch)
                if collection["name"] not in names:
                    names.append(collection["name"])
    except ProblemError as error:
        return Recalls(why=f"It could not be measured: {error.detail}")
    if not whole:
        return Recalls(why="No point has a neighbour to be found.")
    return Recalls(found / whole, old_found / whole, same / whole, asked, tuple(names))


def _answers(api: TargetApi, path: str, points: list[dict], k: int, *, exact: bool = False) -> list[dict]:
    """For each point {id: score} of its nearest k, nearest first, itself left out."""
    queries = [
        {
            "id": point["id"],
            "namespace": point["namespace"],
            "top_k": k + 1,
            "include": [],
            "exact": exact,
        }
        for point in points
    ]
    answered = api.call("POST", f"{path}/query", {"queries": queries}, timeout=CALL_SECONDS)
    return [
        dict([(m["id"], m["score"]) for m in one["matches"] if m["id"] != point["id"]][:k])
        for one, point in zip(answered["answers"], points, strict=True)
    ]


def _hits(mine: dict[str, float], best: dict[str, float], ascending: bool) -> int:
    """How many of the answers are as near as the last of the best: equally near ones stand for each other."""
    if not best:
        return 0
    last = list(best.values())[-1]
    return sum(score <= last if ascending else score >= last for score in mine.values())
