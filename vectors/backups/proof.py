"""What a database holds, so that a copy can be held against it: counts, checksums, definitions, answers.

Of each collection: points and checksum (vectors/transfer/checksums.py), and for some of its points the exact
nearest of each, with scores, and the recall of its index on the same. Taken in the transaction of the caller,
so that all of it is of one moment.
"""

from vectors import collections, database, search
from vectors.jobs.recall import hits, points_sample, without
from vectors.jobs.work import FailedError
from vectors.kinds import DISTANCES
from vectors.transfer.checksums import summed, text_of

SAMPLES = 20
# Of all collections together; each has at least SAMPLES_LEAST.
SAMPLES_MOST = 4000
SAMPLES_LEAST = 2
K = 10
# A graph that is built anew is another graph: its recall may differ by so much, and no more.
RECALL_LOST_MOST = 0.05
SCORE_TOLERANCE = 1e-5
TABLES = (
    "django_migrations",
    "vectors_collection",
    "vectors_alias",
    "vectors_api_key",
    "vectors_job",
    "vectors_recall",
    "vectors_slow_query",
    "vectors_upload",
    "vectors_upload_part",
)


def taken(connection: database.Connection, report) -> dict:
    """{tables, indexes, collections} of the database as the connection's transaction sees it.

    `report(collection name, done, total)` is called before each collection.
    """
    known = _collections(connection)
    each = max(SAMPLES_LEAST, min(SAMPLES, SAMPLES_MOST // max(len(known), 1)))
    found = []
    for at, collection in enumerate(known):
        report(collection.name, at, len(known))
        points, total = summed(connection, collection, None)
        chosen = points_sample(connection, collection, each)
        answers = [
            {"namespace": space, "id": point_id, "exact": _exact(connection, collection, space, packed)}
            for space, point_id, packed in chosen
        ]
        found.append(
            {
                **_defined(collection),
                "points": points,
                "checksum": text_of(total),
                "answers": answers,
                "recall": _recall(connection, collection, chosen, answers),
            }
        )
    return {"tables": _tables(connection), "indexes": _indexes(connection), "collections": found}


def differences(connection: database.Connection, expected: dict, report) -> tuple[list[str], dict]:
    """(what is not as it was, in sentences; what was compared) of a copy against what `taken` gave."""
    wrong = []
    tables = _tables(connection)
    for name, count in expected["tables"].items():
        if tables.get(name) != count:
            wrong.append(f"{name} holds {tables.get(name)} rows instead of {count}.")
    if lost := sorted(set(expected["indexes"]) - set(_indexes(connection))):
        wrong.append(f"{len(lost)} indexes are missing or not valid, such as {lost[0]}.")
    known = {collection.name: collection for collection in _collections(connection)}
    if more := sorted(set(known) - {one["name"] for one in expected["collections"]}):
        wrong.append(f"There are collections that the backup does not know, such as {more[0]}.")
    compared = {"collections": len(expected["collections"]), "points": 0, "queries": 0, "recall": None}
    shares = []
    for at, one in enumerate(expected["collections"]):
        report(one["name"], at, len(expected["collections"]))
        collection = known.get(one["name"])
        if collection is None:
            wrong.append(f"The collection {one['name']} is missing.")
            continue
        told, recall = _differences(connection, collection, one)
        wrong += [f"{one['name']}: {text}" for text in told]
        compared["points"] += one["points"]
        compared["queries"] += len(one["answers"])
        if recall is not None:
            shares.append(recall)
    if shares:
        compared["recall"] = round(min(shares), 4)
    return wrong, compared


def _differences(connection, collection, expected: dict) -> tuple[list[str], float | None]:
    wrong = []
    for name, value in _defined(collection).items():
        if value != expected[name]:
            wrong.append(f"its {name} is {value!r} instead of {expected[name]!r}.")
    points, total = summed(connection, collection, None)
    if points != expected["points"]:
        return [*wrong, f"it holds {points} points instead of {expected['points']}."], None
    if text_of(total) != expected["checksum"]:
        wrong.append(f"the checksum of its points is {text_of(total)} instead of {expected['checksum']}.")
    chosen = _points(connection, collection, expected["answers"])
    if len(chosen) != len(expected["answers"]):
        return [*wrong, "points that were asked for before are missing."], None
    for (namespace, point_id, packed), before in zip(chosen, expected["answers"], strict=True):
        if not _alike(_exact(connection, collection, namespace, packed), before["exact"]):
            wrong.append(f"the exact answer to {point_id} is another one.")
            break
    recall = _recall(connection, collection, chosen, expected["answers"])
    if recall is not None and expected["recall"] is not None:
        if recall < expected["recall"] - RECALL_LOST_MOST:
            wrong.append(f"its index finds {recall:.4f} of the nearest, and found {expected['recall']:.4f}.")
    elif expected["recall"] is not None and recall is None:
        wrong.append("it has no index any more.")
    return wrong, recall


def _collections(connection) -> list[collections.Collection]:
    rows = connection.db.execute("SELECT id FROM vectors_collection ORDER BY name").fetchall()
    return [collections.collection_at(connection.db, row[0]) for row in rows]


def _defined(collection: collections.Collection) -> dict:
    return {
        "name": collection.name,
        "dimension": collection.dimension,
        "metric": collection.metric,
        "fields": collection.fields,
        "text_language": collection.text_language,
        "aliases": collection.aliases,
    }


def _tables(connection) -> dict[str, int]:
    found = connection.db.execute(
        "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND relkind = 'r'"
        " AND relnamespace = 'public'::regnamespace",
        [list(TABLES)],
    ).fetchall()
    return {
        name: connection.db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
        for name in sorted(row[0] for row in found)
    }


def _indexes(connection) -> list[str]:
    rows = connection.db.execute(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE c.relnamespace = 'vectors_data'::regnamespace AND i.indisvalid ORDER BY 1"
    ).fetchall()
    return [row[0] for row in rows]


def _query(packed: bytes, namespace: str) -> dict:
    return {"packed": packed, "top_k": K + 1, "namespace": namespace, "include": ()}


def _exact(connection, collection, namespace: str, packed: bytes) -> list[list]:
    found = search.points_query(connection, collection, exact=True, **_query(packed, namespace))
    return [[match["id"], match["score"]] for match in found["matches"]]


def _alike(found: list, before: list) -> bool:
    """The same points, in an order in which only equals may have changed places, at the same scores."""
    if len(found) != len(before):
        return False
    close = all(
        abs(a[1] - b[1]) <= SCORE_TOLERANCE * max(1.0, abs(b[1])) for a, b in zip(found, before, strict=True)
    )
    # The last place may be shared by several points that are equally far.
    last = before[-1][1] if before else 0.0
    near = {one[0] for one in before if abs(one[1] - last) > SCORE_TOLERANCE * max(1.0, abs(last))}
    return close and near <= {one[0] for one in found}


def _recall(connection, collection, chosen, answers) -> float | None:
    """The share of the exact nearest that the index finds; None when no index serves."""
    if not collection.parts or not chosen:
        return None
    found = whole = 0
    for (namespace, point_id, packed), before in zip(chosen, answers, strict=True):
        got = search.points_query(connection, collection, **_query(packed, namespace))
        best = without([{"id": one[0], "score": one[1]} for one in before["exact"]], point_id, K)
        if best and collection.metric in DISTANCES:
            best[-1]["score"] += SCORE_TOLERANCE * max(1.0, abs(best[-1]["score"]))
        elif best:
            best[-1]["score"] -= SCORE_TOLERANCE * max(1.0, abs(best[-1]["score"]))
        found += hits(without(got["matches"], point_id, K), best, collection.metric)
        whole += len(best)
    return round(found / whole, 4) if whole else 1.0


def _points(connection, collection, answers: list[dict]) -> list[tuple[str, str, bytes]]:
    """(namespace, id, vector in binary) of the points that were asked for, in their order."""
    found = []
    for one in answers:
        result = connection.run(
            f"SELECT embedding FROM {collection.table} WHERE namespace = $1 AND id = $2",
            [one["namespace"].encode(), one["id"].encode()],
        )
        if result.ntuples:
            found.append((one["namespace"], one["id"], result.get_value(0, 0)))
    return found


def check(wrong: list[str]) -> None:
    """FailedError that tells the first differences."""
    if wrong:
        more = f" And {len(wrong) - 3} more." if len(wrong) > 3 else ""
        raise FailedError(f"The copy is not what was backed up. {' '.join(wrong[:3])}{more}")
