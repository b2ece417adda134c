"""Qdrant's REST API over raw HTTP: shapes its client relies on, filters, and what is refused in words."""

import uuid

import pytest

ROOT = "/qdrant"
UUID = "550e8400-e29b-41d4-a716-446655440000"


class Collection:
    """Calls to one collection."""

    def __init__(self, client, name):
        self.client, self.name, self.path = client, name, f"{ROOT}/collections/{name}"

    def call(self, method, path, body=None, status=200):
        answer = self.client.call(method, f"{self.path}{path}", body)
        assert answer.status == status, answer
        if status >= 400:
            return answer.json["status"]["error"]
        assert answer.json["status"] == "ok"
        assert answer.json["time"] >= 0
        return answer.json["result"]

    def post(self, path, body=None, status=200):
        return self.call("POST", path, body, status)

    def put(self, path, body=None, status=200):
        return self.call("PUT", path, body, status)

    def ids(self, filter):
        """The ids that a filter selects, by scroll; count and delete go by the same clause."""
        found = [
            point["id"] for point in self.post("/points/scroll", {"filter": filter, "limit": 100})["points"]
        ]
        assert self.post("/points/count", {"filter": filter}) == {"count": len(found)}
        return found


@pytest.fixture
def collection(client):
    """A function that makes a collection; all are deleted at the end."""
    made = []

    def make(size=2, distance="Euclid", **more):
        one = Collection(client, f"qd-{len(made)}-{distance}")
        assert one.put("", {"vectors": {"size": size, "distance": distance}, **more}) is True
        made.append(one)
        return one

    yield make
    for one in made:
        one.call("DELETE", "")


PAYLOADS = {
    1: {"city": "Berlin", "n": 1, "tags": ["a", "b"], "at": "2024-01-01T00:00:00Z"},
    2: {"city": "London", "n": 2, "tags": ["b"], "at": "2024-01-01T02:00:00+01:00"},
    3: {"city": "Paris", "n": 3.5, "tags": [], "flag": True, "at": "2024-06-01"},
    4: {"city": None, "n": "4", "list": [{"a": 1, "b": 2}, {"a": 2, "b": 1}]},
    5: {"n": 5, "list": [{"a": 1, "b": 1}], "deep": {"x": {"y": "z"}}, "dotted.key": 7},
}


@pytest.fixture
def filled(collection):
    one = collection()
    points = [{"id": at, "vector": [at, 0], "payload": payload} for at, payload in PAYLOADS.items()]
    points.append({"id": UUID, "vector": [9, 0]})
    assert one.put("/points?wait=true", {"points": points}) == {"operation_id": 0, "status": "completed"}
    return one


def test_version_is_told_at_the_root(client):
    for path in (ROOT, f"{ROOT}/"):
        assert client.get(path).json["version"].startswith("1.")
    assert client.as_role(None).get(ROOT).json["status"]["error"]


def test_collection_life(client, collection):
    one = collection(4, "Dot", hnsw_config={"m": 8, "ef_construct": 40}, metadata={"made": "here"})
    found = one.call("GET", "")
    assert found["status"] == "green"
    assert found["points_count"] == 0
    assert found["config"]["params"]["vectors"] == {"size": 4, "distance": "Dot"}
    assert found["config"]["hnsw_config"]["m"] == 8
    assert found["config"]["metadata"] == {"made": "here"}
    assert found["payload_schema"] == {}
    assert {"name": one.name} in client.get(f"{ROOT}/collections").json["result"]["collections"]
    assert one.call("GET", "/exists") == {"exists": True}
    assert one.call("PATCH", "", {"hnsw_config": {"m": 12}, "metadata": {"more": 1}}) is True
    assert one.call("GET", "")["config"]["hnsw_config"]["m"] == 12
    assert one.call("GET", "")["config"]["metadata"] == {"made": "here", "more": 1}
    assert "exists already" in one.put("", {"vectors": {"size": 4, "distance": "Dot"}}, 409)
    one.put("/index", {"field_name": "city", "field_schema": "keyword"})
    one.put("/index", {"field_name": "n", "field_schema": {"type": "integer", "range": True}})
    assert one.call("GET", "")["payload_schema"]["n"] == {"data_type": "integer", "points": 0}
    one.call("DELETE", "/index/n")
    assert list(one.call("GET", "")["payload_schema"]) == ["city"]
    assert "'text'" in one.put("/index", {"field_name": "x", "field_schema": "text"}, 400)
    assert one.call("DELETE", "") is True
    assert one.call("DELETE", "") is False
    assert one.call("GET", "/exists") == {"exists": False}
    assert "Not found" in one.call("GET", "", status=404)


@pytest.mark.parametrize(
    "body",
    [
        {"vectors": {"image": {"size": 4, "distance": "Dot"}}},
        {"vectors": {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}},
        {"vectors": {"size": 4, "distance": "Manhattan"}},
        {"vectors": {"size": 4, "distance": "Dot"}, "sparse_vectors": {"text": {}}},
        {"vectors": {"size": 4, "distance": "Dot"}, "sharding_method": "custom"},
        {"vectors": {"distance": "Dot"}},
        {},
    ],
)
def test_what_no_collection_can_be_is_refused(client, body):
    answer = client.call("PUT", f"{ROOT}/collections/never", body)
    assert answer.status == 400, answer
    assert answer.json["status"]["error"].startswith("Wrong input: ")


@pytest.mark.parametrize(
    ("distance", "scores", "threshold", "kept"),
    [("Cosine", [1, 2**-0.5, 0], 0.5, 2), ("Euclid", [0, 1, 2**0.5], 1, 2), ("Dot", [1, 1, 0], 1, 2)],
)
def test_scores_are_the_vendors(collection, distance, scores, threshold, kept):
    one = collection(2, distance)
    vectors = {1: [1, 0], 2: [1, 1], 3: [0, 1]}
    one.put("/points", {"points": [{"id": at, "vector": vector} for at, vector in vectors.items()]})
    found = one.post("/points/query", {"query": [1, 0], "limit": 3})["points"]
    assert [point["id"] for point in found] == [1, 2, 3]
    assert [point["score"] for point in found] == pytest.approx(scores, abs=1e-6)
    assert set(found[0]) == {"id", "version", "score"}
    near = one.post("/points/query", {"query": [1, 0], "score_threshold": threshold})["points"]
    assert len(near) == kept
    second = one.post("/points/query", {"query": {"nearest": [1, 0]}, "limit": 1, "offset": 1})["points"]
    assert second == found[1:2]


def test_ids_come_back_in_their_type(collection):
    one = collection()
    given = [0, 7, 2**64 - 1, UUID, uuid.uuid4().hex]
    one.put("/points", {"batch": {"ids": given, "vectors": [[at, 1] for at in range(5)]}})
    wanted = {0, 7, 2**64 - 1, UUID, str(uuid.UUID(given[4]))}
    assert set(one.ids(None)) == wanted
    assert {point["id"] for point in one.post("/points", {"ids": given})} == wanted
    assert one.call("GET", f"/points/{UUID}")["id"] == UUID
    assert one.call("GET", "/points/7")["vector"] == [1, 1]
    assert "does not exist" in one.call("GET", "/points/8", status=404)
    for wrong in ("seven", -1, 2**64, "7"):
        assert "no point id" in one.put("/points", {"points": [{"id": wrong, "vector": [1, 1]}]}, 400)


def test_scroll_goes_through_all_from_the_offset(filled):
    seen, offset = [], None
    while True:
        page = filled.post("/points/scroll", {"limit": 2, "offset": offset, "with_payload": False})
        assert all("payload" not in point for point in page["points"])
        seen += [point["id"] for point in page["points"]]
        offset = page["next_page_offset"]
        if offset is None:
            break
    assert sorted(seen, key=str) == seen
    assert set(seen) == {1, 2, 3, 4, 5, UUID}


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ({"key": "city", "match": {"value": "Berlin"}}, {1}),
        ({"key": "n", "match": {"value": 5}}, {5}),
        ({"key": "flag", "match": {"value": True}}, {3}),
        ({"key": "tags", "match": {"value": "b"}}, {1, 2}),
        ({"key": "city", "match": {"any": ["Berlin", "Paris"]}}, {1, 3}),
        ({"key": "city", "match": {"any": []}}, set()),
        ({"key": "city", "match": {"except": ["Berlin", "Paris"]}}, {2}),
        ({"key": "tags", "match": {"except": ["b"]}}, {1}),
        ({"key": "n", "match": {"except": [1, 2]}}, {3, 4, 5}),
        ({"key": "n", "range": {"gt": 1, "lte": 3.5}}, {2, 3}),
        ({"key": "n", "range": {"gte": 5, "lt": None}}, {5}),
        ({"key": "at", "range": {"lte": "2024-01-01T01:00:00Z"}}, {1, 2}),
        ({"key": "at", "range": {"gt": "2024-01-01T00:30:00+00:00"}}, {2, 3}),
        ({"is_empty": {"key": "tags"}}, {3, 4, 5, UUID}),
        ({"is_empty": {"key": "city"}}, {4, 5, UUID}),
        ({"key": "city", "is_empty": False}, {1, 2, 3}),
        ({"is_null": {"key": "city"}}, {4}),
        ({"key": "city", "is_null": True}, {4}),
        ({"key": "deep.x.y", "match": {"value": "z"}}, {5}),
        ({"key": '"dotted.key"', "match": {"value": 7}}, {5}),
        ({"key": "list[].a", "match": {"value": 2}}, {4}),
        ({"key": "list[0].a", "match": {"value": 1}}, {4, 5}),
        ({"key": "list[1].a", "match": {"value": 1}}, set()),
        (
            {
                "nested": {
                    "key": "list",
                    "filter": {
                        "must": [{"key": "a", "match": {"value": 1}}, {"key": "b", "match": {"value": 1}}]
                    },
                }
            },
            {5},
        ),
        ({"nested": {"key": "list[]", "filter": {"must_not": [{"key": "a", "match": {"value": 1}}]}}}, {4}),
        ({"has_id": [1, 2, UUID, 99]}, {1, 2, UUID}),
        ({"has_id": []}, set()),
        ({"should": [{"key": "n", "match": {"value": 1}}, {"has_id": [3]}]}, {1, 3}),
        ({"must_not": [{"key": "n", "range": {"gt": 0}}, {"has_id": [UUID]}]}, {4}),
        (
            {"must_not": [{"must": [{"key": "n", "match": {"value": 1}}, {"has_id": [1]}]}]},
            {2, 3, 4, 5, UUID},
        ),
        ({"must": {"has_id": [1, 2, 3]}, "must_not": {"key": "city", "match": {"value": "Berlin"}}}, {2, 3}),
        ({"must": [], "should": [], "must_not": []}, {1, 2, 3, 4, 5, UUID}),
    ],
)
def test_filters(filled, condition, wanted):
    assert set(filled.ids({"must": [condition]})) == wanted
    assert set(filled.ids({"must_not": [condition]})) == {1, 2, 3, 4, 5, UUID} - wanted
    found = filled.post("/points/query", {"query": [0, 0], "filter": {"should": condition}, "limit": 10})[
        "points"
    ]
    assert {point["id"] for point in found} == wanted
    both = {"must": [condition, {"has_id": [1, 3, 5, UUID]}]}
    assert set(filled.ids(both)) == wanted & {1, 3, 5, UUID}


@pytest.mark.parametrize(
    ("filter", "says"),
    [
        ({"must": [{"key": "a", "match": {"text": "x"}}]}, "match.text"),
        ({"must": [{"key": "a", "geo_radius": {}}]}, "geo_radius"),
        ({"must": [{"key": "a", "values_count": {"gt": 1}}]}, "values_count"),
        ({"min_should": {"conditions": [], "min_count": 1}}, "min_should"),
        ({"must": [{"has_vector": ""}]}, "has_vector"),
        ({"must": [{"key": "a"}]}, "match or a range"),
        ({"must": [{"key": "a..b", "match": {"value": 1}}]}, "no key"),
        ({"must": [{"key": "a.", "match": {"value": 1}}]}, "no key"),
        ({"must": [{"key": "a", "match": {"value": [1]}}]}, "Values are"),
        ({"must": [{"key": "a", "range": {"gt": "yesterday"}}]}, "RFC 3339"),
        ({"must": [{"nested": {"key": "a", "filter": {"must": [{"has_id": [1]}]}}}]}, "outside of nested"),
        ({"must": [5]}, "object"),
        ("x", "object"),
    ],
)
def test_filters_that_cannot_be(filled, filter, says):
    assert says in filled.post("/points/scroll", {"filter": filter}, 400)


def test_query_by_id_leaves_the_point_out(filled):
    found = filled.post("/points/query", {"query": 1, "limit": 2, "with_payload": ["n"], "with_vector": True})
    assert found["points"] == [
        {"id": 2, "version": 0, "score": 1.0, "payload": {"n": 2}, "vector": [2, 0]},
        {"id": 3, "version": 0, "score": 2.0, "payload": {"n": 3.5}, "vector": [3, 0]},
    ]
    assert "no point" in filled.post("/points/query", {"query": 99}, 404)
    batch = filled.post(
        "/points/query/batch", {"searches": [{"query": 1, "limit": 1}, {"query": [5, 0], "limit": 1}]}
    )
    assert [answer["points"][0]["id"] for answer in batch] == [2, 5]
    by_id = filled.post("/points/query", {"limit": 2, "offset": 1})
    assert [point["id"] for point in by_id["points"]] == [2, 3]


def test_payload_selectors(filled):
    def payload(selector):
        return filled.post("/points", {"ids": [5], "with_payload": selector})[0].get("payload")

    assert payload(True) == PAYLOADS[5]
    assert payload(None) == PAYLOADS[5]
    assert payload(False) is None
    assert payload({"include": ["n", "deep.x"]}) == {"n": 5, "deep": {"x": {"y": "z"}}}
    assert payload({"exclude": ["list", "deep.x.y", "dotted.key.z"]}) == {
        "n": 5,
        "deep": {"x": {}},
        "dotted.key": 7,
    }
    filled.post("/points", {"ids": [5], "with_payload": 7}, 400)


def test_payload_changes(filled):
    def payload(point_id):
        return filled.post("/points", {"ids": [point_id]})[0]["payload"]

    filled.post("/points/payload", {"payload": {"new": 1, "n": 10}, "points": [1, 99]})
    assert payload(1) == PAYLOADS[1] | {"new": 1, "n": 10}
    filled.post("/points/payload", {"payload": {"seen": True}, "filter": {"must": {"has_id": [2, UUID]}}})
    assert payload(2)["seen"] is True
    assert payload(UUID) == {"seen": True}
    filled.put("/points/payload", {"payload": {"only": 1}, "points": [2]})
    assert payload(2) == {"only": 1}
    filled.post("/points/payload/delete", {"keys": ["deep.x", "n", "none"], "points": [5]})
    assert payload(5) == {"list": [{"a": 1, "b": 1}], "deep": {}, "dotted.key": 7}
    filled.post("/points/payload/clear", {"points": [5]})
    assert payload(5) == {}
    filled.post("/points/payload", {"payload": {"x": "\0"}, "points": [1]}, 400)
    filled.post("/points/payload", {"payload": {"x": 1}}, 400)
    assert "below a key" in filled.post("/points/payload", {"payload": {}, "points": [1], "key": "a"}, 400)


def test_vectors_change_and_points_go(filled):
    filled.put(
        "/points/vectors", {"points": [{"id": 1, "vector": [50, 0]}, {"id": UUID, "vector": {"": [60, 0]}}]}
    )
    assert filled.call("GET", "/points/1")["vector"] == [50, 0]
    # One that is not there: none is changed.
    both = {"points": [{"id": 1, "vector": [1, 1]}, {"id": 99, "vector": [1, 1]}]}
    assert "99" in filled.put("/points/vectors", both, 404)
    assert filled.call("GET", "/points/1")["vector"] == [50, 0]
    filled.post("/points/delete", {"points": [1, 99]})
    filled.post("/points/delete", {"filter": {"must": [{"key": "n", "range": {"gt": 2}}]}})
    assert set(filled.ids(None)) == {2, 4, UUID}
    results = filled.post(
        "/points/batch",
        {
            "operations": [
                {"upsert": {"points": [{"id": 8, "vector": [8, 0], "payload": {"a": 1, "b": 2}}]}},
                {"set_payload": {"payload": {"c": 3}, "points": [8]}},
                {"delete_payload": {"keys": ["a"], "points": [8]}},
                {"update_vectors": {"points": [{"id": 8, "vector": [9, 9]}]}},
                {"delete": {"points": [2]}},
            ]
        },
    )
    assert results == [{"operation_id": 0, "status": "completed"}] * 5
    assert filled.call("GET", "/points/8") == {"id": 8, "payload": {"b": 2, "c": 3}, "vector": [9, 9]}
    assert set(filled.ids(None)) == {4, 8, UUID}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"query": {"fusion": "rrf"}, "prefetch": [{"query": [1, 0]}]}, "stages"),
        ({"query": {"recommend": {"positive": [1]}}}, "recommend"),
        ({"query": {"indices": [1], "values": [1]}}, "indices"),
        ({"query": [[1, 0], [0, 1]]}, "multivectors"),
        ({"query": [1, 0], "using": "image"}, "Named"),
        ({"query": [1, 0, 0]}, "dimensions"),
        ({"query": ["a", 0]}, "numbers"),
        ({"query": True}, "vectors"),
        ({"query": [1, 0], "limit": 1_000_000}, "up to"),
        ({"query": [1, 0], "with_vector": ["image"]}, "Named"),
        ({"query": [1, 0], "unknown": 1}, "unknown"),
    ],
)
def test_queries_that_cannot_be(filled, body, says):
    assert says in filled.post("/points/query", body, 400)


def test_upserts_that_cannot_be(filled):
    def refused(point):
        return filled.put("/points", {"points": [point]}, 400)

    assert "Named" in refused({"id": 1, "vector": {"image": [1, 2]}})
    assert "points[0].vector" in refused({"id": 1, "vector": [1, 2, 3]})
    assert "points[0].payload" in refused({"id": 1, "vector": [1, 2], "payload": [1]})
    assert refused({"id": 1, "vector": {"": ["a", "b"]}})
    assert refused({"id": 1})
    refused_batch = {"batch": {"ids": [1, 2], "vectors": [[1, 2]]}}
    assert "as many" in filled.put("/points", refused_batch, 400)
    assert "Conditional" in filled.put(
        "/points", {"points": [], "update_filter": {"must": []}, "shard_key": None}, 400
    )


def test_who_may(client, filled):
    viewer, nobody = client.as_role("viewer"), client.as_role(None)
    assert viewer.post(f"{filled.path}/points/query", {"query": [1, 0]}).status == 200
    assert viewer.call("PUT", f"{filled.path}/points", {"points": []}).status == 403
    assert nobody.get(filled.path).status == 401
    assert client.get(f"qdrant/collections/{filled.name}").status == 200
    assert client.get(f"{ROOT}/cluster").status == 404
    assert client.call("PATCH", f"{filled.path}/points").status == 405
