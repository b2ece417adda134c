"""Every method of the Python client against a real replica, and through a real control plane."""

import datetime
import struct
import threading
import uuid

import numpy as np
import pytest

from aindusdb_client import (
    ApiError,
    Client,
    ConflictError,
    InvalidError,
    JobFailedError,
    NotFoundError,
    PermissionDeniedError,
    Point,
    Status,
    UnauthenticatedError,
)
from tests.clients.planes import TARGET
from tests.vectors.conftest import token

ROWS = np.random.default_rng(3).normal(size=(600, 4)).astype(np.float32)


def nearest(vector, rows, count):
    return [str(at) for at in np.argsort(np.linalg.norm(rows - vector, axis=1), kind="stable")[:count]]


def same(vector, row) -> bool:
    return np.array_equal(np.array(vector, dtype=np.float32), row)


@pytest.fixture
def filled(docs):
    """600 points with metadata, every second one with content."""
    docs.upsert_block(
        [str(at) for at in range(600)],
        ROWS,
        contents=[f"text {at}" if at % 2 else None for at in range(600)],
        metadata=[{"n": at, "kind": "ab"[at % 2]} for at in range(600)],
    )
    return docs


def test_collections(client, name):
    docs = client.collection_create(name, 4, metric="l2", index={"m": 8}, auto_index=False)
    assert docs.name == name
    with pytest.raises(ConflictError) as refused:
        client.collection_create(name, 4, metric="l2", index={"m": 8}, auto_index=False)
    assert refused.value.code == "exists" and refused.value.request_id
    about = docs.describe()
    assert (about.name, about.dimension, about.metric, about.points) == (name, 4, "l2", 0)
    assert about.index.options["m"] == 8 and about.index.state == "none" and not about.index.auto
    assert isinstance(about.created_at, datetime.datetime) and about.created_at.tzinfo
    assert name in [one.name for one in client.collections()]
    first = client.collections_page(limit=1)
    assert len(first.items) == 1
    assert docs.change(auto_index=True, index={"m": 12}).index.options["m"] == 12
    docs.upsert([("a", [1, 2, 3, 4]), Point("b", [1, 2, 3, 4], namespace="x")])
    stats = docs.stats()
    assert [(one.name, one.points) for one in stats.namespaces] == [("", 1), ("x", 1)]
    assert client.collection(about.id).describe().name == name
    docs.drop()
    with pytest.raises(NotFoundError) as gone:
        docs.describe()
    assert gone.value.code == "unknown_collection" and gone.value.retry_after is None


def test_aliases(client, docs, name):
    alias = f"{name}-live"
    made = client.alias_set(alias, name)
    try:
        assert (made.alias, made.collection) == (alias, name) and made.created_at <= made.updated_at
        assert client.alias(alias) == made and made in list(client.aliases())
        client.collection(alias).upsert([("a", [1, 2, 3, 4])])
        assert docs.count().count == 1 and docs.describe().aliases == [alias]
    finally:
        client.alias_delete(alias)
    with pytest.raises(NotFoundError):
        client.alias(alias)


def test_every_form_of_points(docs):
    vectors = {
        "list": [1.5, 2, 3, 4],
        "tuple": (1.5, 2, 3, 4),
        "float64": np.array([1.5, 2, 3, 4]),
        "float32": np.array([1.5, 2, 3, 4], dtype=np.float32),
        "big endian": np.array([1.5, 2, 3, 4], dtype=">f4"),
        "strided": np.array([1.5, 9, 2, 9, 3, 9, 4, 9], dtype=np.float32)[::2],
        "bytes": struct.pack("<4f", 1.5, 2, 3, 4),
    }
    done = docs.upsert(
        [
            *((name, vector) for name, vector in vectors.items()),
            ("with metadata", vectors["list"], {"ä": [1, None, {"b": True}]}),
            {"id": "mapping", "vector": vectors["list"], "content": "日本"},
            Point("point", vectors["list"], "text", {"a": 1}, namespace="x"),
        ]
    )
    assert done.upserted == len(vectors) + 3
    assert all(point.vector == [1.5, 2, 3, 4] for point in docs.fetch([*vectors, "mapping"]).points)
    assert docs.fetch(["mapping"]).points[0].content == "日本"
    assert docs.fetch(["with metadata"]).points[0].metadata == {"ä": [1, None, {"b": True}]}
    found = docs.fetch(["point", "mapping"], namespace="x", include=["content"])
    assert [(point.id, point.content, point.vector) for point in found.points] == [("point", "text", None)]
    assert found.missing == ["mapping"]
    for wrong in ([("a",)], [3], [{"id": "a", "vector": [1], "colour": "red"}], [{"id": "a"}]):
        with pytest.raises((TypeError, ValueError)):
            docs.upsert(wrong)
    with pytest.raises(ValueError, match="two axes"):
        docs.upsert_block(["a"], np.zeros(4))
    with pytest.raises(ValueError, match=r"shorter|longer"):
        docs.upsert_block(["a", "b"], np.zeros((1, 4)))


@pytest.mark.parametrize("parallel", [1, 4])
def test_batches_of_any_iterable(docs, parallel):
    seen: list[Status] = []
    points = ((f"{at:05}", ROWS[at % 600], {"text": "x" * 100}) for at in range(2300))
    done = docs.upsert(
        points, batch_points=500, batch_bytes=40_000, parallel=parallel, progress=seen.append, total=2300
    )
    assert done.upserted == docs.count().count == 2300
    assert [status.rows for status in seen] == sorted(status.rows for status in seen)
    assert seen[-1].ended and seen[-1].rows == seen[-1].rows_total == 2300 and seen[-1].share == 1.0
    # Batches by size: 40,000 bytes hold fewer than 500 of these.
    assert len(seen) > 2300 / 300
    assert docs.upsert([]).upserted == 0


def test_an_upsert_that_is_refused_tells_what_was_written(docs):
    points = [(str(at), [at, 0, 0, 0] if at != 250 else [1, 2]) for at in range(400)]
    with pytest.raises(InvalidError) as refused:
        docs.upsert(points, batch_points=100)
    assert refused.value.rows_done == docs.count().count == 250
    assert refused.value.errors[0].field.startswith("vectors_b64")
    assert "250 rows were written before." in refused.value.__notes__


def test_streams_of_lines(client, docs):
    results, statuses = [], []
    points = [Point(str(at), ROWS[at % 600], metadata={"n": at}) for at in range(3000)]
    points[7] = Point("short", [1.0], namespace="x")
    done = docs.upsert_stream(
        iter(points), batch=700, results="all", on_result=results.append, progress=statuses.append, total=3000
    )
    assert (done.lines, done.upserted, done.failed) == (3000, 2999, 1)
    assert [result.line for result in results] == list(range(1, 3001))
    [wrong] = done.errors
    assert (wrong.line, wrong.id, wrong.error["code"]) == (8, "short", "wrong_dimension")
    assert statuses[-1].ended and statuses[-1].rows == 3000 and statuses[-1].bytes > 3000 * 20
    assert docs.count(namespace="").count == 2999
    assert docs.upsert_stream([]).lines == 0
    with pytest.raises(NotFoundError):
        client.collection("nothing-here").upsert_stream(points)


def test_queries(filled):
    at = ROWS[17] + np.float32(0.01)
    found = filled.query(at, top_k=5, include=["metadata", "content", "vector"])
    assert [match.id for match in found] == nearest(at, ROWS, 5) and len(found) == 5
    assert found.plan == "exact" and found.ef is None and not found.exhausted and found.took_ms > 0
    assert found.matches[0].metadata == {"n": 17, "kind": "b"} and found.matches[0].content == "text 17"
    assert same(found.matches[0].vector, ROWS[17])
    assert filled.query(id="3", top_k=1).matches[0].id == "3"
    even = filled.query(at, top_k=3, filter={"kind": "a"}, recall="exact", exact=True)
    assert [match.id for match in even] == [one for one in nearest(at, ROWS, 600) if int(one) % 2 == 0][:3]
    assert filled.query(at, top_k=600, score_threshold=0.05).exhausted
    assert [match.id for match in filled.matches(at, page=70, filter={"n": {"$lt": 200}})] == nearest(
        at, ROWS[:200], 200
    )
    first = filled.query(at, top_k=2)
    second = filled.query(at, top_k=2, cursor=first.next_cursor)
    assert [match.id for match in (*first, *second)] == nearest(at, ROWS, 4)
    several = filled.query_many([{"vector": at, "top_k": 2}, {"id": "5", "top_k": 1, "filter": {"n": 5}}])
    assert [[match.id for match in one] for one in several] == [nearest(at, ROWS, 2), ["5"]]
    groups = filled.query_groups(at, group_by="kind", group_size=2, top_k=2)
    assert {group.value for group in groups.groups} == {"a", "b"}
    assert all(len(group.matches) == 2 for group in groups.groups)
    liked = filled.recommend(["1", "2"], ["3"], top_k=4, namespace="")
    assert len(liked) == 4 and not {"1", "2", "3"} & {match.id for match in liked}
    with pytest.raises(InvalidError) as refused:
        filled.query(at, top_k=0)
    assert refused.value.errors[0].field == "top_k"


def test_changes_and_deletions(filled):
    done = filled.update(ids=["1", "x"], content=None, metadata={"new": 1}, metadata_remove=["kind"])
    assert (done.updated, done.missing) == (1, ["x"])
    [point] = filled.fetch(["1"]).points
    assert (point.content, point.metadata) == (None, {"n": 1, "new": 1})
    assert (
        filled.update(filter={"n": {"$lt": 10}}, metadata={"old": True}, metadata_mode="replace").updated
        == 10
    )
    assert filled.update(ids=["2"], vector=[9, 9, 9, 9]).updated == 1
    done = filled.update_each(
        [{"id": "3", "vector": ROWS[0]}, {"id": "4", "content": "four"}, {"id": "none", "content": ""}]
    )
    assert (done.updated, done.missing) == (2, ["none"])
    assert same(filled.fetch(["3"]).points[0].vector, ROWS[0])
    assert filled.delete(ids=["1", "2", "x"]) == 2
    assert filled.delete(filter={"n": {"$gte": 590}}) == 10
    assert filled.count(filter={"kind": "a"}).count == 290
    about = filled.count(estimated=True)
    assert about.estimated and about.count == 588
    assert filled.delete(all=True, namespace="none") == 0
    assert filled.delete(all=True) == 588


def test_reading_all(filled):
    filled.upsert([("x", [1, 2, 3, 4])], namespace="y")
    every = list(filled.scroll(page=250, include=["vector"]))
    assert [(point.namespace, point.id) for point in every] == [
        *(("", point_id) for point_id in sorted(map(str, range(600)))),
        ("y", "x"),
    ]
    assert same(every[0].vector, ROWS[0]) and every[0].metadata is None
    assert [point.id for point in filled.scroll(namespace="y")] == ["x"]
    page = filled.scroll_page(limit=2, filter={"n": {"$gte": 598}})
    assert [point.id for point in page.points] == ["598", "599"] and page.next_cursor is None


def test_a_projection(filled):
    found = filled.projection(sample=50, color="kind", seed=1)
    assert (found.sampled, found.total, len(found.points)) == (50, 600, 50)
    assert {point.value for point in found.points} == {"a", "b"}
    assert 0 < sum(found.explained) <= 1


def test_namespaces(docs):
    docs.upsert(Point("a", [1, 2, 3, 4], namespace=f"n{at:03}") for at in range(230))
    assert [one.name for one in docs.namespaces()] == [f"n{at:03}" for at in range(230)]
    assert [one.points for one in docs.namespaces(prefix="n22")] == [1] * 10
    assert docs.namespaces_page(limit=3).next_cursor
    assert docs.namespace_delete("n000") == 1
    with pytest.raises(NotFoundError):
        docs.namespace_delete("n000")


def test_indexes_jobs_and_recall(client, filled):
    job = filled.index_build(m=8, ef_construction=40)
    assert (job.kind, job.collection) == ("index.build", filled.name)
    seen = []
    assert client.job_wait(job, timeout=30, on_progress=seen.append).percent == 100
    assert seen[-1].ended and seen[-1].finished_at > seen[-1].created_at
    about = filled.index_wait(timeout=30)
    assert about.state == "ready" and about.built["m"] == 8 and about.job.id == job.id
    assert job.id in [one.id for one in client.jobs()]
    with pytest.raises(ConflictError):
        client.job_cancel(job.id)
    measured = client.job_wait(filled.recall_measure(queries=20, k=5), timeout=30)
    assert measured.result["recall"] > 0.5
    since = measured.created_at - datetime.timedelta(seconds=1)
    [told] = filled.recalls(since=since)
    assert (told.k, told.queries, told.recall) == (5, 20, measured.result["recall"])
    assert list(filled.recalls(until=since)) == []
    filled.index_delete()
    assert filled.index().state == "none"
    with pytest.raises(NotFoundError):
        client.job("job_nothing")


def test_a_job_that_does_not_succeed(client, docs):
    job = docs.index_build()
    try:
        client.job_cancel(job.id)
    except ConflictError:
        return
    with pytest.raises(JobFailedError) as failed:
        client.job_wait(job, timeout=30)
    assert failed.value.job.state == "cancelled"


def test_keys_and_roles(server, control_plane, client):
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    made = client.api_key_create("reader", expires_at=until)
    try:
        changed = client.api_key_change(made.id, name="other", requests_per_second=5, burst=7)
        assert (changed.name, changed.requests_per_second, changed.burst) == ("other", 5, 7)
        assert client.api_key_change(made.id, burst=None).burst is None
        assert made.role == "viewer" and made.key not in repr(made) and made.expires_at == until
        assert made.id in [key.id for key in client.api_keys()]
        with Client(f"http://127.0.0.1:{server.port}", made.key) as reader:
            list(reader.collections())
            with pytest.raises(PermissionDeniedError):
                reader.collection_create("no", 3)
    finally:
        client.api_key_delete(made.id)
    with pytest.raises(NotFoundError):
        client.api_key_delete(made.id)
    with Client(control_plane.url, control_plane.keys["viewer"], target=TARGET) as reader:
        list(reader.collections())
        with pytest.raises(PermissionDeniedError):
            reader.collection_create("no", 3)
    for url, target in ((f"http://127.0.0.1:{server.port}", None), (control_plane.url, TARGET)):
        with Client(url, "wrong", target=target) as nobody, pytest.raises(UnauthenticatedError):
            nobody.collections_page()


def test_the_control_plane_s_own_vectors(control_plane):
    name = f"own-{uuid.uuid4().hex[:8]}"
    with Client(control_plane.url, control_plane.keys["operator"]) as client:
        docs = client.collection_create(name, 2)
        docs.upsert([("a", [1, 2])])
        assert [match.id for match in docs.query([1, 2])] == ["a"]
        docs.drop()


def test_upstream_s_calls(client):
    dimension = next((one.dimension for one in client.collections() if one.name == "default"), 3)
    vector = [1.0] * dimension
    made = client.simple_add(vector, content="text", metadata={"a": 1})
    try:
        stored = client.simple_get(made.id)
        assert (stored.content, stored.metadata, stored.embedding) == ("text", {"a": 1}, vector)
        assert made.id in [point.id for point in client.simple_search(np.array(vector), limit=10).results]
    finally:
        client.simple_delete(made.id)
    with pytest.raises(NotFoundError):
        client.simple_get(made.id)


def test_slow_queries(client):
    page = client.slow_queries_page(limit=1)
    assert len(page.items) <= 1
    since = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    assert list(client.slow_queries(since=since, collection="none")) == []


def test_names_of_any_kind(client, docs):
    docs.upsert([("å/b c?#%", [1, 2, 3, 4])], namespace="ä/ö")
    assert docs.namespace_delete("ä/ö") == 1
    with pytest.raises(NotFoundError):
        client.collection("å/../b c?#%").describe()
    with pytest.raises(ApiError):
        client.collection_create("å/b", 3)


def test_many_threads_share_the_connections(client, filled):
    """One client, more threads than connections: each gets its own answers."""
    wrong = []

    def ask(first):
        for turn in range(15):
            at = (first * 31 + turn * 7) % 600
            found = filled.query(ROWS[at], top_k=1).matches[0]
            if found.id != str(at) or not same(filled.fetch([str(at)]).points[0].vector, ROWS[at]):
                wrong.append(at)

    threads = [threading.Thread(target=ask, args=[first]) for first in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_addresses(server):
    for wrong in ("127.0.0.1:8000", "ftp://host", "http://", "http://host?x=1"):
        with pytest.raises(ValueError, match="address"):
            Client(wrong)
    with Client(f"http://127.0.0.1:{server.port}/api/v1/vectors/", token()) as client:
        list(client.collections())
