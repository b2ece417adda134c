"""The short way of plain queries beside the long one: the same answers, and the same refusals."""

import json
import random

import orjson
import psycopg
import pytest

from controlplane.errors import ProblemError
from vectors import bodies, collections, database, plain, queries

DIMENSION = 4
POINTS = 6_000
random.seed(5)
VECTORS = [[random.gauss(0, 1) for _ in range(DIMENSION)] for _ in range(POINTS)]


@pytest.fixture
def indexed(client, collection, runner):
    """A function: an indexed collection, large enough for its graph to be asked."""

    def make(metric: str = "cosine") -> str:
        name = collection(dimension=DIMENSION, metric=metric, auto_index=False)
        for start in range(0, POINTS, 2000):
            points = [
                {
                    "id": f"p{row}" if row % 7 else f'é"{row}',
                    "vector": VECTORS[row],
                    "content": f"text {row}" if row % 3 else None,
                    "metadata": {"row": row, "name": "ü"},
                }
                for row in range(start, start + 2000)
            ]
            assert client.post(f"collections/{name}/points", {"points": points}).status == 200
        assert client.post(f"collections/{name}/index", {}).status == 202
        runner()
        collections.collection_forget()
        return name

    return make


def both(name: str, raw: bytes):
    """(short way's answer or None, long way's answer or the problem)."""
    short = plain.answered(name, raw)
    try:
        long = queries.answered(name, bodies.decode(bodies.Query, raw))
    except ProblemError as problem:
        return short, problem
    short = short and orjson.loads(short)
    if short:
        assert short.pop("took_ms") > 0
    return short, orjson.loads(orjson.dumps(long))


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_the_short_way_answers_as_the_long_one(indexed, metric):
    name = indexed(metric)
    alike(name)


def test_so_it_does_with_rows_behind_the_index(client, indexed):
    name = indexed("ip")
    newer = [{"id": f"n{row}", "vector": VECTORS[row]} for row in range(0, 200, 2)]
    assert client.post(f"collections/{name}/points", {"points": newer}).status == 200
    collections.collection_forget()
    alike(name)


def alike(name: str) -> None:
    """Compare the two ways."""
    for options in (
        {},
        {"top_k": 3, "include": []},
        {"include": ["content", "metadata", "vector", "content"]},
        {"include": ["vector"], "recall": 0.95, "top_k": 30},
        {"namespace": "", "top_k": 1},
    ):
        for vector in VECTORS[:20]:
            short, long = both(name, json.dumps({"vector": vector} | options).encode())
            assert short is not None
            assert short == long
            assert short["plan"] == "hnsw"


def test_cursors_of_the_short_way_lead_on(client, indexed):
    name = indexed()
    vector = VECTORS[17]
    first = client.post(f"collections/{name}/query", {"vector": vector, "top_k": 5}).json
    second = client.post(
        f"collections/{name}/query", {"vector": vector, "top_k": 5, "cursor": first["next_cursor"]}
    ).json
    whole = client.post(f"collections/{name}/query", {"vector": vector, "top_k": 10, "exact": True}).json
    assert [m["id"] for m in first["matches"] + second["matches"]] == [m["id"] for m in whole["matches"]]


NOT_PLAIN = [
    {"top_k": 10.0},
    {"top_k": True},
    {"top_k": 0},
    {"top_k": 10**9},
    {"recall": 1},
    {"recall": "exact"},
    {"include": "metadata"},
    {"include": None},
    {"include": [["metadata"]]},
    {"namespace": 5},
    {"namespace": "a\0b"},
    {"namespace": "empty"},
    {"filter": {"row": 1}},
    {"unknown": 1},
    {"vector": [1, 2, 3]},
    {"vector": [1, 2, 3, True]},
    {"vector": [1, 2, 3, False], "include": ["content"]},
    {"vector": [1, 2, 3, None]},
    {"vector": [1, 2, 3, "4"]},
    {"vector": [0, 0, 0, 0]},
    {"vector": [1e30, 0, 0, 0]},
    {"vector": [1e300, 0, 0, 0]},
    {"vector": {"1": 1, "2": 2, "3": 3, "4": 4}},
    {"vector": "abcd"},
    {"vector": None},
]


def test_what_is_not_plain_is_left_to_the_long_way(indexed):
    name = indexed()
    for options in NOT_PLAIN:
        # Known good options first, so that a plan is there to be taken for another's.
        assert plain.answered(name, json.dumps({"vector": VECTORS[0]}).encode())
        short, _ = both(name, json.dumps({"vector": VECTORS[0]} | options).encode())
        assert short is None, options


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"null", b"{", b'{"vector": [NaN]}', b"\xff", b'{"vector": [1e999,1,1,1]}']
)
def test_what_is_no_body_is_left_to_the_long_way(collection, raw):
    assert plain.answered(collection(dimension=DIMENSION), raw) is None


def test_unknown_and_unindexed_collections_are_left_to_the_long_way(collection):
    raw = json.dumps({"vector": VECTORS[0]}).encode()
    assert plain.answered("no-such-collection", raw) is None
    assert plain.answered(collection(dimension=DIMENSION), raw) is None


def test_a_lost_connection_is_left_to_the_long_way(client, indexed, vectors_url):
    name = indexed()
    query = {"vector": VECTORS[3]}
    expected = client.post(f"collections/{name}/query", query).json["matches"]
    with psycopg.connect(vectors_url, autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'aindusdb-api'"
        )
    assert plain.answered(name, json.dumps(query).encode()) is None
    assert client.post(f"collections/{name}/query", query).json["matches"] == expected
    assert database.pool().call(lambda connection: connection.usable)
