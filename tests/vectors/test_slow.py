"""Slow queries: kept with their plan in the background, without what they asked for in full."""

import base64
import uuid

import numpy as np
import psycopg
import pytest

from tests.vectors.conftest import Client
from tests.vectors.test_process import serve, until  # noqa: F401
from vectors import slow

DIMENSION = 64


@pytest.fixture
def slow_client(client):
    """A client of an application to which every query is slow."""
    # Loading views takes the threshold from the settings, which must not come in between.
    from vectors import views  # noqa: F401
    from vectors.wsgi import Application

    before = slow.recorder
    slow.use(slow.Recorder())
    application = Application()
    slow.recorder.seconds = 0
    yield Client(application)
    slow.use(before)


@pytest.fixture
def filled(client, collection):
    name = collection(DIMENSION, "l2")
    vectors = np.random.default_rng(5).normal(size=(3000, DIMENSION)).astype("<f4")
    answer = client.post(
        f"collections/{name}/points",
        {
            "ids": [str(at) for at in range(len(vectors))],
            "vectors_b64": base64.b64encode(vectors.tobytes()).decode(),
            "metadata": [{"year": 2000 + at % 20, "tag": "x"} for at in range(len(vectors))],
        },
    )
    assert answer.status == 200
    return name


def listed(client, name, number):
    def enough():
        items = client.get(f"slow-queries?collection={name}").json["items"]
        return len(items) >= number and items

    return until(enough)


def test_a_slow_query_is_kept_with_its_plan(slow_client, filled, runner):
    slow_client.post(f"collections/{filled}/index")
    runner()
    secret = "a text that is long enough to be cut short in the plan and in the excerpt " * 4
    body = {
        "vector": [0.5] * DIMENSION,
        "top_k": 5,
        "filter": {"year": {"$gte": 2010}, "tag": {"$in": ["x", secret]}},
    }
    answer = slow_client.post(f"collections/{filled}/query", body)
    assert answer.status == 200
    assert "share" not in answer.json
    item = listed(slow_client, filled, 1)[0]
    assert item["took_ms"] > 0
    assert (item["kind"], item["top_k"], item["matches"], item["error"]) == ("query", 5, 5, None)
    assert (item["plan"], item["ef"]) == (answer.json["plan"], answer.json["ef"])
    assert item["share"] == pytest.approx(0.5, abs=0.1)
    assert item["filter"] == {"year": {"$gte": "number"}, "tag": {"$in": ["text", 2]}}
    assert item["filter_excerpt"].startswith('{"year":{"$gte":2010}')
    assert secret not in str(item)
    assert "cost=" in item["explain"]
    assert "0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5" not in item["explain"]
    assert "aindusdb_api_queries_slow_total 1" in slow_client.get("/metrics").body.decode()


def test_every_way_of_asking(slow_client, filled):
    """Groups, recommendations and vendors' calls; one of them planned anew, not to add to the load."""
    vector = [0.5] * DIMENSION
    assert (
        slow_client.post(f"collections/{filled}/query", {"vector": vector, "group_by": "year"}).status == 200
    )
    assert slow_client.post(f"collections/{filled}/recommend", {"positive": ["1"]}).status == 200
    body = {"query": vector, "filter": {"must": [{"has_id": [1, 2]}]}, "limit": 3}
    assert slow_client.post(f"/qdrant/collections/{filled}/points/query", body).status == 200
    items = listed(slow_client, filled, 3)
    assert [item["kind"] for item in items] == ["query", "query", "groups"]
    assert [item["explain"] is None for item in items] == [True, True, False]
    assert items[0]["filter"] == "id = ANY($1::text[])"
    assert items[0]["filter_excerpt"] == '{"1","2"}'
    assert items[2]["matches"] == 10
    first = slow_client.get(f"slow-queries?collection={filled}&limit=1").json
    assert [item["at"] for item in first["items"]] == [items[0]["at"]]
    rest = slow_client.get(f"slow-queries?collection={filled}&cursor={first['next_cursor']}").json
    assert [item["at"] for item in rest["items"]] == [items[1]["at"], items[2]["at"]]
    assert rest["next_cursor"] is None
    since = slow_client.get(f"slow-queries?collection={filled}&since={items[1]['at']}").json["items"]
    assert [item["at"] for item in since] == [items[0]["at"], items[1]["at"]]
    for query in ("limit=0", "cursor=x", "since=now", "x=1"):
        assert slow_client.get(f"slow-queries?{query}").status == 422


def test_words(slow_client, collection):
    name = collection(3, text={"language": "english"})
    points = {"points": [{"id": "a", "vector": [1, 2, 3], "content": "slow words"}]}
    assert slow_client.post(f"collections/{name}/points", points).status == 200
    assert slow_client.post(f"collections/{name}/query", {"text": "words"}).json["matches"]
    item = listed(slow_client, name, 1)[0]
    assert (item["kind"], item["plan"], item["matches"]) == ("text", "text", 1)
    assert "slow words" not in str(item)


def test_a_flood_is_counted_and_not_kept(slow_client, filled):
    pending = slow.recorder.pending
    for _ in range(slow.PENDING_MOST + 30):
        assert slow_client.post(f"collections/{filled}/query", {"id": "1"}).status == 200
        assert pending.qsize() <= slow.PENDING_MOST
    text = slow_client.get("/metrics").body.decode()
    assert f"aindusdb_api_queries_slow_total {slow.PENDING_MOST + 30}" in text
    while not pending.empty():
        pending.get()


def test_quick_queries_leave_nothing(client, filled):
    assert slow.recorder.seconds == 0.5
    assert client.post(f"collections/{filled}/query", {"id": "1"}).status == 200
    assert slow.recorder.pending.empty()


def test_shapes():
    assert slow.shape({"a": 1, "b": None, "c": True, "d": {"$nin": [1, "x", 2]}}) == {
        "a": "number",
        "b": "null",
        "c": "boolean",
        "d": {"$nin": ["number", "text", 3]},
    }
    assert slow.shape({"$or": [{"a": "x"}, {"$not": {"b": 1}}]}) == {
        "$or": [{"a": "text"}, {"$not": {"b": "number"}}]
    }
    assert slow.filter_details(None) == {"filter": None, "filter_excerpt": None}


def test_a_query_that_was_given_up(serve, vectors_url):  # noqa: F811
    """By a process of its own, whose statements may take next to no time."""
    server = serve("--no-runner", AINDUS_STATEMENT_TIMEOUT_MS="300")
    server.ready()
    name = f"given-up-{uuid.uuid4().hex[:6]}"
    table = server.call("POST", "collections", {"name": name, "dimension": 2, "metric": "l2"})[1]
    from controlplane import ids

    table = f"vectors_data.p_{ids.decode('col', table['id']).hex}"
    try:
        with psycopg.connect(vectors_url) as db:
            db.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            status, problem, _ = server.call("POST", f"collections/{name}/query", {"vector": [1, 2]})
            assert (status, problem["code"]) == (503, "timeout")
        item = until(lambda: server.call("GET", f"slow-queries?collection={name}")[1]["items"], seconds=20)[0]
        assert (item["error"], item["plan"], item["matches"]) == ("timeout", None, None)
        assert "slow query of" in server.log.read_text()
    finally:
        server.call("DELETE", f"collections/{name}")
