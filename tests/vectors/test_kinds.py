"""Every index that pgvector has for every metric: its recall against exact search, and what is refused."""

import base64

import numpy as np
import pytest

from vectors import collections, kinds, widths

COUNT, DIMENSION, TOP_K = 3000, 128, 10


def clustered(seed=5, count=COUNT, dimension=DIMENSION):
    """Vectors in clusters, as float32."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(30, dimension))
    return (centres[random.integers(0, 30, count)] + 0.7 * random.normal(size=(count, dimension))).astype(
        "<f4"
    )


def upsert(client, name, vectors, first=0):
    for start in range(0, len(vectors), 1000):
        block = vectors[start : start + 1000]
        answer = client.post(
            f"collections/{name}/points",
            {
                "ids": [str(first + start + at) for at in range(len(block))],
                "vectors_b64": base64.b64encode(block.tobytes()).decode(),
                "metadata": [{"n": (first + start + at) % 10} for at in range(len(block))],
            },
        )
        assert answer.status == 200, answer


def query(client, name, vector, **more):
    answer = client.post(
        f"collections/{name}/query", {"vector": vector, "top_k": TOP_K, "include": []} | more
    )
    assert answer.status == 200, answer
    return answer.json


def ids(answer):
    return {match["id"] for match in answer["matches"]}


def measured(client, name, queries, plan, **more):
    """The mean share of the exact answer that an index finds; every answer is complete, and by that plan."""
    shares = []
    for vector in queries:
        exact = query(client, name, vector, exact=True, **more)
        assert exact["plan"] == "exact"
        found = query(client, name, vector, **more)
        assert found["plan"] == plan
        assert len(ids(found)) == len(found["matches"]) == len(exact["matches"])
        scores = {match["id"]: match["score"] for match in exact["matches"]}
        for match in found["matches"]:
            assert match["score"] == pytest.approx(scores.get(match["id"], match["score"]), abs=1e-5)
        shares.append(len(ids(exact) & ids(found)) / len(ids(exact)))
    return np.mean(shares)


@pytest.fixture
def scanning_is_dear(monkeypatch):
    """Small collections are searched by their index, as large ones are."""
    for name in ("COST_SCANNED", "COST_ROW"):
        monkeypatch.setattr(widths, name, 1000.0)


@pytest.mark.parametrize(
    ("metric", "kind", "precision"),
    [
        ("cosine", "hnsw", "bit"),
        ("l2", "hnsw", "bit"),
        ("ip", "hnsw", "bit"),
        ("cosine", "ivfflat", "vector"),
        ("l2", "ivfflat", "halfvec"),
        ("ip", "ivfflat", "vector"),
        ("l1", "hnsw", "halfvec"),
    ],
)
def test_recall_of_numbers(client, collection, runner, scanning_is_dear, metric, kind, precision):
    name = collection(DIMENSION, metric, index={"type": kind, "precision": precision}, auto_index=False)
    vectors = clustered(count=COUNT + 25)
    vectors, queries = vectors[:COUNT], vectors[COUNT:].tolist()
    upsert(client, name, vectors)
    assert client.post(f"collections/{name}/index").status == 202
    runner()
    index = client.get(f"collections/{name}/index").json
    assert index["state"] == "ready", index
    assert (index["built"]["type"], index["built"]["precision"]) == (kind, precision)
    collections.collection_forget()
    if kind == "ivfflat":
        assert index["built"]["lists"] == int(COUNT**0.5)
        assert query(client, name, queries[0])["ef"] < index["built"]["lists"]
    assert measured(client, name, queries, kind) >= 0.95
    assert measured(client, name, queries, kind, top_k=100) >= 0.95
    assert measured(client, name, queries[:10], kind, filter={"n": {"$in": [1, 2]}}) >= 0.9
    # What is written behind the index is found too, and the nearest is the point itself.
    upsert(client, name, -vectors[:5], first=COUNT)
    for at in range(5):
        assert str(COUNT + at) in ids(query(client, name, (-vectors[at]).tolist()))


def test_lists_as_asked_for_and_built_anew(client, collection, runner, scanning_is_dear):
    name = collection(8, "l2", index={"type": "ivfflat", "lists": 7})
    options = client.get(f"collections/{name}").json["index"]["options"]
    assert (options["type"], options["lists"]) == ("ivfflat", 7)
    vectors = clustered(dimension=8)
    upsert(client, name, vectors)
    assert client.post(f"collections/{name}/index").json["memory_needed_bytes"] > 0
    runner()
    built = client.get(f"collections/{name}").json["index"]["built"]
    assert (built["type"], built["lists"]) == ("ivfflat", 7)
    collections.collection_forget()
    answer = query(client, name, vectors[0].tolist(), recall=0.99)
    assert (answer["plan"], answer["matches"][0]["id"]) == ("ivfflat", "0")
    assert 1 <= answer["ef"] <= 7
    assert answer["candidates"] <= COUNT
    deep = query(client, name, vectors[0].tolist(), top_k=2000)
    assert len(ids(deep)) == 2000
    groups = query(client, name, vectors[0].tolist(), group_by="n", top_k=10)["groups"]
    assert len(groups) == 10
    # Another type beside it, then in its place.
    client.patch(f"collections/{name}", {"index": {"type": "hnsw"}})
    assert "lists" not in client.get(f"collections/{name}").json["index"]["options"]
    client.post(f"collections/{name}/index")
    runner()
    collections.collection_forget()
    assert query(client, name, vectors[0].tolist())["plan"] == "hnsw"


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"metric": "l1", "index": {"type": "ivfflat"}}, "index.type", "hnsw"),
        ({"metric": "jaccard", "index": {"type": "ivfflat"}}, "index.type", "hnsw"),
        ({"metric": "l1", "index": {"precision": "bit"}}, "index.precision", "vector or halfvec"),
        ({"metric": "l2", "index": {"type": "ivfflat", "precision": "bit"}}, "index.precision", "vector"),
        ({"metric": "hamming", "index": {"precision": "vector"}}, "index.precision", "bit"),
        ({"metric": "hamming", "index": {"precision": "halfvec"}}, "index.precision", "bit"),
        ({"dimension": 2001, "index": {"precision": "vector"}}, "index.precision", "halfvec or bit"),
        ({"dimension": 4001, "index": {"precision": "halfvec"}}, "index.precision", "bit"),
        ({"dimension": 4001, "index": {"type": "ivfflat", "precision": "halfvec"}}, "index.type", "flat"),
        (
            {"dimension": 4001, "metric": "l1", "index": {"type": "hnsw", "precision": "halfvec"}},
            "index.type",
            "flat",
        ),
        ({"dimension": 16_001}, "dimension", "16000"),
        ({"dimension": 64_001, "metric": "hamming"}, "dimension", "64000"),
        ({"index": {"type": "ivfflat", "lists": 0}}, "index.lists", "32768"),
        ({"index": {"type": "ivfflat", "lists": 40_000}}, "index.lists", "32768"),
        ({"index": {"type": "tree"}}, "index.type", "tree"),
    ],
)
def test_what_pgvector_does_not_have_is_refused_at_once(client, body, field, says):
    answer = client.post("collections", {"name": "never", "dimension": 8} | body)
    assert answer.status == 422, answer
    assert (answer.json["errors"][0]["field"], says in answer.json["detail"]) == (field, True), answer


def test_the_defaults_suit_the_dimension(client, collection):
    def options(dimension, metric="cosine", **more):
        name = collection(dimension, metric, **more)
        found = client.get(f"collections/{name}").json["index"]["options"]
        return found["type"], found["precision"]

    assert options(2000) == ("hnsw", "vector")
    assert options(2001) == ("hnsw", "halfvec")
    assert options(4001)[0] == "flat"
    assert options(16_000, index={"type": "hnsw", "precision": "bit"}) == ("hnsw", "bit")


def test_every_index_there_is_can_be_built_and_no_other(pool):
    """The table of what is served is pgvector's own."""
    with pool.connection() as connection:
        rows = connection.db.execute(
            "SELECT am.amname, c.opcname FROM pg_opclass c JOIN pg_am am ON am.oid = c.opcmethod"
            " WHERE am.amname IN ('hnsw', 'ivfflat') AND c.opcname !~ 'sparsevec'"
        ).fetchall()
    served = {
        (kind, f"{precision}_{metric}_ops")
        for metric, one in kinds.METRICS.items()
        for kind, precisions in one.indexes.items()
        for precision in precisions
        if not kinds.quantized(metric, {"precision": precision})
    }
    assert served == {(kind, name.removesuffix("_ops") + "_ops") for kind, name in rows}
