"""Random sequences of calls give the model's answers."""

import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vectors.model import Model

IDS = st.sampled_from(["a", "b", "c", "B", "é", "日", "z/1", "10", "9", " "])
NAMESPACES = st.sampled_from(["", "x", "é"])
NUMBERS = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 3.0])
VECTORS = st.lists(NUMBERS, min_size=3, max_size=3).filter(any)
METADATA = st.fixed_dictionaries({}, optional={"n": st.integers(0, 3), "t": st.lists(st.sampled_from("pqr"))})
POINTS = st.fixed_dictionaries(
    {"id": IDS, "vector": VECTORS}, optional={"metadata": METADATA, "content": st.sampled_from(["", "text"])}
)
FILTERS = st.none() | st.sampled_from(
    [{"n": 1}, {"n": {"$gte": 2}}, {"t": "p"}, {"t": {"$nin": ["q", "r"]}}, {"$or": [{"n": 0}, {"t": "r"}]}]
)
STEPS = st.one_of(
    st.tuples(st.just("upsert"), NAMESPACES, st.lists(POINTS, max_size=6)),
    st.tuples(st.just("delete_ids"), NAMESPACES, st.lists(IDS, max_size=3)),
    st.tuples(st.just("delete_filter"), NAMESPACES, FILTERS.filter(bool)),
    st.tuples(st.just("query"), NAMESPACES, st.tuples(VECTORS, st.integers(1, 8), FILTERS, st.booleans())),
    st.tuples(st.just("count"), st.none() | NAMESPACES, FILTERS),
    st.tuples(st.just("scroll"), st.none() | NAMESPACES, st.tuples(st.integers(1, 4), FILTERS)),
    st.tuples(st.just("index"), st.none(), st.none()),
    st.tuples(st.just("truncate"), st.none(), st.none()),
)
WEIGHTED = st.lists(STEPS, min_size=3, max_size=14)


def check_query(answer, model, namespace, vector, top_k, filter):
    keys = model.select(namespace, filter)
    expected = model.scores(vector, keys)
    nearest = sorted(expected.values(), reverse=model.metric != "l2")[:top_k]
    got = answer["matches"]
    assert len(got) == min(top_k, len(keys)), (answer, expected)
    assert [match["score"] for match in got] == pytest.approx(nearest, abs=1e-5)
    for match in got:
        assert match["score"] == pytest.approx(expected[match["id"]], abs=1e-5)
    assert len({match["id"] for match in got}) == len(got)
    assert answer["exhausted"] is (len(got) < top_k)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
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
                answer = client.post(f"{path}/points", {"points": what, **scope})
                assert answer.json["upserted"] == len({point["id"] for point in what}), answer
                model.upsert(namespace, what)
            elif step == "delete_ids":
                answer = client.post(f"{path}/delete", {"ids": what, **scope})
                assert answer.json["deleted"] == model.delete({(namespace, point_id) for point_id in what})
            elif step == "delete_filter":
                answer = client.post(f"{path}/delete", {"filter": what, **scope})
                assert answer.json["deleted"] == model.delete(model.select(namespace, what))
            elif step == "query":
                vector, top_k, filter, exact = what
                body = {"vector": vector, "top_k": top_k, "filter": filter, "exact": exact, **scope}
                answer = client.post(f"{path}/query", body)
                check_query(answer.json, model, namespace, vector, top_k, filter)
            elif step == "count":
                answer = client.post(f"{path}/count", {"filter": what, **scope})
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
                assert client.post(f"{path}/index").status == 202
                runner()
                assert client.get(f"{path}/index").json["state"] == "ready"
            elif step == "truncate":
                assert client.post(f"{path}/delete", {"all": True}).json["deleted"] == len(model.points)
                model.points.clear()
        stored = client.post(f"{path}/scroll", {"include": ["vector", "content", "metadata"]}).json["points"]
        assert {
            (point["namespace"], point["id"]): (point["vector"], point["content"], point["metadata"])
            for point in stored
        } == {key: (list(value[0]), value[1], value[2]) for key, value in model.points.items()}
    finally:
        client.delete(path)
