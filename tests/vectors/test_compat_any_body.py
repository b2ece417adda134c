"""Whatever is sent, the dialects answer in their own shape and never with a 5xx."""

from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vectors.compat import pinecone_data, qdrant_points
from vectors.compat.dialects import ONE, REST

NAME = "any-body"
NAMES = (
    *("id", "ids", "vector", "vectors", "values", "metadata", "namespace", "filter", "topK", "deleteAll"),
    *(
        "setMetadata",
        "includeValues",
        "limit",
        "paginationToken",
        "spec",
        "schema",
        "fields",
        "tags",
        "points",
    ),
    *("batch", "payload", "payloads", "query", "nearest", "offset", "with_payload", "with_vector", "params"),
    *(
        "must",
        "should",
        "must_not",
        "key",
        "match",
        "value",
        "any",
        "except",
        "range",
        "gt",
        "has_id",
        "nested",
    ),
    *("is_empty", "is_null", "keys", "operations", "upsert", "delete", "searches", "field_name", "size"),
    *("field_schema", "distance", "hnsw_config", "m", "serverless", "deployment", "_values", "dimension", ""),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["", "a", "a.b[].c", "\0", "$", "Cosine", "cosine", "\ud7ff", "[]", '"', "2024-01-01", NAME]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=12,
)
# Bodies that get as far as the database.
plausible = st.one_of(
    st.builds(lambda v, f: {"vector": [1, 2], "topK": 3, "filter": f, "includeMetadata": v}, values, values),
    st.builds(
        lambda i, m: {"vectors": [{"id": "x", "values": [1, 2], "metadata": m}], "namespace": i},
        values,
        values,
    ),
    st.builds(lambda f, o: {"query": [1, 2], "filter": f, "offset": o}, values, values),
    st.builds(lambda c: {"filter": {"must": [c]}}, values),
    st.builds(lambda c: {"filter": {"should": {"key": "a", "match": c}}}, values),
    st.builds(
        lambda c: {"filter": {"must_not": [{"key": "a", "range": c}, {"is_empty": {"key": "b"}}]}}, values
    ),
    st.builds(lambda p: {"points": [{"id": 1, "vector": [1, 2], "payload": p}]}, values),
    st.builds(lambda p, i: {"payload": p, "points": [i, 1]}, values, values),
    st.builds(lambda m: {"id": "x", "setMetadata": m, "values": [1, 2]}, values),
    values,
)
CALLS = [
    (f"/{dialect.name}", pattern.method, pattern.parts)
    for dialect in (pinecone_data.dialect, qdrant_points.dialect)
    for pattern in dialect.patterns
]


@pytest.fixture
def target(client):
    client.post("collections", {"name": NAME, "dimension": 2, "metric": "cosine"})
    yield client
    client.delete(f"collections/{NAME}")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(call=st.sampled_from(CALLS), body=plausible, part=st.sampled_from(["x", "1", "\x00", "%", "a/b", "é"]))
def test_any_body(target, call, body, part):
    root, method, parts = call
    of_collection = parts[:2] in (("indexes", ONE), ("collections", ONE))
    if of_collection and len(parts) == 2 and method == "DELETE":
        return
    path = "/".join(
        NAME if at == 1 and of_collection else (part if p in (ONE, REST) else p) for at, p in enumerate(parts)
    )
    answer = target.call(method, f"{root}/{path}", body)
    assert answer.status < 500, (method, path, body, answer)
    if answer.status >= 400:
        error = answer.json["error"]["message"] if root == "/pinecone" else answer.json["status"]["error"]
        assert error
    # What a body may have created.
    for made in ("a", "x", "cosine", "Cosine", "1", "é"):
        if method in ("PUT", "POST") and len(parts) <= 2:
            target.delete(f"collections/{made}")


@given(query=st.text(max_size=30))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_query_string(target, query):
    for path in ("vectors/list", "vectors/fetch", "namespaces"):
        for name in ("ids", "prefix", "paginationToken", "limit", "namespace"):
            answer = target.get(f"/pinecone/indexes/{NAME}/{path}?{name}={quote(query)}")
            assert answer.status < 500, (path, name, query, answer)
