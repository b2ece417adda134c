"""Every index that pgvector has for every metric: its recall against exact search, and what is refused."""

import base64
import json

import numpy as np
import pytest

from vectors import collections, kinds, widths
from vectors.indexes import MERGE
from vectors.jobs.schedule import queue

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
        ({"index": {"type": "hnsw", "lists": 5}}, "index.lists", "ivfflat"),
        ({"index": {"type": "ivfflat", "m": 8}}, "index.m", "hnsw"),
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


BITS = 120


def bit_vectors(seed=1, count=COUNT, dimension=BITS):
    """Vectors of bits in clusters, as rows of 0 and 1."""
    random = np.random.default_rng(seed)
    centres = random.integers(0, 2, (20, dimension))
    flipped = random.random((count, dimension)) < 0.15
    return np.where(flipped, 1, 0) ^ centres[random.integers(0, 20, count)]


def distances(bits, one, metric):
    """Distances of rows to one, computed plainly."""
    if metric == "hamming":
        return (bits != one).sum(1).astype(float)
    both, either = (bits & one).sum(1), (bits | one).sum(1)
    return 1 - both / either


def packed(rows) -> str:
    return base64.b64encode(np.packbits(rows, axis=-1).tobytes()).decode()


def upsert_bits(client, name, rows, first=0):
    body = {"ids": [str(first + at) for at in range(len(rows))], "vectors_b64": packed(rows)}
    assert client.post(f"collections/{name}/points", body).json["upserted"] == len(rows)


@pytest.mark.parametrize(
    ("metric", "kind"),
    [("hamming", "hnsw"), ("hamming", "ivfflat"), ("jaccard", "hnsw"), ("jaccard", "flat")],
)
def test_recall_of_bits(client, collection, runner, scanning_is_dear, metric, kind):
    name = collection(BITS, metric, index={"type": kind}, auto_index=False)
    assert client.get(f"collections/{name}").json["index"]["options"]["precision"] == "bit"
    rows = bit_vectors(count=COUNT + 20)
    stored, queries = rows[:COUNT], rows[COUNT:]
    upsert_bits(client, name, stored)
    if kind != "flat":
        client.post(f"collections/{name}/index")
        runner()
        assert client.get(f"collections/{name}/index").json["state"] == "ready"
        collections.collection_forget()
    shares = []
    for one in queries:
        expected = distances(stored, one, metric)
        answer = query(client, name, one.tolist())
        assert answer["plan"] == ("exact" if kind == "flat" else kind)
        for match in answer["matches"]:
            assert match["score"] == pytest.approx(expected[int(match["id"])])
        scores = [match["score"] for match in answer["matches"]]
        assert scores == sorted(scores)
        # Many are equally near: as near as the tenth counts.
        tenth = np.sort(expected)[TOP_K - 1]
        shares.append(sum(score <= tenth + 1e-9 for score in scores) / TOP_K)
        assert len(ids(answer)) == TOP_K
    assert np.mean(shares) >= (1 if kind == "flat" else 0.95)
    near = query(client, name, queries[0].tolist(), score_threshold=float(scores[0]))["matches"]
    assert all(match["score"] <= scores[0] for match in near)


def test_the_life_of_bits(client, collection):
    name = collection(12, "hamming")
    path = f"collections/{name}"
    one, two = [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0] * 12
    points = [{"id": "one", "vector": one}, {"id": "two", "vector_b64": packed(np.array(two))}]
    assert client.post(f"{path}/points", {"points": points}).json["upserted"] == 2

    def stored():
        body = {"ids": ["one", "two"], "include": ["vector"]}
        return [point["vector"] for point in client.post(f"{path}/fetch", body).json["points"]]

    assert stored() == [one, two]
    answer = client.post(f"{path}/query", {"vector_b64": packed(np.array(one)), "include": ["vector"]}).json
    assert [(match["id"], match["score"], match["vector"]) for match in answer["matches"]] == [
        ("one", 0, one),
        ("two", 3, two),
    ]
    assert client.post(f"{path}/query", {"id": "two"}).json["matches"][0]["id"] == "two"
    grouped = client.post(f"{path}/query", {"id": "two", "group_by": "x", "include": ["vector"]})
    assert grouped.json["groups"] == []
    assert client.post(f"{path}/update", {"ids": ["two"], "vector": one}).json["updated"] == 1
    assert stored() == [one, one]
    lines = [{"id": "two", "vector": two}, {"id": "bad", "vector": [2, *two[1:]]}]
    line = "\n".join(map(json.dumps, lines)).encode()
    streamed = client.post(f"{path}/points", raw=line, headers={"Content-Type": "application/x-ndjson"})
    assert b'"upserted":1,"failed":1' in streamed.body
    assert stored() == [one, two]
    scrolled = client.post(f"{path}/scroll", {"include": ["vector"]}).json["points"]
    assert [point["vector"] for point in scrolled] == [one, two]
    assert client.get(f"{path}/projection").json["total"] == 2
    assert client.post(f"{path}/recommend", {"positive": ["one"]}).status == 422


@pytest.mark.parametrize(
    ("vector", "code"),
    [
        ([1] * 7, "wrong_dimension"),
        ([1] * 9, "wrong_dimension"),
        ([0.5] + [0] * 7, "not_a_bit"),
        ([2] + [0] * 7, "not_a_bit"),
        ([-1] + [0] * 7, "not_a_bit"),
    ],
)
def test_what_is_no_vector_of_bits(client, collection, vector, code):
    name = collection(8, "jaccard")
    for path, body in (
        ("points", {"points": [{"id": "a", "vector": vector}]}),
        ("query", {"vector": vector}),
    ):
        refused = client.post(f"collections/{name}/{path}", body)
        assert (refused.status, refused.json["errors"][0]["code"]) == (422, code)
    for given in ("AAA=", "", "!", "AAAA"):
        refused = client.post(f"collections/{name}/query", {"vector_b64": given})
        assert refused.status == 422
        refused = client.post(f"collections/{name}/points", {"ids": ["a"], "vectors_b64": given})
        assert refused.status == 422


def test_as_many_bits_as_an_index_takes(client, collection, runner):
    name = collection(64_000, "hamming")
    rows = np.random.default_rng(1).integers(0, 2, (30, 64_000))
    upsert_bits(client, name, rows)
    client.post(f"collections/{name}/index")
    runner()
    assert client.get(f"collections/{name}/index").json["state"] == "ready"
    answer = client.post(f"collections/{name}/query", {"vector_b64": packed(rows[7]), "top_k": 2}).json
    assert (answer["matches"][0]["id"], answer["matches"][0]["score"]) == ("7", 0)


@pytest.mark.parametrize("format", ["ndjson", "parquet"])
def test_bits_leave_and_come_back(client, collection, runner, format, tmp_path, settings):
    settings.VECTORS = settings.VECTORS | {"transfer_paths": [str(tmp_path)]}
    there, back = collection(13, "jaccard"), collection(13, "jaccard")
    rows = bit_vectors(count=50, dimension=13)
    upsert_bits(client, there, rows)
    place = str(tmp_path / f"out.{format}")
    job = client.post(f"collections/{there}/export", {"path": place, "format": format})
    assert job.status == 202, job
    runner()
    done = client.get(f"jobs/{job.json['id']}").json
    assert (done["state"], done["error"]) == ("succeeded", "")
    job = client.post(f"collections/{back}/import", {"path": place, "format": format})
    assert job.status == 202, job
    runner()
    done = client.get(f"jobs/{job.json['id']}").json
    assert (done["state"], done["error"]) == ("succeeded", "")
    for name in (there, back):
        scrolled = client.post(f"collections/{name}/scroll", {"include": ["vector"]}).json["points"]
        assert {point["id"]: point["vector"] for point in scrolled} == {
            str(at): row.tolist() for at, row in enumerate(rows)
        }


@pytest.mark.parametrize(
    ("metric", "index"),
    [
        ("cosine", {"type": "ivfflat"}),
        ("l2", {"type": "hnsw", "precision": "bit"}),
        ("hamming", {"type": "ivfflat", "lists": 5}),
    ],
)
def test_what_is_written_later_is_merged(client, collection, runner, pool, scanning_is_dear, metric, index):
    """Built as a segment of its own while writes go on, moved into the first one when they have paused."""
    name = collection(BITS, metric, index=index, auto_index=False)
    bits = kinds.METRICS[metric].form == "bit"
    rows = bit_vectors(count=2000) if bits else clustered(count=2000, dimension=BITS)
    put = upsert_bits if bits else upsert
    put(client, name, rows[:1200])
    client.post(f"collections/{name}/index")
    runner()
    path, collection_id = f"collections/{name}", collections.collection_load(name).id

    def merged(quiet: bool) -> dict:
        with pool.connection() as connection:
            queue(connection.db, collection_id, MERGE, {"least": 1, "quiet": quiet})
        runner()
        collections.collection_forget()
        job = client.get("jobs?limit=1").json["items"][0]
        assert (job["kind"], job["state"]) == (MERGE, "succeeded"), job
        return job["result"]

    def look(count: int) -> None:
        for at in range(0, count, 97):
            answer = query(client, name, rows[at].tolist())
            assert answer["plan"] == index["type"]
            assert str(at) in ids(answer)
        deep = query(client, name, rows[0].tolist(), top_k=count)
        assert len(ids(deep)) == count

    put(client, name, rows[1200:1900], first=1200)
    assert merged(False)["how"] == "build"
    look(1900)
    put(client, name, rows[1900:], first=1900)
    merged(True)
    shown = client.get(path).json["index"]
    assert (shown["segments"], shown["unindexed_points"]) == (1, 0)
    look(2000)
