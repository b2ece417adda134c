"""Writers and readers at once: no deadlock, nothing torn, nothing lost."""

import random
import threading

import pytest


def together(*functions):
    """Run functions in threads; the first exception is raised."""
    errors = []

    def guarded(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=[function]) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_upserts_of_the_same_ids_never_deadlock(client, collection):
    name = collection(2, "l2")

    def write(seed):
        def run():
            order = [str(at) for at in range(60)]
            shuffle = random.Random(seed)
            for turn in range(15):
                shuffle.shuffle(order)
                points = [
                    {"id": at, "vector": [seed, turn], "metadata": {"by": seed, "turn": turn}} for at in order
                ]
                answer = client.post(f"collections/{name}/points", {"points": points})
                assert answer.status == 200, answer

        return run

    def erase():
        for turn in range(15):
            body = {"ids": [str(at) for at in range(59, -1, -3)]} if turn % 2 else {"filter": {"by": 1}}
            answer = client.post(f"collections/{name}/delete", body)
            assert answer.status == 200, answer

    def read():
        for _ in range(30):
            answer = client.post(
                f"collections/{name}/query",
                {"vector": [1, 1], "top_k": 100, "include": ["vector", "metadata"]},
            )
            for match in answer.json["matches"]:
                assert match["vector"] == [match["metadata"]["by"], match["metadata"]["turn"]]

    together(*[write(seed) for seed in range(1, 5)], erase, read)


def test_a_batch_is_seen_whole(client, collection):
    name = collection(1, "l2")
    stop = threading.Event()

    def write():
        try:
            for turn in range(1, 60):
                points = [{"id": str(at), "vector": [turn]} for at in range(20)]
                assert client.post(f"collections/{name}/points", {"points": points}).status == 200
        finally:
            stop.set()

    def read():
        while not stop.is_set():
            points = client.post(f"collections/{name}/scroll", {"include": ["vector"]}).json["points"]
            assert len(points) in (0, 20)
            assert len({tuple(point["vector"]) for point in points}) <= 1

    together(write, read)


def test_one_of_many_creates(client):
    statuses = []

    def create():
        statuses.append(client.post("collections", {"name": "race", "dimension": 2}).status)

    try:
        together(*[create] * 6)
        assert sorted(statuses) == [201] + [409] * 5
    finally:
        assert client.delete("collections/race").status == 204


@pytest.mark.parametrize("turn", range(3))
def test_deleting_a_collection_in_use(client, collection, turn):
    name = collection(2, "l2")

    def use():
        for _ in range(30):
            for path, body in (
                ("points", {"points": [{"id": "a", "vector": [1, 2]}]}),
                ("query", {"vector": [1, 2]}),
            ):
                assert client.post(f"collections/{name}/{path}", body).status in (200, 404)

    def delete():
        assert client.delete(f"collections/{name}").status == 204

    together(use, use, delete)
    assert client.get(f"collections/{name}").status == 404


def test_prepared_statements_outlive_rollbacks(pool):
    """What `run` prepared is there after a transaction of psycopg's own statements is rolled back."""
    with pool.connection() as connection:
        connection.run("SELECT 1::int8")
        for _ in range(20):
            connection.db.execute("SELECT %s::int", [1])
        with pytest.raises(ZeroDivisionError), connection.db.transaction():
            connection.db.execute("SELECT 1")
            raise ZeroDivisionError
        connection.db.execute("DROP TABLE IF EXISTS never_there")
        assert connection.run("SELECT 1::int8").get_value(0, 0) == bytes(7) + b"\1"
