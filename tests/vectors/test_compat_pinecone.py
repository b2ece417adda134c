"""Pinecone's API over raw HTTP: shapes that its clients rely on, and what is refused in words."""

import pytest

ROOT = "/pinecone"


class Index:
    """Calls to one index's data plane."""

    def __init__(self, client, name):
        self.client, self.name, self.path = client, name, f"{ROOT}/indexes/{name}"

    def post(self, path, body=None, status=200):
        answer = self.client.post(f"{self.path}/{path}", body)
        assert answer.status == status, answer
        return answer.json

    def get(self, path, status=200):
        answer = self.client.get(f"{self.path}/{path}")
        assert answer.status == status, answer
        return answer.json


@pytest.fixture
def index(client):
    """A function that makes an index; all are deleted at the end."""
    made = []

    def make(dimension=3, metric="cosine"):
        name = f"pc-{len(made)}-{metric}"
        body = {"name": name, "dimension": dimension, "metric": metric, "spec": {"serverless": {}}}
        answer = client.post(f"{ROOT}/indexes", body)
        assert answer.status == 201, answer
        made.append(name)
        return Index(client, name)

    yield make
    for name in made:
        client.delete(f"{ROOT}/indexes/{name}")


@pytest.fixture
def filled(index):
    one = index(2, "euclidean")
    vectors = [
        {"id": f"{'ab'[at % 2]}-{at}", "values": [at, 0], "metadata": {"n": at, "even": at % 2 == 0}}
        for at in range(10)
    ]
    assert one.post("vectors/upsert", {"vectors": vectors}) == {"upsertedCount": 10}
    return one


OLD_BODY = {
    "name": "both",
    "dimension": 4,
    "metric": "dotproduct",
    "spec": {"serverless": {"cloud": "gcp", "region": "europe-west4"}},
    "vector_type": "dense",
    "deletion_protection": "disabled",
    "tags": {"team": "search"},
}
NEW_BODY = {
    "name": "both",
    "schema": {"fields": {"_values": {"type": "dense_vector", "dimension": 4, "metric": "dotproduct"}}},
    "deployment": {"deployment_type": "managed", "cloud": "gcp", "region": "europe-west4"},
    "tags": {"team": "search"},
}


@pytest.mark.parametrize("body", [OLD_BODY, NEW_BODY])
def test_both_versions_of_create_answer_the_union(client, body):
    made = client.post(f"{ROOT}/indexes", body)
    assert made.status == 201, made
    capacity = {"mode": "OnDemand", "status": {"state": "Ready"}}
    place = {"cloud": "gcp", "region": "europe-west4"}
    assert made.json == {
        "name": "both",
        "dimension": 4,
        "metric": "dotproduct",
        "vector_type": "dense",
        "host": "http://localhost/pinecone/indexes/both",
        "deletion_protection": "disabled",
        "status": {"ready": True, "state": "Ready"},
        "spec": {"serverless": place | {"read_capacity": capacity}},
        "schema": {"fields": {"_values": {"type": "dense_vector", "dimension": 4, "metric": "dotproduct"}}},
        "deployment": {"deployment_type": "managed"} | place,
        "read_capacity": capacity,
        "tags": {"team": "search"},
    }
    assert client.get(f"{ROOT}/indexes/both").json == made.json
    assert made.json in client.get(f"{ROOT}/indexes").json["indexes"]
    again = client.post(f"{ROOT}/indexes", body)
    assert again.status == 409
    assert again.json["error"]["code"] == "ALREADY_EXISTS"
    assert client.get("collections/both").json["metric"] == "ip"
    assert client.delete(f"{ROOT}/indexes/both").status == 202
    gone = client.get(f"{ROOT}/indexes/both")
    assert gone.status == 404
    assert gone.json["error"]["code"] == "NOT_FOUND"
    assert gone.json["status"] == 404


def test_configure_protects_and_tags(client, index):
    one = index()
    body = {"deletion_protection": "enabled", "tags": {"a": "1", "b": "2"}}
    changed = client.patch(one.path, body).json
    assert changed["deletion_protection"] == "enabled"
    assert changed["tags"] == {"a": "1", "b": "2"}
    refused = client.delete(one.path)
    assert refused.status == 403
    assert "Deletion protection" in refused.json["error"]["message"]
    changed = client.patch(one.path, {"deletion_protection": "disabled", "tags": {"a": ""}}).json
    assert changed["tags"] == {"b": "2"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"name": "x", "dimension": 2, "spec": {"pod": {"environment": "e"}}}, "no pods"),
        ({"name": "x", "vector_type": "sparse", "spec": {"serverless": {}}}, "dense vectors"),
        ({"name": "x", "schema": {"fields": {"_sparse_values": {"type": "sparse_vector"}}}}, "dense vectors"),
        ({"name": "x", "schema": {"fields": {"title": {"type": "string"}}}}, "_values alone"),
        ({"name": "x", "spec": {"serverless": {}}}, "dimension"),
        ({"name": "x", "dimension": 2, "metric": "hamming"}, "cosine"),
        ({"dimension": 2}, "name"),
        ({"name": "x", "dimension": 2, "source_collection": "y"}, "made empty"),
        ({"name": "x", "dimension": 2, "spec": 5}, "object"),
    ],
)
def test_what_no_index_can_be_is_refused(client, body, says):
    answer = client.post(f"{ROOT}/indexes", body)
    assert answer.status == 400, answer
    assert says in answer.json["error"]["message"]


def test_scores_are_the_vendors(index):
    for metric, scores in (
        ("cosine", [1, 2**-0.5, 0]),
        ("euclidean", [0, 1, 2]),
        ("dotproduct", [1, 1, 0]),
    ):
        one = index(2, metric)
        vectors = [
            {"id": "a", "values": [1, 0]},
            {"id": "b", "values": [1, 1]},
            {"id": "c", "values": [0, 1]},
        ]
        one.post("vectors/upsert", {"vectors": vectors})
        found = one.post("query", {"vector": [1, 0], "topK": 3})
        assert [match["id"] for match in found["matches"]] == ["a", "b", "c"]
        assert [match["score"] for match in found["matches"]] == pytest.approx(scores, abs=1e-6)
        assert found["matches"][0]["values"] == []
        by_id = one.post("query", {"id": "a", "topK": 1, "includeValues": True})
        assert by_id["matches"] == [{"id": "a", "values": [1, 0], "score": pytest.approx(scores[0])}]
        assert one.post("query", {"id": "nobody", "topK": 1})["matches"] == []


def test_query_with_filter_and_metadata(filled):
    body = {"vector": [0, 0], "topK": 2, "filter": {"even": True, "n": {"$gt": 2}}, "includeMetadata": True}
    assert filled.post("query", body)["matches"] == [
        {"id": "a-4", "values": [], "score": 16.0, "metadata": {"n": 4, "even": True}},
        {"id": "a-6", "values": [], "score": 36.0, "metadata": {"n": 6, "even": True}},
    ]
    assert len(filled.post("query", {"vector": [0, 0], "topK": 20, "filter": {}})["matches"]) == 10
    wrong = filled.post("query", {"vector": [0, 0], "topK": 2, "filter": {"n": {"$regex": "x"}}}, 400)
    assert "$regex" in wrong["message"]
    assert wrong["code"] == 3


def test_list_by_prefix_with_pages(filled):
    seen, token = [], ""
    while True:
        page = filled.get(f"vectors/list?prefix=a-&limit=2{token}")
        seen += [item["id"] for item in page["vectors"]]
        if "pagination" not in page:
            break
        token = f"&paginationToken={page['pagination']['next']}"
    assert seen == ["a-0", "a-2", "a-4", "a-6", "a-8"]
    assert len(filled.get("vectors/list")["vectors"]) == 10
    filled.get("vectors/list?paginationToken=%21", 400)
    filled.get("vectors/list?limit=0", 400)


def test_fetch_by_ids_and_by_metadata(filled):
    found = filled.get("vectors/fetch?ids=a-0&ids=b-1&ids=zz")
    assert found["vectors"] == {
        "a-0": {"id": "a-0", "values": [0, 0], "metadata": {"n": 0, "even": True}},
        "b-1": {"id": "b-1", "values": [1, 0], "metadata": {"n": 1, "even": False}},
    }
    first = filled.post("vectors/fetch_by_metadata", {"filter": {"even": False}, "limit": 3})
    assert list(first["vectors"]) == ["b-1", "b-3", "b-5"]
    token = first["pagination"]["next"]
    rest = filled.post(
        "vectors/fetch_by_metadata", {"filter": {"even": False}, "limit": 3, "paginationToken": token}
    )
    assert list(rest["vectors"]) == ["b-7", "b-9"]
    assert "pagination" not in rest


def test_update_vector_and_metadata(filled):
    change = {"id": "a-0", "values": [5, 5], "setMetadata": {"new": "x", "n": None}}
    assert filled.post("vectors/update", change) == {"matchedRecords": 1}
    assert filled.get("vectors/fetch?ids=a-0")["vectors"]["a-0"] == {
        "id": "a-0",
        "values": [5, 5],
        "metadata": {"n": None, "even": True, "new": "x"},
    }
    assert filled.post("vectors/update", {"id": "zz", "values": [1, 1]}) == {"matchedRecords": 0}
    by_filter = {"filter": {"even": False}, "setMetadata": {"odd": True}}
    assert filled.post("vectors/update", by_filter | {"dryRun": True}) == {"matchedRecords": 5}
    assert filled.post("vectors/update", by_filter) == {"matchedRecords": 5}
    assert filled.post("describe_index_stats", {"filter": {"odd": True}})["totalVectorCount"] == 5
    # All of a call or nothing: the wrong vector keeps the metadata as it was.
    filled.post("vectors/update", {"id": "a-2", "values": [1], "setMetadata": {"x": 1}}, 400)
    assert "x" not in filled.get("vectors/fetch?ids=a-2")["vectors"]["a-2"]["metadata"]
    filled.post("vectors/update", {"setMetadata": {"x": 1}}, 400)
    filled.post("vectors/update", {"id": "a-2", "setMetadata": [1]}, 400)
    huge = b'{"id": "a-2", "setMetadata": {"n": 123456789012345678901234567890}}'
    assert filled.client.call("POST", f"{filled.path}/vectors/update", raw=huge).status == 200
    assert filled.post("describe_index_stats", {"filter": {"n": 123456789012345678901234567890}})


def test_delete_and_namespaces(filled):
    for space in ("x", "xy", "a/b"):
        filled.post("vectors/upsert", {"vectors": [{"id": "1", "values": [1, 1]}], "namespace": space})
    stats = filled.post("describe_index_stats", {})
    assert stats["namespaces"] == {
        "__default__": {"vectorCount": 10},
        "a/b": {"vectorCount": 1},
        "x": {"vectorCount": 1},
        "xy": {"vectorCount": 1},
    }
    assert stats["totalVectorCount"] == 13
    assert stats["dimension"] == 2
    page = filled.get("namespaces?limit=1")
    assert page["namespaces"] == [{"name": "__default__", "record_count": 10}]
    assert page["total_count"] == 4
    page = filled.get(f"namespaces?limit=1&paginationToken={page['pagination']['next']}")
    assert page["namespaces"] == [{"name": "a/b", "record_count": 1}]
    assert [item["name"] for item in filled.get("namespaces?prefix=x")["namespaces"]] == ["x", "xy"]
    assert filled.get("namespaces/a/b") == {"name": "a/b", "record_count": 1}
    assert filled.get("namespaces/__default__")["record_count"] == 10
    assert filled.client.delete(f"{filled.path}/namespaces/a%2Fb".replace("%2F", "/")).json == {}
    filled.get("namespaces/a/b", 404)
    filled.post("vectors/delete", {"ids": ["a-0", "zz"], "namespace": "__default__"})
    filled.post("vectors/delete", {"filter": {"even": False}})
    assert filled.post("describe_index_stats", {})["namespaces"]["__default__"] == {"vectorCount": 4}
    filled.post("vectors/delete", {"deleteAll": True, "namespace": "x"})
    assert "x" not in filled.post("describe_index_stats", {})["namespaces"]
    filled.post("vectors/delete", {}, 400)
    assert "first vector" in filled.post("namespaces", {"name": "new"}, 400)["message"]


def test_errors_name_the_clients_fields(index):
    one = index(2)
    vectors = [{"id": "a", "values": [1, 2]}, {"id": "b", "values": [1, 2, 3]}]
    wrong = one.post("vectors/upsert", {"vectors": vectors}, 400)
    assert "vectors[1].values" in wrong["message"]
    sparse = {"id": "a", "values": [1, 2], "sparseValues": {"indices": [1], "values": [1]}}
    assert "Sparse" in one.post("vectors/upsert", {"vectors": [sparse]}, 400)["error"]["message"]
    assert "unknown" in one.post("query", {"vector": [1, 2], "topK": 1, "unknown": 1}, 400)["message"]
    one.post("query", {"vector": [1, 2], "topK": 100_000}, 400)
    one.post("query", {"topK": 1}, 400)
    assert one.client.post(f"{ROOT}/indexes/nope/query", {"vector": [1], "topK": 1}).status == 404
    assert one.client.call("PUT", f"{one.path}/query", {}).headers["allow"] == "POST"
    assert one.client.get(f"{ROOT}/elsewhere").status == 404
    assert one.client.call("POST", f"{one.path}/query", raw=b"{").status == 400


def test_who_may(client, index):
    one = index()
    nobody = client.as_role(None)
    refused = nobody.get(f"{ROOT}/indexes")
    assert refused.status == 401
    assert refused.json["error"]["code"] == "UNAUTHENTICATED"
    viewer = client.as_role("viewer")
    assert viewer.get(one.path).status == 200
    assert viewer.post(f"{one.path}/query", {"vector": [1, 0, 0], "topK": 1}).status == 200
    assert viewer.post(f"{one.path}/vectors/upsert", {"vectors": []}).status == 403
    assert viewer.delete(one.path).status == 403
    key = client.post("api-keys", {"name": "sdk", "role": "operator"}).json["key"]
    assert nobody.get(f"{ROOT}/indexes", headers={"Api-Key": key}).status == 200


def test_below_the_api_and_behind_a_proxy(client, index):
    one = index()
    below = client.get(f"pinecone/indexes/{one.name}")
    assert below.json["host"] == f"http://localhost/api/v1/vectors/pinecone/indexes/{one.name}"
    assert client.post(f"pinecone/indexes/{one.name}/query", {"vector": [1, 0, 0], "topK": 1}).status == 200
    forwarded = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "db.example",
        "X-Forwarded-Prefix": "/api/v1/targets/t/vectors",
    }
    seen = client.get(one.path, headers=forwarded).json["host"]
    assert seen == f"https://db.example/api/v1/targets/t/vectors/pinecone/indexes/{one.name}"


def test_requests_are_counted(client, index):
    client.get(f"{index().path}")
    text = client.get("/metrics").body.decode()
    assert 'aindusdb_api_requests_total{route="pinecone",status="2xx"}' in text
