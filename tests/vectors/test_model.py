"""Random sequences of calls give the model's answers."""

import json
import uuid
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vectors.conftest import b64
from tests.vectors.model import Model, exactly
from tests.vectors.test_filters import VALUES

IDS = st.sampled_from(["a", "b", "c", "B", "é", "日", "z/1", "10", "9", " "])
NAMESPACES = st.sampled_from(["", "x", "é"])
NUMBERS = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 3.0])
VECTORS = st.lists(NUMBERS, min_size=3, max_size=3).filter(any)
METADATA = st.fixed_dictionaries(
    {}, optional={"n": st.integers(0, 3), "t": st.lists(st.sampled_from("pqr")), "x": VALUES}
)
POINTS = st.fixed_dictionaries(
    {"id": IDS, "vector": VECTORS}, optional={"metadata": METADATA, "content": st.sampled_from(["", "text"])}
)
FILTERS = st.none() | st.sampled_from(
    [
        *({"n": 1}, {"n": {"$gte": 2}}, {"t": "p"}, {"t": {"$nin": ["q", "r"]}}),
        *({"$or": [{"n": 0}, {"t": "r"}]}, {"$not": {"n": 1, "t": {"$ne": "p"}}}, {"x": {"$exists": True}}),
        *({"x": None}, {"x.a": {"$gt": 0}}, {"n": {"$in": [0, 2]}, "$not": {"x": {"$exists": False}}}),
    ]
)
FORMS = st.sampled_from(["points", "base64", "block", "lines"])
QUERIES = st.fixed_dictionaries(
    {"vector": VECTORS, "top_k": st.integers(1, 4)},
    optional={"filter": FILTERS, "recall": st.sampled_from([0.95, 0.99, "exact"]), "exact": st.booleans()},
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "vector": VECTORS,
        "content": st.sampled_from([None, "", "other"]),
        "metadata": METADATA,
        "metadata_remove": st.lists(st.sampled_from("nt"), min_size=1, max_size=2),
    },
).filter(bool)
MODES = st.sampled_from(["merge", "replace"])
STEPS = st.one_of(
    st.tuples(st.just("upsert"), NAMESPACES, st.tuples(FORMS, st.lists(POINTS, max_size=6))),
    st.tuples(st.just("fetch"), NAMESPACES, st.lists(IDS, max_size=4)),
    st.tuples(st.just("threshold"), NAMESPACES, st.tuples(QUERIES, st.floats(-3, 3, width=32))),
    st.tuples(st.just("delete_ids"), NAMESPACES, st.lists(IDS, max_size=3)),
    st.tuples(st.just("delete_filter"), NAMESPACES, FILTERS.filter(bool)),
    st.tuples(st.just("query"), NAMESPACES, st.tuples(VECTORS, st.integers(1, 8), FILTERS, st.booleans())),
    st.tuples(st.just("queries"), NAMESPACES, st.lists(QUERIES, min_size=1, max_size=4)),
    st.tuples(st.just("pages"), NAMESPACES, QUERIES),
    st.tuples(st.just("groups"), NAMESPACES, st.tuples(QUERIES, st.integers(1, 3))),
    st.tuples(st.just("recommend"), NAMESPACES, st.tuples(IDS, st.none() | IDS, FILTERS)),
    st.tuples(st.just("update_ids"), NAMESPACES, st.tuples(st.lists(IDS, max_size=3), CHANGES, MODES)),
    st.tuples(st.just("update_filter"), NAMESPACES, st.tuples(FILTERS.filter(bool), CHANGES, MODES)),
    st.tuples(
        st.just("update_each"), NAMESPACES, st.tuples(st.lists(st.tuples(IDS, CHANGES), max_size=4), MODES)
    ),
    st.tuples(st.just("namespaces"), st.none(), st.integers(1, 3)),
    st.tuples(st.just("delete_namespace"), NAMESPACES, st.none()),
    st.tuples(st.just("count"), st.none() | NAMESPACES, FILTERS),
    st.tuples(st.just("scroll"), st.none() | NAMESPACES, st.tuples(st.integers(1, 4), FILTERS)),
    st.tuples(st.just("index"), st.none(), st.sampled_from(["vector", "halfvec"])),
    st.tuples(st.just("truncate"), st.none(), st.none()),
)
WEIGHTED = st.lists(STEPS, min_size=3, max_size=14)


def check_parts(match, model, namespace):
    """All parts of a match are those of its point."""
    vector, content, metadata = model.points[namespace, match["id"]]
    assert match["vector"] == list(vector)
    assert match["content"] == content
    assert exactly(match["metadata"]) == exactly(metadata)


def read(answer):
    """An answer's JSON by Python's own reader, which keeps integers of any size."""
    return json.loads(answer.body)


def upsert(client, path, namespace, form, given):
    """Write points in one of the forms that there are."""
    scope = {} if namespace is None else {"namespace": namespace}
    unique = len({point["id"] for point in given})
    if form == "lines":
        lines = b"".join(json.dumps(point | scope).encode() + b"\n" for point in given)
        headers = {"Content-Type": "application/x-ndjson"}
        answer = client.post(f"{path}/points?batch=2", raw=lines, headers=headers)
        summary = json.loads(answer.body.splitlines()[-1])["summary"]
        assert (summary["upserted"], summary["failed"]) == (len(given), 0), answer
        return
    if form == "points":
        body = {"points": given}
    elif form == "base64":
        body = {
            "points": [
                {key: value for key, value in point.items() if key != "vector"}
                | {"vector_b64": b64(point["vector"])}
                for point in given
            ]
        }
    else:
        body = {
            "ids": [point["id"] for point in given],
            "vectors_b64": b64([number for point in given for number in point["vector"]]),
            "contents": [point.get("content") for point in given],
            "metadata": [point.get("metadata", {}) for point in given],
        }
    answer = client.post(f"{path}/points", body | scope)
    assert answer.json["upserted"] == unique, answer


def check_threshold(client, path, model, namespace, query, threshold):
    """Of the nearest those that are near enough; a score beside the limit may fall on either side."""
    found = client.post(f"{path}/query", query | {"score_threshold": threshold}).json["matches"]
    keys = model.select(namespace, query.get("filter"))
    scores = model.scores(query["vector"], keys)
    sign = -1 if model.less_is_nearer else 1
    nearest = sorted(scores.values(), key=lambda score: -sign * score)[: query["top_k"]]
    near = [score for score in nearest if sign * (score - threshold) > -1e-5]
    surely = [score for score in nearest if sign * (score - threshold) > 1e-5]
    assert len(surely) <= len(found) <= len(near), (found, nearest)
    assert [match["score"] for match in found] == pytest.approx(near[: len(found)], abs=1e-5)


def check_query(answer, model, namespace, vector, top_k, filter):
    keys = model.select(namespace, filter)
    expected = model.scores(vector, keys)
    nearest = sorted(expected.values(), reverse=not model.less_is_nearer)[:top_k]
    got = answer["matches"]
    assert len(got) == min(top_k, len(keys)), (answer, expected)
    assert [match["score"] for match in got] == pytest.approx(nearest, abs=1e-5)
    for match in got:
        assert match["score"] == pytest.approx(expected[match["id"]], abs=1e-5)
    assert len({match["id"] for match in got}) == len(got)
    assert answer["exhausted"] is (len(got) < top_k)


def check_pages(client, path, model, namespace, query):
    """Page by page come all points selected, each once, in the order of their scores."""
    seen, cursor = [], None
    while True:
        answer = client.post(f"{path}/query", query | {"cursor": cursor}).json
        assert len(answer["matches"]) <= query["top_k"]
        seen += [(match["score"], match["id"]) for match in answer["matches"]]
        cursor = answer["next_cursor"]
        assert (cursor is None) is answer["exhausted"]
        if cursor is None:
            break
        assert len(answer["matches"]) == query["top_k"]
    keys = model.select(namespace, query.get("filter"))
    assert sorted(point_id for _, point_id in seen) == sorted(key[1] for key in keys)
    sign = 1 if model.less_is_nearer else -1
    ranks = [(sign * score, point_id.encode()) for score, point_id in seen]
    assert ranks == sorted(ranks)


def check_groups(client, path, model, namespace, query, size):
    asked = query | {"group_by": "n", "group_size": size, "include": ["vector", "content", "metadata"]}
    answer = read(client.post(f"{path}/query", asked))
    keys = model.select(namespace, query.get("filter"))
    every = model.groups(query["vector"], keys, "n", size)
    expected = every[: query["top_k"]]
    assert answer["exhausted"] is (len(every) < query["top_k"])
    assert len({group["value"] for group in answer["groups"]}) == len(answer["groups"]) == len(expected)
    best = [scores[0] for _, scores in expected]
    assert [group["matches"][0]["score"] for group in answer["groups"]] == pytest.approx(best, abs=1e-5)
    for group in answer["groups"]:
        scores = [match["score"] for match in group["matches"]]
        assert scores == pytest.approx(dict(every)[group["value"]], abs=1e-5)
        for match in group["matches"]:
            assert match["metadata"]["n"] == group["value"]
            check_parts(match, model, namespace)


def check_recommend(client, path, model, namespace, positive, negative, filter):
    body = {"positive": [positive], "negative": [negative] if negative else [], "filter": filter}
    answer = client.post(f"{path}/recommend", body | {"namespace": namespace, "top_k": 3})
    examples = [(namespace, point_id) for point_id in (positive, negative) if point_id]
    if not all(example in model.points for example in examples):
        assert answer.status == 404
        return
    vectors = [model.points[example][0].astype(float) for example in examples]
    if model.metric == "cosine":
        vectors = [vector / np.linalg.norm(vector) for vector in vectors]
    target = vectors[0] if len(vectors) == 1 else 2 * vectors[0] - vectors[1]
    keys = [key for key in model.select(namespace, filter) if key not in examples]
    nearest = sorted(model.scores(target, keys).values(), reverse=not model.less_is_nearer)[:3]
    assert [match["score"] for match in answer.json["matches"]] == pytest.approx(nearest, abs=1e-4)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip", "l1"])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=WEIGHTED)
def test_sequences(client, runner, metric, steps):
    name = f"m-{uuid.uuid4().hex[:10]}"
    path = f"collections/{name}"
    client.post("collections", {"name": name, "dimension": 3, "metric": metric, "auto_index": False})
    model = Model(3, metric)
    try:
        for step, namespace, what in steps:
            scope = {} if namespace is None else {"namespace": namespace}
            if step == "upsert":
                upsert(client, path, namespace, *what)
                model.upsert(namespace, what[1])
            elif step == "fetch":
                fetched = read(client.post(f"{path}/fetch", {"ids": what, **scope}))
                wanted = list(dict.fromkeys(what))
                there = [point_id for point_id in wanted if (namespace, point_id) in model.points]
                assert sorted(point["id"] for point in fetched["points"]) == sorted(there)
                assert sorted(fetched["missing"]) == sorted(set(wanted) - set(there))
                for point in fetched["points"]:
                    check_parts(point, model, namespace)
            elif step == "threshold":
                check_threshold(client, path, model, namespace, what[0] | scope, what[1])
            elif step == "delete_ids":
                answer = client.post(f"{path}/delete", {"ids": what, **scope})
                assert answer.json["deleted"] == model.delete({(namespace, point_id) for point_id in what})
            elif step == "delete_filter":
                answer = client.post(f"{path}/delete", {"filter": what, **scope})
                assert answer.json["deleted"] == model.delete(model.select(namespace, what))
            elif step == "query":
                vector, top_k, filter, exact = what
                body = {"vector": vector, "top_k": top_k, "filter": filter, "exact": exact, **scope}
                parts = {"include": ["vector", "content", "metadata"]}
                answer = read(client.post(f"{path}/query", body | parts))
                check_query(answer, model, namespace, vector, top_k, filter)
                for match in answer["matches"]:
                    check_parts(match, model, namespace)
            elif step == "queries":
                asked = [query | scope for query in what]
                answers = client.post(f"{path}/query", {"queries": asked}).json["answers"]
                assert len(answers) == len(asked)
                for query, answer in zip(asked, answers, strict=True):
                    check_query(
                        answer, model, namespace, query["vector"], query["top_k"], query.get("filter")
                    )
            elif step == "pages":
                check_pages(client, path, model, namespace, what | scope)
            elif step == "groups":
                check_groups(client, path, model, namespace, what[0] | scope, what[1])
            elif step == "recommend":
                check_recommend(client, path, model, namespace, *what)
            elif step in ("update_ids", "update_filter"):
                select, change, mode = what
                by = "ids" if step == "update_ids" else "filter"
                answer = client.post(f"{path}/update", {by: select, "metadata_mode": mode} | change | scope)
                keys = [(namespace, point_id) for point_id in dict.fromkeys(select)]
                done = model.update(keys if by == "ids" else model.select(namespace, select), change, mode)
                missing = [key[1] for key in keys if key not in done] if by == "ids" else []
                assert answer.json == {"updated": len(done), "missing": missing}, answer
            elif step == "update_each":
                changes, mode = what
                body = {"points": [{"id": point_id} | change for point_id, change in changes]}
                answer = client.post(f"{path}/update", body | {"metadata_mode": mode} | scope)
                done = set()
                for point_id, change in changes:
                    done.update(model.update([(namespace, point_id)], change, mode))
                assert answer.json["updated"] == len(done), answer
            elif step == "namespaces":
                listed, cursor = [], ""
                while cursor is not None:
                    page = client.get(f"{path}/namespaces?limit={what}&cursor={cursor}").json
                    listed += [(item["name"], item["points"]) for item in page["items"]]
                    cursor = page["next_cursor"]
                spaces = sorted({key[0] for key in model.points}, key=str.encode)
                assert listed == [(space, len(model.select(space))) for space in spaces]
            elif step == "delete_namespace":
                answer = client.delete(f"{path}/namespaces?name={quote(namespace)}")
                gone = model.delete(model.select(namespace))
                assert (answer.status, answer.json.get("deleted", 0)) == (200 if gone else 404, gone)
            elif step == "count":
                for more in ({}, {"estimated": True}):
                    answer = client.post(f"{path}/count", {"filter": what, **more, **scope})
                    assert answer.json["count"] == len(model.select(namespace, what))
            elif step == "scroll":
                limit, filter = what
                seen, cursor = [], None
                while True:
                    body = {"limit": limit, "filter": filter, "cursor": cursor, **scope}
                    page = client.post(f"{path}/scroll", body).json
                    assert len(page["points"]) <= limit
                    seen += [(point["namespace"], point["id"]) for point in page["points"]]
                    cursor = page["next_cursor"]
                    if cursor is None:
                        break
                assert seen == model.select(namespace, filter)
            elif step == "index":
                assert client.post(f"{path}/index", {"precision": what}).status == 202
                runner()
                assert client.get(f"{path}/index").json["state"] == "ready"
            elif step == "truncate":
                assert client.post(f"{path}/delete", {"all": True}).json["deleted"] == len(model.points)
                model.points.clear()
        everything = client.post(f"{path}/scroll", {"include": ["vector", "content", "metadata"]})
        stored = read(everything)["points"]
        assert {(point["namespace"], point["id"]) for point in stored} == set(model.points)
        for point in stored:
            check_parts(point, model, point["namespace"])
    finally:
        client.delete(path)
