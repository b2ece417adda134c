"""Recall as it is measured: exact against the index, kept as a series, due by itself."""

import base64
import datetime

import numpy as np
import pytest

from controlplane import ids
from vectors import recalls
from vectors.jobs import recall, records

DIMENSION = 16


def load(client, name, vectors, namespace="", first=0):
    answer = client.post(
        f"collections/{name}/points",
        {
            "namespace": namespace,
            "ids": [str(at + first) for at in range(len(vectors))],
            "vectors_b64": base64.b64encode(vectors.astype("<f4").tobytes()).decode(),
        },
    )
    assert answer.status == 200, answer


@pytest.fixture
def indexed(client, collection, runner):
    """A collection of 9,000 points without structure, which a narrow graph does not search well."""
    random = np.random.default_rng(5)
    name = collection(DIMENSION, "l2", index={"m": 8, "ef_construction": 24}, auto_index=False)
    for at in range(3):
        load(client, name, random.normal(size=(3000, DIMENSION)), first=at * 3000)
    client.post(f"collections/{name}/index", {})
    runner()
    return name


def measured(client, name, runner, **body):
    """The sample of one measurement."""
    answer = client.post(f"collections/{name}/recall", body)
    assert answer.status == 202, answer
    assert answer.headers["location"].endswith(answer.json["id"])
    again = client.post(f"collections/{name}/recall", body)
    assert (again.status, again.json["code"]) == (409, "measuring")
    runner()
    job = client.get(f"jobs/{answer.json['id']}").json
    assert (job["state"], job["percent"]) == ("succeeded", 100.0), job
    return client.get(f"collections/{name}/recall").json["items"][0]


def test_recall_is_what_queries_find(client, indexed, runner):
    sample = measured(client, indexed, runner, queries=40, k=10)
    assert sample["plan"] == "hnsw"
    assert sample["ef"] == client.get(f"collections/{indexed}").json["index"]["built"]["efs"]["None"]
    assert (sample["k"], sample["queries"], sample["asked"]) == (10, 40, None)
    assert sample["points"] == 9_000
    assert sample["p50_ms"] > 0 and sample["exact_p50_ms"] > 0
    assert 0.8 < sample["recall"] <= 1
    # The same by hand, through the API.
    points = client.post(f"collections/{indexed}/scroll", {"limit": 40, "include": ["vector"]}).json["points"]
    found = 0
    for point in points:
        body = {"vector": point["vector"], "top_k": 11, "include": []}
        ids = [
            {match["id"] for match in answer["matches"]} - {point["id"]}
            for answer in (
                client.post(f"collections/{indexed}/query", body | {"exact": exact}).json
                for exact in (True, False)
            )
        ]
        found += len(ids[0] & ids[1])
    assert sample["recall"] == pytest.approx(found / 400, abs=0.12)
    wide = measured(client, indexed, runner, queries=40, k=10, recall=0.99)
    built = client.get(f"collections/{indexed}").json["index"]["built"]
    assert (wide["asked"], wide["ef"]) == (0.99, built["efs"]["0.99"])
    text = client.get("/metrics").body.decode()
    assert f'aindusdb_api_collection_recall{{collection="{indexed}"}}' in text


def test_without_an_index_it_is_one(client, collection, runner):
    name = collection(3, "cosine")
    load(client, name, np.array([[1, 0, 0]] * 30), namespace="x")
    load(client, name, np.array([[0, 1, 0]]), namespace="alone")
    sample = measured(client, name, runner)
    assert (sample["plan"], sample["ef"], sample["recall"], sample["queries"]) == ("exact", None, 1.0, 31)


def test_of_equally_near_points_any_will_do():
    best = [{"id": "a", "score": 1.0}, {"id": "b", "score": 2.0}]
    assert recall.hits([{"id": "a", "score": 1.0}, {"id": "c", "score": 2.0}], best, "l2") == 2
    assert recall.hits([{"id": "a", "score": 1.0}, {"id": "c", "score": 2.5}], best, "l2") == 1
    assert recall.hits([{"id": "b", "score": 2.0}], best[::-1], "ip") == 1
    assert recall.hits([], [], "l2") == 0


def test_an_empty_collection_says_so(client, collection, runner):
    name = collection()
    job = client.post(f"collections/{name}/recall").json
    runner()
    job = client.get(f"jobs/{job['id']}").json
    assert (job["state"], job["error"]) == ("failed", "The collection holds no points to ask for.")


def test_a_measurement_ends_in_time_with_what_it_has(client, indexed, runner, settings):
    settings.VECTORS = settings.VECTORS | {"recall_seconds": 1}
    sample = measured(client, indexed, runner, queries=1000, k=1000)
    assert 1 <= sample["queries"] < 1000


def test_pages_and_times(client, collection, pool):
    name = collection()
    collection_id = client.get(f"collections/{name}").json["id"]
    with pool.connection() as connection:
        for at in range(5):
            recalls.sample_keep(
                connection.db,
                ids.decode("col", collection_id),
                {
                    **{"k": 10, "queries": at + 1, "asked": None, "recall": 0.5, "ef": None},
                    **{"plan": "hnsw", "points": 1, "p50_ms": 1.0, "exact_p50_ms": 1.0},
                },
            )
    seen, cursor = [], ""
    while cursor is not None:
        page = client.get(f"collections/{name}/recall?limit=2&cursor={cursor}").json
        seen += page["items"]
        cursor = page["next_cursor"]
    assert [item["queries"] for item in seen] == [5, 4, 3, 2, 1]
    middle = seen[2]["at"]
    assert [
        item["queries"] for item in client.get(f"collections/{name}/recall?since={middle}").json["items"]
    ] == [5, 4, 3]
    assert [
        item["queries"] for item in client.get(f"collections/{name}/recall?until={middle}").json["items"]
    ] == [2, 1]
    for query in ("since=yesterday", "until=2026-01-01T00:00:00", "cursor=x", "limit=0", "other=1"):
        answer = client.get(f"collections/{name}/recall?{query}")
        assert answer.status == 422, query
        assert answer.json["errors"][0]["field"] == query.partition("=")[0]


def test_wrong_bodies(client, collection):
    name = collection()
    for body in ({"queries": 0}, {"queries": 1001}, {"k": 0}, {"k": 1001}, {"recall": 0.5}, {"x": 1}):
        answer = client.post(f"collections/{name}/recall", body)
        assert (answer.status, answer.json["errors"][0]["field"]) == (422, next(iter(body)))
    assert client.post("collections/none-such/recall").status == 404


def jobs(client, name):
    found = client.get("jobs?limit=200").json["items"]
    return [job for job in found if job["collection"] == name and job["kind"] == recalls.MEASURE]


def counted(pool):
    """Have PostgreSQL's statistics count what was written so far."""
    with pool.connection() as connection:
        connection.db.execute("SELECT pg_stat_force_next_flush()")


def test_due_by_itself(client, indexed, runner, pool):
    """After a build; then only when the interval has passed and enough was written."""
    counted(pool)
    runner(recall_hours=24)
    assert len(jobs(client, indexed)) == 1
    assert jobs(client, indexed)[0]["params"]["queries"] == recalls.DEFAULT["queries"]
    runner(recall_hours=24)
    assert len(jobs(client, indexed)) == 1, "nothing was built since"

    def age(connection):
        connection.db.execute("UPDATE vectors_job SET created_at = created_at - interval '2 days'")
        connection.db.execute("UPDATE vectors_job SET finished_at = finished_at - interval '3 days'")

    pool.call(age)
    runner(recall_hours=24)
    assert len(jobs(client, indexed)) == 1, "nothing was written since"
    load(client, indexed, np.random.default_rng(6).normal(size=(2000, DIMENSION)))
    counted(pool)
    runner(recall_hours=0)
    assert len(jobs(client, indexed)) == 1, "switched off"
    runner(recall_hours=24)
    assert len(jobs(client, indexed)) == 2


def test_series_is_bounded(client, collection, pool):
    name = collection()
    collection_id = ids.decode("col", client.get(f"collections/{name}").json["id"])
    sample = dict.fromkeys(("k", "queries", "points"), 1) | dict.fromkeys(
        ("recall", "p50_ms", "exact_p50_ms"), 1.0
    )
    with pool.connection() as connection:
        for at in range(5):
            recalls.sample_keep(
                connection.db,
                collection_id,
                sample | {"queries": at, "asked": None, "ef": 1, "plan": "x"},
                most=3,
            )
    items = client.get(f"collections/{name}/recall").json["items"]
    assert [item["queries"] for item in items] == [4, 3, 2]


def test_old_jobs_are_let_go(client, collection, runner, pool):
    name = collection()
    load(client, name, np.eye(3))
    made = []
    for _ in range(4):
        made.append(client.post(f"collections/{name}/recall").json["id"])
        runner()
    made.append(client.post(f"collections/{name}/recall").json["id"])
    with pool.connection() as connection:
        records.jobs_prune(connection.db, keep=2)
    assert [client.get(f"jobs/{job}").status for job in made] == [404, 404, 200, 200, 200]
    assert client.get(f"jobs/{made[-1]}").json["state"] == "queued"
    runner()


def test_samples_go_with_their_collection(client, runner):
    assert client.post("collections", {"name": "going", "dimension": 3}).status == 201
    load(client, "going", np.eye(3))
    assert measured(client, "going", runner)["queries"] == 3
    assert client.delete("collections/going").status == 204
    assert client.get("collections/going/recall").status == 404


def test_times_are_of_this_moment(client, collection, runner):
    name = collection()
    load(client, name, np.eye(3))
    before = datetime.datetime.now(datetime.UTC)
    at = datetime.datetime.fromisoformat(measured(client, name, runner)["at"])
    assert abs((at - before).total_seconds()) < 60
