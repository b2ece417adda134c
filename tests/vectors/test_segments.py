"""What is written beside an index: found at once, indexed in the background, never twice or not at all."""

import base64
import threading

import numpy as np
import psycopg
import pytest
from psycopg.types.json import Jsonb

from vectors import collections
from vectors.segments import Merge, Part, merge_due, parts_of, unindexed_from, with_part

COUNT, MORE, DIMENSION = 6000, 3000, 16


def part(first, last, rows=0):
    return Part(f"v_{first}_{last}", first, last, rows)


def test_a_new_part_takes_the_place_of_those_it_covers():
    old = (part(0, 4), part(5, 6), part(7, 9))
    assert with_part((), part(0, 3)) == (part(0, 3),)
    assert with_part(old, part(10, 12)) == (*old, part(10, 12))
    assert with_part(old, part(5, 12)) == (part(0, 4), part(5, 12))
    assert with_part(old, part(0, 9)) == (part(0, 9),)
    # The whole collection was built anew, to an epoch before the newest part: that part stays.
    assert with_part(old, part(0, 6)) == (part(0, 6), part(7, 9))
    assert with_part((part(0, None),), part(0, 7)) == (part(0, 7),)


@pytest.mark.parametrize(("first", "last"), [(5, 6), (3, 12), (14, 15), (6, 8)])
def test_a_part_that_fits_nowhere_is_refused(first, last):
    assert with_part((part(0, 9), part(10, 12)), part(first, last)) is None


def test_what_serves_is_read_from_either_form():
    assert parts_of(None) == ()
    assert parts_of({"name": "v_a", "rows": 3}) == (Part("v_a", 0, None, 3),)
    assert unindexed_from(parts_of({"name": "v_a"})) is None
    assert unindexed_from((part(0, 4), part(5, 6))) == 7
    assert unindexed_from(()) == 0


@pytest.mark.parametrize(
    ("rows", "unindexed", "quiet", "due"),
    [
        ([100_000], 1_999, False, None),
        ([100_000], 2_000, False, Merge(1, False)),
        # Parts that are small beside what is newer are made anew with it.
        ([100_000, 1_000], 2_000, False, Merge(1, False)),
        ([100_000, 1_500], 2_000, False, Merge(2, False)),
        ([100_000, 3_000, 2_000], 4_000, False, Merge(1, False)),
        ([1_000], 2_500, False, Merge(0, False)),
        # Too many parts become one.
        ([100_000, 5_000, 5_000, 5_000], 2_000, False, Merge(4, False)),
        ([100_000, 5_000, 5_000, 5_000, 5_000], 2_000, False, Merge(1, False)),
        ([20_000, 5_000, 5_000, 5_000, 5_000], 2_000, False, Merge(0, False)),
        ([100_000], 0, True, None),
        ([100_000], 1_000, True, Merge(0, True)),
        ([100_000, 3_000], 0, True, Merge(0, True)),
        ([100_000, 60_000], 0, True, Merge(0, False)),
        # All of a part was deleted: what is left of it goes.
        ([100_000, 0], 0, True, Merge(1, True)),
    ],
)
def test_what_is_merged_when(rows, unindexed, quiet, due):
    parts = tuple(part(at, at, count) for at, count in enumerate(rows))
    assert merge_due(parts, unindexed, 2_000, quiet) == due


def test_an_index_of_all_rows_is_never_merged():
    assert merge_due((part(0, None, 10),), 5_000, 2_000, True) is None


@pytest.fixture
def vectors():
    random = np.random.default_rng(5)
    centres = random.normal(size=(40, DIMENSION)) * 3
    return (
        centres[random.integers(0, 40, COUNT + MORE)] + random.normal(size=(COUNT + MORE, DIMENSION))
    ).astype("<f4")


def upsert(client, name, vectors, first, last):
    block = vectors[first:last]
    body = {
        "ids": [str(at) for at in range(first, last)],
        "vectors_b64": base64.b64encode(block.tobytes()).decode(),
        "metadata": [{"at": at, "new": at >= COUNT} for at in range(first, last)],
    }
    assert client.post(f"collections/{name}/points", body).status == 200


@pytest.fixture
def indexed(client, collection, runner, vectors):
    name = collection(DIMENSION, "l2", auto_index=False)
    for first in range(0, COUNT, 2000):
        upsert(client, name, vectors, first, first + 2000)
    client.post(f"collections/{name}/index")
    runner()
    return name


def recall(client, name, vectors, live, **options):
    """The share found of the true nearest, over queries on both old and new points; plans used."""
    random = np.random.default_rng(11)
    found, plans, live = [], set(), np.asarray(live)
    for at in random.choice(live, 40):
        body = {"vector": vectors[at].tolist(), "top_k": 10, "include": []} | options
        answer = client.post(f"collections/{name}/query", body).json
        ids = [int(match["id"]) for match in answer["matches"]]
        assert len(set(ids)) == len(ids) == 10
        distances = np.linalg.norm(vectors[live].astype(float) - vectors[at].astype(float), axis=1)
        best = live[np.argsort(distances, kind="stable")[:10]]
        found.append(len(set(best.tolist()) & set(ids)) / 10)
        plans.add(answer["plan"])
    return np.mean(found), plans


def index_of(client, name):
    return client.get(f"collections/{name}/index").json


def live_merge(runner):
    """Merge as while writes go on: only what has reached the least number of points."""
    return runner(merge_points=500, pause_seconds=3600)


def test_the_life_of_what_is_written_beside_an_index(client, indexed, runner, vectors):
    index = index_of(client, indexed)
    assert (index["segments"], index["unindexed_points"]) == (1, 0)
    assert set(index["built"]["efs"]) == {"0.95", "None", "0.99"}
    # Nothing is inserted into the graph: what is new is read exactly.
    upsert(client, indexed, vectors, COUNT, COUNT + 200)
    live = range(COUNT + 200)
    assert index_of(client, indexed)["unindexed_points"] == 200
    found, plans = recall(client, indexed, vectors, live)
    assert (plans, found >= 0.97) == ({"hnsw"}, True)
    live_merge(runner)
    assert index_of(client, indexed)["unindexed_points"] == 200
    # Enough of it becomes a part of its own.
    upsert(client, indexed, vectors, COUNT + 200, COUNT + 700)
    live_merge(runner)
    index = index_of(client, indexed)
    assert (index["segments"], index["unindexed_points"]) == (2, 0)
    live = range(COUNT + 700)
    found, plans = recall(client, indexed, vectors, live)
    assert (plans, found >= 0.97) == ({"hnsw"}, True)
    # Old rows that change are new ones; deleted ones are gone from either part.
    client.post(f"collections/{indexed}/update", {"ids": ["7", "6100"], "metadata": {"changed": True}})
    client.post(f"collections/{indexed}/delete", {"ids": [str(at) for at in range(100, 200)]})
    assert index_of(client, indexed)["unindexed_points"] == 2
    live = [at for at in live if not 100 <= at < 200]
    assert recall(client, indexed, vectors, live)[0] >= 0.97
    # When writes pause, everything moves into one index.
    runner(pause_seconds=0)
    index = index_of(client, indexed)
    assert (index["segments"], index["unindexed_points"]) == (1, 0)
    found, plans = recall(client, indexed, vectors, live)
    assert (plans, found >= 0.97) == ({"hnsw"}, True)
    job = client.get("jobs?limit=1").json["items"][0]
    assert (job["kind"], job["state"], job["result"]["how"]) == ("index.merge", "succeeded", "drain")
    runner(pause_seconds=0)
    assert client.get("jobs?limit=1").json["items"][0]["id"] == job["id"]


def test_filters_reach_what_is_new_and_what_is_old(client, indexed, runner, vectors):
    upsert(client, indexed, vectors, COUNT, COUNT + 900)
    live_merge(runner)
    upsert(client, indexed, vectors, COUNT + 900, COUNT + 1000)
    live = np.arange(COUNT + 1000)
    for filter, allowed in (
        ({"new": True}, live[live >= COUNT]),
        ({"$not": {"new": False}}, live[live >= COUNT]),
        ({"at": {"$gte": COUNT + 995}}, live[live >= COUNT + 995]),
        ({"at": {"$lt": 3000}}, live[live < 3000]),
        ({"at": {"$gte": COUNT - 20}}, live[live >= COUNT - 20]),
    ):
        for at in (3, COUNT - 5, COUNT + 950):
            body = {"vector": vectors[at].tolist(), "top_k": 20, "filter": filter}
            answer = client.post(f"collections/{indexed}/query", body).json
            ids = {int(match["id"]) for match in answer["matches"]}
            distances = np.linalg.norm(vectors[allowed].astype(float) - vectors[at].astype(float), axis=1)
            best = set(allowed[np.argsort(distances, kind="stable")[:20]].tolist())
            assert len(ids) == len(best)
            assert len(ids & best) / len(best) >= 0.9, (filter, at, answer["plan"])


def test_groups_and_pages_see_all_parts(client, indexed, runner, vectors):
    upsert(client, indexed, vectors, COUNT, COUNT + 900)
    live_merge(runner)
    upsert(client, indexed, vectors, COUNT + 900, COUNT + 1000)
    body = {"vector": vectors[COUNT].tolist(), "group_by": "new", "top_k": 2, "group_size": 2}
    groups = client.post(f"collections/{indexed}/query", body).json["groups"]
    assert {group["value"] for group in groups} == {True, False}
    seen, body = [], {"vector": vectors[COUNT + 950].tolist(), "top_k": 15, "include": []}
    for _ in range(4):
        page = client.post(f"collections/{indexed}/query", body).json
        seen += [(match["score"], match["id"]) for match in page["matches"]]
        body["cursor"] = page["next_cursor"]
    assert len({point for _, point in seen}) == 60
    assert seen == sorted(seen, key=lambda place: place[0])


def test_who_remembers_old_parts_is_right_all_the_same(client, indexed, runner, vectors):
    remembered = collections.collection_get(indexed)
    upsert(client, indexed, vectors, COUNT, COUNT + 1000)
    live_merge(runner)
    runner(pause_seconds=0)
    remembered.fresh_until = float("inf")
    collections._cache[indexed] = remembered
    # It still writes in the epoch of then, which an index covers now.
    upsert(client, indexed, vectors, COUNT + 1000, COUNT + 1100)
    assert recall(client, indexed, vectors, range(COUNT + 1100))[0] >= 0.97
    collections.collection_forget(indexed)
    assert recall(client, indexed, vectors, range(COUNT + 1100))[0] >= 0.97


def test_writers_and_readers_while_parts_are_merged(client, application, indexed, runner, vectors):
    """Every point is in every answer it belongs into, at any moment of a merge."""
    from tests.vectors.conftest import Client

    written, stop, faults = [COUNT], threading.Event(), []

    def write():
        mine = Client(application)
        for first in range(COUNT, COUNT + MORE, 100):
            upsert(mine, indexed, vectors, first, first + 100)
            written[0] = first + 100

    def read():
        mine, random = Client(application), np.random.default_rng(3)
        while not stop.is_set():
            at = int(random.integers(written[0]))
            body = {"vector": vectors[at].tolist(), "top_k": 5, "include": [], "recall": 0.99}
            answer = mine.post(f"collections/{indexed}/query", body).json
            ids = [match["id"] for match in answer["matches"]]
            if len(set(ids)) != 5 or str(at) not in ids:
                faults.append((at, answer))

    threads = [threading.Thread(target=work) for work in (write, read)]
    for thread in threads:
        thread.start()
    while threads[0].is_alive():
        live_merge(runner)
    runner(pause_seconds=0)
    stop.set()
    for thread in threads:
        thread.join()
    # The walk of a graph may miss a point, at the recall asked for; whoever saw none of a part misses many.
    assert len(faults) <= 2, faults[:3]
    index = index_of(client, indexed)
    assert (index["segments"], index["unindexed_points"]) == (1, 0)
    assert client.post(f"collections/{indexed}/count", {}).json["count"] == COUNT + MORE
    assert recall(client, indexed, vectors, range(COUNT + MORE))[0] >= 0.97


def test_what_a_killed_merge_left_is_cleared(client, indexed, runner, vectors, vectors_url):
    """A build that died leaves an invalid index and a running job; the next runner takes both up."""
    upsert(client, indexed, vectors, COUNT, COUNT + 1000)
    table = collections.collection_get(indexed).table
    with psycopg.connect(vectors_url, autocommit=True) as db:
        job = db.execute(
            "INSERT INTO vectors_job (id, collection_id, kind, state, params, error, attempt, runner,"
            " created_at) SELECT gen_random_uuid(), id, 'index.merge', 'running', %s, '', 1, 'dead', now()"
            " FROM vectors_collection WHERE name = %s RETURNING replace(id::text, '-', '')",
            [Jsonb({"least": 500, "quiet": False}), indexed],
        ).fetchone()[0]
        db.execute(f"CREATE INDEX v_{job} ON {table} USING hnsw (embedding vector_l2_ops) WHERE epoch = 77")
        db.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass",
            [f"vectors_data.v_{job}"],
        )
        runner(pause_seconds=3600)
        index = index_of(client, indexed)
        assert (index["segments"], index["unindexed_points"]) == (2, 0)
        rows = db.execute(
            "SELECT indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid"
            " WHERE indrelid = %s::regclass AND relname ~ '^v_'",
            [table],
        ).fetchall()
    assert rows == [(True,), (True,)]
    assert recall(client, indexed, vectors, range(COUNT + 1000))[0] >= 0.97


def test_an_index_made_before_rows_had_an_epoch_serves(client, collection, vectors, vectors_url):
    name = collection(DIMENSION, "l2", auto_index=False)
    for first in range(0, COUNT, 2000):
        upsert(client, name, vectors, first, first + 2000)
    with psycopg.connect(vectors_url, autocommit=True) as db:
        table = collections.collection_get(name).table
        db.execute(f"CREATE INDEX v_before ON {table} USING hnsw (embedding vector_l2_ops)")
        db.execute(
            'UPDATE vectors_collection SET index_built = \'{"name": "v_before", "type": "hnsw", "m": 16,'
            ' "ef_construction": 64, "precision": "vector", "rows": 6000}\' WHERE name = %s',
            [name],
        )
        db.execute(f"ANALYZE {table}")
    collections.collection_forget(name)
    upsert(client, name, vectors, COUNT, COUNT + 50)
    assert index_of(client, name)["unindexed_points"] == 0
    found, plans = recall(client, name, vectors, range(COUNT + 50))
    assert (plans, found >= 0.97) == ({"hnsw"}, True)


def test_half_precision_refuses_early_what_a_later_merge_could_not_take(client, collection):
    name = collection(3, index={"precision": "halfvec"})
    body = {"points": [{"id": "a", "vector": [1, 2, 3]}, {"id": "b", "vector": [1, 7e4, 3]}]}
    answer = client.post(f"collections/{name}/points", body)
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "points[1].vector")
    client.post(f"collections/{name}/points", {"points": [{"id": "a", "vector": [1, 2, 3]}]})
    answer = client.post(f"collections/{name}/update", {"ids": ["a"], "vector": [1, 7e4, 3]})
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "vector")
