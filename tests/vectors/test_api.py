"""Every call's good case."""

import pytest

from tests.vectors.conftest import b64


def upsert(client, name, points, namespace=""):
    answer = client.post(f"collections/{name}/points", {"points": points, "namespace": namespace})
    assert answer.status == 200, answer
    return answer.json


def test_collection_life(client, collection):
    name = collection(4, "l2", index={"m": 8, "ef_construction": 32})
    found = client.get(f"collections/{name}").json
    assert found["dimension"] == 4
    assert found["metric"] == "l2"
    assert found["points"] == 0
    assert found["points_are_exact"] is True
    assert found["index"]["state"] == "none"
    assert found["index"]["options"] == {
        "type": "hnsw",
        "m": 8,
        "ef_construction": 32,
        "precision": "vector",
    }
    assert client.get(f"collections/{found['id']}").json["name"] == name
    changed = client.patch(f"collections/{name}", {"auto_index": False, "index": {"m": 10}})
    assert changed.json["index"]["auto"] is False
    assert changed.json["index"]["options"]["m"] == 10
    assert client.post("collections", {"name": name, "dimension": 3}).status == 409
    assert client.delete(f"collections/{name}").status == 204
    assert client.get(f"collections/{name}").status == 404


def test_collections_page(client, collection):
    names = sorted(collection() for _ in range(5))
    seen, cursor = [], ""
    while True:
        page = client.get(f"collections?limit=2{cursor}").json
        seen += [item["name"] for item in page["items"]]
        if not page["next_cursor"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert [name for name in seen if name in names] == names


def test_a_collection_made_anew_is_seen_at_once(client, collection):
    name = collection(3)
    upsert(client, name, [{"id": "a", "vector": [1, 2, 3]}])
    client.post(f"collections/{name}/query", {"vector": [1, 2, 3]})
    client.delete(f"collections/{name}")
    assert client.post("collections", {"name": name, "dimension": 2}).status == 201
    assert client.post(f"collections/{name}/query", {"vector": [1, 2]}).json["matches"] == []


def test_three_forms_of_upsert_are_the_same(client, collection):
    name = collection(2, "l2")
    upsert(client, name, [{"id": "a", "vector": [1, 2], "content": "x", "metadata": {"n": 1}}])
    upsert(client, name, [{"id": "b", "vector_b64": b64([1, 2]), "content": "x", "metadata": {"n": 1}}])
    block = {"ids": ["c"], "vectors_b64": b64([1, 2]), "contents": ["x"], "metadata": [{"n": 1}]}
    assert client.post(f"collections/{name}/points", block).json == {"upserted": 1, "errors": []}
    points = client.post(f"collections/{name}/fetch", {"ids": ["c", "a", "b", "zz"]}).json
    assert [point.pop("id") for point in points["points"]] == ["c", "a", "b"]
    assert points["points"] == [{"vector": [1, 2], "content": "x", "metadata": {"n": 1}}] * 3
    assert points["missing"] == ["zz"]


def test_upsert_replaces_and_the_last_of_a_batch_wins(client, collection):
    name = collection(2, "l2")
    upsert(client, name, [{"id": "a", "vector": [1, 2], "content": "old", "metadata": {"n": 1}}])
    answer = upsert(client, name, [{"id": "a", "vector": [0, 0]}, {"id": "a", "vector": [3, 4]}])
    assert answer["upserted"] == 1
    point = client.post(f"collections/{name}/fetch", {"ids": ["a"]}).json["points"][0]
    assert point == {"id": "a", "vector": [3, 4], "content": None, "metadata": {}}


def test_stored_json_comes_back_as_it_is(client, collection):
    name = collection(1, "l2")
    metadata = {
        "å": '日本 \U0001f600 "quoted" \\',
        "n": 12345678901234567890,
        "f": 0.1,
        "null": None,
        "l": [[]],
    }
    upsert(client, name, [{"id": "é/ü", "vector": [1], "content": "tab\t\U0001f600", "metadata": metadata}])
    point = client.post(f"collections/{name}/fetch", {"ids": ["é/ü"]}).json["points"][0]
    assert point["metadata"] == metadata
    assert point["content"] == "tab\t\U0001f600"


@pytest.mark.parametrize(
    ("metric", "scores"),
    [("cosine", [1.0, 0.7071067, -1.0]), ("l2", [0.0, 1.0, 2.0]), ("ip", [1.0, 1.0, -1.0])],
)
def test_scores(client, collection, metric, scores):
    name = collection(2, metric)
    upsert(
        client,
        name,
        [{"id": "a", "vector": [1, 0]}, {"id": "b", "vector": [1, 1]}, {"id": "c", "vector": [-1, 0]}],
    )
    answer = client.post(f"collections/{name}/query", {"vector": [1, 0], "top_k": 5}).json
    assert [match["id"] for match in answer["matches"]] == ["a", "b", "c"]
    assert [match["score"] for match in answer["matches"]] == pytest.approx(scores, abs=1e-6)
    assert answer["plan"] == "exact"
    assert answer["exhausted"] is True
    assert answer["candidates"] == 3
    assert answer["took_ms"] > 0
    by_id = client.post(f"collections/{name}/query", {"id": "a", "top_k": 5}).json
    assert by_id["matches"] == answer["matches"]
    by_b64 = client.post(f"collections/{name}/query", {"vector_b64": b64([1, 0]), "top_k": 5}).json
    assert by_b64["matches"] == answer["matches"]
    near = client.post(f"collections/{name}/query", {"vector": [1, 0], "score_threshold": 0.9}).json
    assert [m["id"] for m in near["matches"]] == {"cosine": ["a"], "l2": ["a"], "ip": ["a", "b"]}[metric]


def test_include_and_namespaces(client, collection):
    name = collection(2)
    upsert(client, name, [{"id": "a", "vector": [1, 0], "content": "one"}], "x")
    upsert(client, name, [{"id": "a", "vector": [0, 1], "content": "two"}], "y")
    answer = client.post(
        f"collections/{name}/query",
        {"vector": [1, 0], "namespace": "y", "include": ["content", "vector", "metadata"]},
    ).json
    assert len(answer["matches"]) == 1
    assert answer["matches"][0] == {
        "id": "a",
        "score": 0.0,
        "content": "two",
        "vector": [0, 1],
        "metadata": {},
    }
    bare = client.post(f"collections/{name}/query", {"vector": [1, 0], "namespace": "y", "include": []}).json
    assert bare["matches"] == [{"id": "a", "score": 0.0}]
    assert client.post(f"collections/{name}/query", {"vector": [1, 0]}).json["matches"] == []
    assert client.post(f"collections/{name}/count", {}).json == {"count": 2}
    assert client.post(f"collections/{name}/count", {"namespace": "x"}).json == {"count": 1}
    stats = client.get(f"collections/{name}/stats").json
    assert stats["namespaces"] == [{"name": "x", "points": 1}, {"name": "y", "points": 1}]


def test_delete_by_ids_filter_namespace_and_all(client, collection):
    name = collection(1, "l2")
    for namespace in ("", "x"):
        upsert(
            client,
            name,
            [{"id": str(at), "vector": [at], "metadata": {"even": at % 2 == 0}} for at in range(10)],
            namespace,
        )
    path = f"collections/{name}/delete"
    assert client.post(path, {"ids": ["1", "3", "99"]}).json == {"deleted": 2}
    assert client.post(path, {"filter": {"even": True}}).json == {"deleted": 5}
    assert client.post(f"collections/{name}/count", {"namespace": ""}).json == {"count": 3}
    assert client.post(path, {"all": True, "namespace": ""}).json == {"deleted": 3}
    assert client.post(path, {"all": True}).json == {"deleted": 10}
    assert client.post(f"collections/{name}/count").json == {"count": 0}


def test_scroll_while_others_write(client, collection):
    name = collection(1, "l2")
    upsert(client, name, [{"id": f"{at:03}", "vector": [at]} for at in range(0, 50, 2)])
    seen, cursor = [], None
    while True:
        page = client.post(f"collections/{name}/scroll", {"limit": 7, "cursor": cursor}).json
        seen += [point["id"] for point in page["points"]]
        upsert(client, name, [{"id": f"{int(seen[-1]) - 1:03}", "vector": [0]}])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"{at:03}" for at in range(0, 50, 2)]


def test_upstream_calls(client):
    client.delete("collections/default")
    assert client.post("search", {"query_vector": [1, 2]}).json == {"results": [], "count": 0}
    made = client.post("", {"embedding": [1, 2, 2], "content": "hello", "metadata": {"a": 1}})
    assert made.status == 201
    point_id = made.json["id"]
    assert client.get(point_id).json == {
        "id": point_id,
        "embedding": [1, 2, 2],
        "content": "hello",
        "metadata": {"a": 1},
    }
    found = client.post("search", {"query_vector": [1, 2, 2], "limit": 3, "threshold": 0.5}).json
    assert found["results"][0]["id"] == point_id
    assert found["results"][0]["score"] == pytest.approx(1)
    assert client.delete(point_id).status == 204
    assert client.get(point_id).status == 404
    assert client.delete(point_id).status == 404
    client.delete("collections/default")


def test_probes(client):
    assert client.get("/health").json["status"] == "ok"
    assert client.get("/ready").json == {"status": "ready", "checks": {"database": "ok", "schema": "ok"}}


def test_metrics_count_what_was_done(client, collection, application):
    from prometheus_client.parser import text_string_to_metric_families

    from vectors import metrics

    name = collection(2)
    metrics._gauges = (0.0, [])
    for _ in range(3):
        client.post(f"collections/{name}/query", {"vector": [1, 1]})
    client.post(f"collections/{name}/query", {"vector": [1]})
    text = client.get("/metrics").body.decode()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["aindusdb_api_requests_total", ("route", "query"), ("status", "2xx")] == 3
    assert samples["aindusdb_api_requests_total", ("route", "query"), ("status", "4xx")] == 1
    assert samples["aindusdb_api_request_duration_seconds_count", ("route", "query")] == 4
    assert samples["aindusdb_api_request_duration_seconds_bucket", ("le", "+Inf"), ("route", "query")] == 4
    assert samples["aindusdb_api_collection_points", ("collection", name)] == 0
    assert samples["aindusdb_api_collection_bytes", ("collection", name)] > 0
    assert samples["aindusdb_api_requests_in_flight",] == 1


def test_request_ids(client):
    assert client.get("/health", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/health", headers={"X-Request-Id": "bad id\n"}).headers["x-request-id"] != "bad id\n"
    missing = client.get("collections/nope", headers={"X-Request-Id": "abc-2"})
    assert missing.json["request_id"] == "abc-2"


def test_index_is_built_and_serves(client, collection, runner):
    name = collection(8, "l2")
    points = [{"id": str(at), "vector": [at % 7, at % 11, at % 13, at, 0, 0, 0, 1]} for at in range(4000)]
    upsert(client, name, points)
    assert client.get(f"collections/{name}/index").json["state"] == "none"
    queued = client.post(f"collections/{name}/index", {"m": 8, "ef_construction": 40})
    assert queued.status == 202
    assert queued.headers["location"].endswith(queued.json["id"])
    assert client.post(f"collections/{name}/index").status == 409
    assert client.get(f"collections/{name}/index").json["state"] == "queued"
    runner()
    state = client.get(f"collections/{name}/index").json
    assert state["state"] == "ready", state
    assert state["percent"] == 100
    assert state["built"]["rows"] == 4000
    assert client.get(f"jobs/{queued.json['id']}").json["state"] == "succeeded"
    assert queued.json["id"] in [item["id"] for item in client.get("jobs").json["items"]]
    answer = client.post(f"collections/{name}/query", {"vector": points[77]["vector"], "top_k": 3}).json
    assert answer["plan"].startswith("hnsw") or answer["plan"] == "exact"
    assert answer["matches"][0] == {"id": "77", "score": 0.0, "metadata": {}}
    # Built anew with other options, beside the one that serves.
    client.post(f"collections/{name}/index", {"m": 12})
    runner()
    assert client.get(f"collections/{name}/index").json["built"]["m"] == 12
    assert client.delete(f"collections/{name}/index").status == 204
    gone = client.get(f"collections/{name}/index").json
    assert gone["state"] == "none"
    assert gone["auto"] is False
    assert client.post(f"collections/{name}/query", {"vector": [1] * 8}).json["plan"] == "exact"


def test_an_index_comes_by_itself_when_writes_pause(client, collection, pool, vectors_url):
    from vectors.runner import Runner

    name = collection(2, "l2")
    quiet = collection(2, "l2", auto_index=False)
    for one in (name, quiet):
        upsert(client, one, [{"id": str(at), "vector": [at, 1]} for at in range(300)])
    with pool.connection() as connection:
        connection.simple("SELECT pg_stat_force_next_flush()")
    runner = Runner(vectors_url, auto_points=200, pause_seconds=0)
    with runner.connect() as db:
        db.execute(f"ANALYZE {collections_table(client, name)}")
        for _ in range(50):
            runner.run_pending(db)
            if client.get(f"collections/{name}/index").json["state"] == "ready":
                break
    assert client.get(f"collections/{name}/index").json["state"] == "ready"
    assert client.get(f"collections/{quiet}/index").json["state"] == "none"


def collections_table(client, name):
    from vectors.collections import collection_load

    return collection_load(name).table


def test_the_docs_name_every_route_metric_and_bucket(client):
    from pathlib import Path

    from vectors import metrics

    text = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()
    assert [name for name in metrics.NAMES if f"`{name}`" not in text] == []
    lines = client.get("/metrics").body.decode().splitlines()
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert [name for name in names if f"`{name}`" not in text] == []
    assert " ".join(str(most) for most in metrics.BUCKETS) in text


def test_a_list_counts_small_collections_exactly(client, collection):
    name = collection(2)
    for _ in range(3):
        upsert(client, name, [{"id": str(n), "vector": [n, 1]} for n in range(7)])
    found = next(item for item in client.get("collections?limit=200").json["items"] if item["name"] == name)
    assert (found["points"], found["points_are_exact"]) == (7, True)


def test_a_queued_job_is_cancelled_once(client, collection):
    name = collection()
    job = client.post(f"collections/{name}/index", {}).json
    stopped = client.post(f"jobs/{job['id']}/cancel")
    assert (stopped.status, stopped.json["state"]) == (200, "cancelled")
    again = client.post(f"jobs/{job['id']}/cancel")
    assert (again.status, again.json["code"]) == (409, "ended")
    assert client.get(f"collections/{name}/index").json["state"] == "none"
