"""Writing batches: large bodies decoded while they come, points copied in, and those that were there."""

import importlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import ProblemError
from vectors import bodies, collections, gradual, upserts, vectors

TEXTS = st.text(max_size=12) | st.sampled_from(['},{"id":', '"points":[', "]", '\\"', "é\u2028"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
POINTS = st.lists(
    st.fixed_dictionaries(
        {"id": st.text(min_size=1, max_size=6)},
        optional={
            "vector": st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4) | st.just("x"),
            "content": TEXTS | st.none(),
            "metadata": st.dictionaries(TEXTS, VALUES, max_size=3)
            | st.fixed_dictionaries({"parts": st.just([{"id": 1}, {"id": 2}])}),
            "unknown": st.just(1),
        },
    ),
    max_size=8,
)


def read_of(raw: bytes, size: int):
    rest = memoryview(raw)

    def read(_):
        nonlocal rest
        part, rest = rest[:size], rest[size:]
        return bytes(part)

    return read


def outcome(make):
    """What decoding gives, comparable: vectors in binary, or the error."""
    try:
        body = make()
    except ProblemError as error:
        return error.as_dict("")
    found = msgspec.structs.asdict(body)
    if body.points is not None:
        found["points"] = []
        for point in body.points:
            one = msgspec.structs.asdict(point) | {"metadata": bytes(point.metadata)}
            if isinstance(one["vector"], list) and len(one["vector"]) == 2:
                one["vector"] = vectors.pack(one["vector"], 2, "")
            found["points"].append(one)
    return found


@given(
    points=POINTS,
    before=st.sampled_from(
        [{}, {"namespace": "a"}, {"namespace": '"points":['}, {"ids": ["a"]}, {"what": 1}]
    ),
    after=st.sampled_from([{}, {"namespace": "b]"}, {"metadata": [{}]}, {"points": []}]),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")]),
    size=st.sampled_from([30, 64, 1000]),
    cut=st.integers(0, 3),
)
def test_pieces_decode_to_the_same_as_the_whole(points, before, after, separators, size, cut):
    members = [*before.items(), ("points", points), *after.items()]
    between, colon = separators
    texts = [f"{json.dumps(key)}{colon}{json.dumps(value, separators=separators)}" for key, value in members]
    raw = f"{{{between.join(texts)}}}".encode()
    raw = raw[: len(raw) - cut]
    whole = outcome(lambda: bodies.decode(bodies.Upsert, raw))
    pieces = outcome(lambda: gradual.Receiver(read_of(raw, size), 2).receive())
    assert pieces == whole


def test_a_usual_body_is_decoded_in_pieces():
    """And not as a whole in the end, which would give the same, later."""
    points = [{"id": str(at), "vector": [1.0, at], "metadata": {"at": at}} for at in range(50)]
    for separators in ((",", ":"), (", ", ": ")):
        raw = json.dumps({"namespace": "a", "points": points}, separators=separators).encode()
        receiver = gradual.Receiver(read_of(raw, 200), 2)
        assert [type(point.vector) for point in receiver.receive().points] == [bytes] * 50


@pytest.fixture
def many():
    """A body of points, large enough to be taken gradually."""

    def make(count=400, dimension=64, **changed):
        points = [
            {"id": f"p{at}", "vector": [1.0 + at, *[0.123456789] * (dimension - 1)], "metadata": {"at": at}}
            for at in range(count)
        ]
        for at, values in changed.items():
            points[int(at[1:])] |= values
        return {"points": points}

    return make


def test_a_large_body_is_written(client, collection, many):
    name = collection(64)
    body = many()
    assert len(json.dumps(body)) > gradual.LEAST_BYTES
    answer = client.post(f"collections/{name}/points", body)
    assert (answer.status, answer.json) == (200, {"upserted": 400, "errors": []})
    found = client.post(
        f"collections/{name}/fetch", {"ids": ["p0", "p399"], "include": ["metadata", "vector"]}
    )
    assert [point["metadata"] for point in found.json["points"]] == [{"at": 0}, {"at": 399}]
    assert found.json["points"][1]["vector"][0] == 400.0


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"vector": [1.0]}, "points[399].vector"),
        ({"vector": [1e300] * 64}, "points[399].vector"),
        ({"vector": [0.0] * 64}, "points[399].vector"),
        ({"vector": "no"}, "points[399].vector"),
        ({"metadata": [1]}, "points[399].metadata"),
        ({"content": "a\0"}, "points[399].content"),
        ({"extra": 1}, "points[399].extra"),
    ],
)
def test_a_wrong_point_of_a_large_body_is_named_and_nothing_is_written(
    client, collection, many, wrong, field
):
    name = collection(64)
    answer = client.post(f"collections/{name}/points", many(p399=wrong))
    assert answer.status == 422, answer
    assert answer.json["errors"][0]["field"] == field
    assert client.post(f"collections/{name}/count").json == {"count": 0}


def test_a_large_body_of_another_kind_or_length_is_refused(client, collection, many):
    name = collection(64)
    raw = json.dumps(many()).encode()
    path = f"collections/{name}/points"
    assert client.call("POST", path, raw=raw, headers={"Content-Type": "text/plain"}).status == 415
    assert client.call("POST", path, raw=raw, headers={"Content-Length": "x"}).status == 400
    assert client.call("POST", path, raw=raw, headers={"Content-Length": str(10**12)}).status == 413
    assert client.call("POST", "collections/none-such/points", raw=raw).status == 404


def test_points_that_were_there_are_replaced(client, collection, pool, many):
    name = collection(64)
    path = f"collections/{name}/points"
    known = collections.collection_get(name)
    assert client.post(path, many(300)).status == 200
    assert upserts.likely_new(known)
    # Some of these are there: the copy breaks off, and all go through the staging table.
    assert client.post(path, many(400, p5={"metadata": {"at": "new"}})).status == 200
    assert not upserts.likely_new(known)
    assert client.post(path, many(400, p6={"metadata": {"at": "newer"}})).status == 200
    assert client.post(f"collections/{name}/count").json == {"count": 400}
    found = client.post(f"collections/{name}/fetch", {"ids": ["p5", "p6", "p399"]}).json["points"]
    assert [point["metadata"]["at"] for point in found] == [5, "newer", 399]


def test_a_table_without_the_check_gets_it(client, collection, pool):
    """As those made by an earlier release have none."""
    name = collection(2)
    path = f"collections/{name}/points"
    table = collections.collection_get(name).table
    migration = importlib.import_module("vectors.migrations.0009_norm_checks")

    def checked():
        collections.collection_forget()
        return collections.collection_get(name).copies

    def refused():
        return client.post(path, {"points": [{"id": "z", "vector": [0, 0]}]}).json["errors"][0]["code"]

    assert checked()
    with pool.connection() as connection:
        connection.db.execute(f"ALTER TABLE {table} DROP CONSTRAINT {collections.NORM_CHECK}")
        assert not checked()
        assert refused() == "zero_vector"
        assert client.post(path, {"points": [{"id": "a", "vector": [1, 2]}]}).status == 200
        for _ in range(2):
            connection.db.execute(migration.CHECKS)
        assert checked()
        assert refused() == "zero_vector"
        assert client.post(path, {"points": [{"id": "b", "vector": [1, 2]}]}).status == 200


def test_vectors_for_an_index_of_half_precision_are_staged(client, collection):
    """The table does not know what its index will hold."""
    name = collection(2, "l2", index={"precision": "halfvec"})
    assert not collections.collection_get(name).copies
    answer = client.post(f"collections/{name}/points", {"points": [{"id": "a", "vector": [1e9, 1]}]})
    assert answer.json["errors"][0]["code"] == "out_of_range"
