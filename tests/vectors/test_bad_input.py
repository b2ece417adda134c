"""Bad input: always 4xx problem+json with the field, never a 5xx, nothing half done."""

import base64
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vectors.conftest import b64

GOOD = {"id": "good", "vector": [1, 2, 3]}
NAN = base64.b64encode(struct.pack("<3f", 1, float("nan"), 2)).decode()
INF = base64.b64encode(struct.pack("<3f", 1, float("inf"), 2)).decode()
DEEP = (
    b'{"points":[{"id":"a","vector":[1,2,3],"metadata":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}]}"
)
DEEPER = b'{"points":[{"id":"a","vector":[1,2,3],"metadata":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}]}"


def check_problem(answer, status=None, field=None):
    assert 400 <= answer.status < 500, answer
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json
    assert {"type", "title", "status", "detail", "code", "errors", "request_id"} <= set(body)
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["status"] == answer.status
    assert body["detail"]
    if status is not None:
        assert answer.status == status, answer
    if field is not None:
        assert [error["field"] for error in body["errors"]] == [field], answer


@pytest.mark.parametrize(
    ("point", "field"),
    [
        ({"id": "a", "vector": [1, 2]}, "points[1].vector"),
        ({"id": "a", "vector": []}, "points[1].vector"),
        ({"id": "a", "vector": [0, 0, 0]}, "points[1].vector"),
        ({"id": "a", "vector": [0, -0.0, 1e-30]}, "points[1].vector"),
        ({"id": "a", "vector": [1e30, 0, 0]}, "points[1].vector"),
        ({"id": "a", "vector": [1e39, 0, 0]}, "points[1].vector"),
        ({"id": "a", "vector": [10**400, 0, 0]}, "points[1].vector[0]"),
        ({"id": "a", "vector": [1, "2", 3]}, "points[1].vector[1]"),
        ({"id": "a", "vector": [1, None, 3]}, "points[1].vector[1]"),
        ({"id": "a"}, "points[1].vector"),
        ({"id": "a", "vector": [1, 2, 3], "vector_b64": "AA=="}, "points[1].vector"),
        ({"id": "a", "vector_b64": "AA=="}, "points[1].vector_b64"),
        ({"id": "a", "vector_b64": "!!!"}, "points[1].vector_b64"),
        ({"id": "a", "vector_b64": b64([1, 2])}, "points[1].vector_b64"),
        ({"id": "a", "vector_b64": NAN}, "points[1].vector"),
        ({"id": "a", "vector_b64": INF}, "points[1].vector"),
        ({"id": "", "vector": [1, 2, 3]}, "points[1].id"),
        ({"id": "x" * 513, "vector": [1, 2, 3]}, "points[1].id"),
        ({"id": "a\0", "vector": [1, 2, 3]}, "points[1].id"),
        ({"id": 7, "vector": [1, 2, 3]}, "points[1].id"),
        ({"vector": [1, 2, 3]}, "points[1]"),
        ({"id": "a", "vector": [1, 2, 3], "content": "a\0b"}, "points[1].content"),
        ({"id": "a", "vector": [1, 2, 3], "content": 5}, "points[1].content"),
        ({"id": "a", "vector": [1, 2, 3], "metadata": []}, "points[1].metadata"),
        ({"id": "a", "vector": [1, 2, 3], "metadata": "x"}, "points[1].metadata"),
        ({"id": "a", "vector": [1, 2, 3], "metadata": {"a": "b\0"}}, "points[1].metadata"),
        ({"id": "a", "vector": [1, 2, 3], "metadata": {"a\0": 1}}, "points[1].metadata"),
        ({"id": "a", "vector": [1, 2, 3], "metadata": {"a": "x" * 300_000}}, "points[1].metadata"),
        ({"id": "a", "vector": [1, 2, 3], "extra": 1}, "points[1].extra"),
    ],
)
def test_one_bad_point_refuses_the_batch(client, collection, point, field):
    import json

    name = collection(3)
    raw = json.dumps({"points": [GOOD, point]}).encode()
    check_problem(client.post(f"collections/{name}/points", raw=raw), 422, field)
    assert client.post(f"collections/{name}/count").json == {"count": 0}
    assert client.post(f"collections/{name}/points", {"points": [GOOD]}).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"points":[{"id":"\\ud800","vector":[1,2,3]}]}',
        b'{"points":[{"id":"a","vector":[1,2,3],"metadata":{"a":"\\ud800"}}]}',
        b'{"points":[{"id":"a","vector":[1,2,3],"metadata":{"a":"\\udc00\\ud800"}}]}',
        b'{"points":[{"id":"a","vector":[NaN,2,3]}]}',
        b'{"points":[{"id":"a","vector":[1,2,3],"metadata":{"a":1e999999}}]}',
        DEEP,
        b"[" * 200_000,
        b'{"points":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"points":null}',
        b'{"points":[],"ids":[]}',
        b'{"ids":["a"]}',
        b'{"ids":["a","b"],"vectors_b64":"AAAA"}',
        b'{"ids":["a"],"vectors_b64":"AACAPwAAgD8AAIA/","contents":[]}',
        b'{"ids":["a"],"vectors_b64":"AAAAAAAAAAAAAAAA"}',
        b'{"ids":["a"],"vectors_b64":"AACAPwAAgD8AAIA/","metadata":[7]}',
        b'{"points":[],"namespace":"a\\u0000"}',
        b'{"points":[],"namespace":"' + b"n" * 129 + b'"}',
    ],
)
def test_bad_bodies(client, collection, raw):
    name = collection(3)
    check_problem(client.post(f"collections/{name}/points", raw=raw))
    assert client.post(f"collections/{name}/count").json == {"count": 0}


def test_deep_metadata_is_kept_or_refused(client, collection):
    name = collection(3)
    answer = client.post(f"collections/{name}/points", raw=DEEPER)
    assert answer.status in (200, 422)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "vector"),
        ({"vector": [1, 2]}, "vector"),
        ({"vector": [0, 0, 0]}, "vector"),
        ({"vector": [1e39, 0, 0]}, "vector"),
        ({"vector": [1e25, 0, 0]}, "vector"),
        ({"vector_b64": NAN}, "vector_b64"),
        ({"vector": [1, 2, 3], "id": "a"}, "vector"),
        ({"vector": [1, 2, 3], "top_k": 0}, "top_k"),
        ({"vector": [1, 2, 3], "top_k": 10_001}, "top_k"),
        ({"vector": [1, 2, 3], "top_k": 10**30}, "top_k"),
        ({"vector": [1, 2, 3], "top_k": "5"}, "top_k"),
        ({"vector": [1, 2, 3], "include": ["all"]}, "include[0]"),
        ({"vector": [1, 2, 3], "namespace": "a\0"}, "namespace"),
        ({"vector": [1, 2, 3], "topk": 5}, "topk"),
        ({"vector": [1, 2, 3], "recall": 0.5}, "recall"),
        ({"vector": [1, 2, 3], "recall": 1}, "recall"),
        ({"vector": [1, 2, 3], "recall": "most"}, "recall"),
        ({"vector": [1, 2, 3], "cursor": "!"}, "cursor"),
        ({"vector": [1, 2, 3], "cursor": "WzAuMSwiYSIsMSw3XQ"}, "cursor"),
        ({"vector": [1, 2, 3], "cursor": "WzAuMSwiYVx1MDAwMCIsMSw3XQ"}, "cursor"),
        ({"queries": []}, "queries"),
        ({"queries": [{"vector": [1, 2, 3]}] * 101}, "queries"),
        ({"queries": [{"vector": [1, 2, 3], "top_k": 5001}] * 2}, "queries"),
        ({"queries": [{"vector": [1, 2, 3]}], "top_k": 3}, "top_k"),
        ({"queries": [{"vector": [1, 2, 3]}], "vector": [1, 2, 3]}, "vector"),
        ({"queries": [{"vector": [1, 2, 3]}, {"vector": [1, 2]}]}, "queries[1].vector"),
        ({"queries": [{"vector": [1, 2, 3]}, {}]}, "queries[1].vector"),
        ({"queries": [{"vector": [1, 2, 3], "filter": {"a": {"$foo": 1}}}]}, "queries[0].filter.a.$foo"),
        ({"queries": [{"vector": [1, 2, 3], "queries": []}]}, "queries[0].queries"),
        ({"vector": [1, 2, 3], "filter": []}, "filter"),
        ({"vector": [1, 2, 3], "filter": {}}, "filter"),
        ({"vector": [1, 2, 3], "filter": {"a": {}}}, "filter.a"),
        ({"vector": [1, 2, 3], "filter": {"a": [1]}}, "filter.a"),
        ({"vector": [1, 2, 3], "filter": {"a": {"$eq": [1]}}}, "filter.a.$eq"),
        ({"vector": [1, 2, 3], "filter": {"a": {"$in": 5}}}, "filter.a.$in"),
        ({"vector": [1, 2, 3], "filter": {"a": {"$in": [1, {}]}}}, "filter.a.$in[1]"),
        ({"vector": [1, 2, 3], "filter": {"a": {"$gt": True}}}, "filter.a.$gt"),
        ({"vector": [1, 2, 3], "filter": {"a": {"$exists": 1}}}, "filter.a.$exists"),
        ({"vector": [1, 2, 3], "filter": {"a": {"$regex": "x"}}}, "filter.a.$regex"),
        ({"vector": [1, 2, 3], "filter": {"$xor": []}}, "filter.$xor"),
        ({"vector": [1, 2, 3], "filter": {"$and": []}}, "filter.$and"),
        ({"vector": [1, 2, 3], "filter": {"$or": [{"a": {"$foo": 1}}]}}, "filter.$or[0].a.$foo"),
        ({"vector": [1, 2, 3], "filter": {"a..b": 1}}, "filter.a..b"),
        ({"vector": [1, 2, 3], "filter": {"": 1}}, "filter."),
        ({"vector": [1, 2, 3], "filter": {"a": "x\0"}}, "filter.a"),
        ({"vector": [1, 2, 3], "filter": {"a\0": "x"}}, "filter.a\0"),
    ],
)
def test_bad_queries(client, collection, body, field):
    import json

    name = collection(3)
    raw = json.dumps(body).encode()
    check_problem(client.post(f"collections/{name}/query", raw=raw), 422, field)


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        ("query", {"vector": [1, 2, 3], "group_by": ""}, "group_by"),
        ("query", {"vector": [1, 2, 3], "group_by": "a..b"}, "group_by"),
        ("query", {"vector": [1, 2, 3], "group_by": "a\0"}, "group_by"),
        ("query", {"vector": [1, 2, 3], "group_by": "a", "group_size": 101}, "group_size"),
        ("query", {"vector": [1, 2, 3], "group_by": "a", "group_size": 90, "top_k": 200}, "group_size"),
        ("query", {"vector": [1, 2, 3], "group_by": "a", "cursor": "x"}, "cursor"),
        ("query", {"queries": [{"vector": [1, 2, 3], "group_by": "a"}]}, "queries[0].group_by"),
        ("recommend", {}, "(body)"),
        ("recommend", {"positive": []}, "positive"),
        ("recommend", {"positive": ["a\0"]}, "positive[0]"),
        ("recommend", {"positive": ["good"] * 201}, "positive"),
        ("recommend", {"positive": ["good"], "recall": 2}, "recall"),
        ("update", {}, "ids"),
        ("update", {"ids": ["good"], "filter": {"a": 1}, "content": ""}, "ids"),
        ("update", {"ids": ["good"]}, "metadata"),
        ("update", {"ids": ["a\0"], "content": ""}, "ids[0]"),
        ("update", {"ids": ["good"], "content": "\0"}, "content"),
        ("update", {"ids": ["good"], "vector": [1, 2]}, "vector"),
        ("update", {"ids": ["good"], "vector": [0, 0, 0]}, "vector"),
        ("update", {"ids": ["good"], "vector_b64": "!"}, "vector_b64"),
        ("update", {"ids": ["good"], "vector": [1, 2, 3], "vector_b64": ""}, "vector"),
        ("update", {"ids": ["good"], "metadata": [1]}, "metadata"),
        ("update", {"ids": ["good"], "metadata": {"a": "\0"}}, "metadata"),
        ("update", {"ids": ["good"], "metadata": {"a": "x" * 300_000}}, "metadata"),
        ("update", {"ids": ["good"], "metadata": {}, "metadata_mode": "mix"}, "metadata_mode"),
        ("update", {"points": [{"id": "good"}]}, "points[0].metadata"),
        ("update", {"points": [{"id": "good", "content": "x"}], "content": "y"}, "points"),
        (
            "update",
            {"points": [{"id": "good", "content": ""}, {"id": "b", "vector": [1]}]},
            "points[1].vector",
        ),
        ("update", {"filter": {"a": {"$foo": 1}}, "content": "x"}, "filter.a.$foo"),
    ],
)
def test_bad_calls_on_points(client, collection, call, body, field):
    name = collection(3)
    client.post(f"collections/{name}/points", {"points": [GOOD]})
    check_problem(client.post(f"collections/{name}/{call}", body), 422, field)
    stored = client.post(f"collections/{name}/fetch", {"ids": ["good"]}).json["points"][0]
    assert (stored["content"], stored["metadata"], stored["vector"]) == (None, {}, [1, 2, 3])


def test_bad_namespaces_and_examples(client, collection):
    name = collection(3)
    check_problem(client.delete(f"collections/{name}/namespaces"), 422, "name")
    check_problem(client.delete(f"collections/{name}/namespaces?name=x"), 404)
    check_problem(client.delete(f"collections/{name}/namespaces?name=%00"), 422, "name")
    check_problem(client.get(f"collections/{name}/namespaces?limit=0"), 422, "limit")
    check_problem(client.get(f"collections/{name}/namespaces?cursor=x"), 422, "cursor")
    check_problem(client.post(f"collections/{name}/recommend", {"positive": ["nobody"]}), 404)
    vectors = {"a": [1, 0, 0], "b": [2, 0, 0], "c": [0, 1, 0], "d": [-1, 0, 0]}
    points = [{"id": point_id, "vector": vector} for point_id, vector in vectors.items()]
    client.post(f"collections/{name}/points", {"points": points})
    answer = client.post(f"collections/{name}/recommend", {"positive": ["a"], "negative": ["b"]})
    assert [match["id"] for match in answer.json["matches"]] == ["c", "d"]
    check_problem(client.post(f"collections/{name}/recommend", {"positive": ["a", "d"]}), 422, "positive")


def test_bad_filters_are_bounded(client, collection):
    name = collection(3)
    deep = {"a": 1}
    for _ in range(20):
        deep = {"$and": [deep]}
    check_problem(client.post(f"collections/{name}/count", {"filter": deep}), 422)
    wide = {"$or": [{"a": at} for at in range(1001)]}
    check_problem(client.post(f"collections/{name}/count", {"filter": wide}), 422)
    check_problem(
        client.post(f"collections/{name}/count", {"filter": {"a": {"$in": list(range(10_001))}}}), 422
    )
    big = {"$or": [{"a": at} for at in range(900)], "b": {"$in": list(range(9000))}}
    assert client.post(f"collections/{name}/count", {"filter": big}).json == {"count": 0}
    raw = b'{"filter":{"a":1' + b"0" * 4000 + b"}}"
    check_problem(client.post(f"collections/{name}/count", raw=raw), 422)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"dimension": 3}, "(body)"),
        ({"name": "x"}, "(body)"),
        ({"name": "", "dimension": 3}, "name"),
        ({"name": "a b", "dimension": 3}, "name"),
        ({"name": "a/b", "dimension": 3}, "name"),
        ({"name": "../etc", "dimension": 3}, "name"),
        ({"name": "x" * 101, "dimension": 3}, "name"),
        ({"name": "x\n", "dimension": 3}, "name"),
        ({"name": "x\0", "dimension": 3}, "name"),
        ({"name": 'x"; DROP TABLE vectors_collection; --', "dimension": 3}, "name"),
        ({"name": "日本", "dimension": 3}, "name"),
        ({"name": "x", "dimension": 0}, "dimension"),
        ({"name": "x", "dimension": -5}, "dimension"),
        ({"name": "x", "dimension": 16001}, "dimension"),
        ({"name": "x", "dimension": 10**30}, "dimension"),
        ({"name": "x", "dimension": 3.5}, "dimension"),
        ({"name": "x", "dimension": 3, "metric": "manhattan"}, "metric"),
        ({"name": "x", "dimension": 3, "colour": "red"}, "colour"),
        ({"name": "x", "dimension": 3, "index": {"m": 1}}, "index.m"),
        ({"name": "x", "dimension": 3, "index": {"m": 10**20}}, "index.m"),
        ({"name": "x", "dimension": 3, "index": {"ef_construction": 5}}, "index.ef_construction"),
        ({"name": "x", "dimension": 3, "index": {"type": "tree"}}, "index.type"),
        ({"name": "x", "dimension": 3, "index": {"lists": 5}}, "index.lists"),
        ({"name": "x", "dimension": 5000, "index": {"type": "hnsw"}}, "index.precision"),
        ({"name": "x", "dimension": 3, "index": {"precision": "half"}}, "index.precision"),
        ({"name": "x", "dimension": 2001, "index": {"precision": "vector"}}, "index.precision"),
        (
            {"name": "x", "dimension": 4001, "index": {"type": "hnsw", "precision": "halfvec"}},
            "index.precision",
        ),
    ],
)
def test_bad_collections(client, body, field):
    check_problem(client.post("collections", body), 422, field)
    assert client.get("collections/x").status == 404


def test_unknown_things(client, collection):
    name = collection(3)
    check_problem(client.post("collections/nope/query", {"vector": [1, 2, 3]}), 404)
    check_problem(client.post("collections/nope/points", {"points": [GOOD]}), 404)
    check_problem(client.get("collections/no%20pe"), 404)
    check_problem(client.get("collections/no\0pe"), 404)
    check_problem(client.get("collections/col_00000000000000000000000000"), 404)
    check_problem(client.post(f"collections/{name}/query", {"id": "nobody"}), 404)
    check_problem(client.get("jobs/job_x"), 404)
    check_problem(client.delete("api-keys/key_x"), 404)
    check_problem(client.post(f"collections/{name}/explode"), 404)
    check_problem(client.get("a/b/c/d/e"), 404)
    answer = client.get(f"collections/{name}/query")
    check_problem(answer, 405)
    assert answer.headers["allow"] == "POST"
    check_problem(client.get("/elsewhere"), 404)
    check_problem(client.get("collections?limit=0"), 422, "limit")
    check_problem(client.get("collections?limt=5"), 422, "limt")
    check_problem(client.get("collections?cursor=%21"), 422, "cursor")
    check_problem(client.post(f"collections/{name}/scroll", {"cursor": "bm90"}), 422, "cursor")
    check_problem(client.post(f"collections/{name}/scroll", {"limit": 1001}), 422, "limit")
    check_problem(client.post(f"collections/{name}/delete", {}), 422, "ids")
    check_problem(client.post(f"collections/{name}/delete", {"ids": ["a"], "all": True}), 422, "ids")
    check_problem(client.post(f"collections/{name}/index", {"type": "flat"}), 422, "type")


def test_limits_on_bodies(client, collection, settings):
    name = collection(3)
    check_problem(client.post(f"collections/{name}/points", raw=b" " * (4 * 2**20 + 1)), 413)
    check_problem(
        client.post(f"collections/{name}/points", raw=b" " * (4 * 2**20 + 1), headers={"Content-Length": ""}),
        413,
    )
    check_problem(
        client.post(f"collections/{name}/points", raw=b"{}", headers={"Content-Type": "text/csv"}), 415
    )
    settings.VECTORS = settings.VECTORS | {"max_batch_points": 2}
    check_problem(client.post(f"collections/{name}/points", {"points": [GOOD] * 3}), 422, "points")
    check_problem(client.post(f"collections/{name}/fetch", {"ids": ["a"] * 3}), 422, "ids")


def test_upstream_calls_refuse_the_same(client):
    client.delete("collections/default")
    check_problem(client.post("", {"embedding": []}), 422)
    check_problem(client.post("", {"embedding": [0, 0]}), 422, "embedding")
    client.post("", {"embedding": [1, 2]})
    check_problem(client.post("", {"embedding": [1, 2, 3]}), 422, "embedding")
    check_problem(client.post("", {"embedding": [1, 2], "metadata": [1]}), 422, "metadata")
    check_problem(client.post("search", {"query_vector": [1]}), 422, "query_vector")
    check_problem(client.post("search", {"query_vector": [1, 2], "limit": 0}), 422, "limit")
    check_problem(client.get("x\0y"), 422)
    client.delete("collections/default")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    *("points", "ids", "vectors_b64", "metadata", "contents", "namespace", "vector", "vector_b64", "id"),
    *(
        "top_k",
        "filter",
        "include",
        "exact",
        "score_threshold",
        "all",
        "limit",
        "cursor",
        "name",
        "dimension",
    ),
    *("m", "type", "ef_construction", "embedding", "query_vector", "threshold"),
)
PATHS = ("points", "query", "fetch", "delete", "count", "scroll")


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(path=st.sampled_from(PATHS), body=JSON | st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
def test_whatever_is_sent_no_5xx(client, fuzzed, path, body):
    import json

    raw = json.dumps(body, ensure_ascii=True).encode()
    answer = client.post(f"collections/{fuzzed}/{path}", raw=raw)
    assert answer.status < 500, (raw, answer)


@pytest.fixture
def fuzzed(collection):
    return collection(3)
