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


def test_what_was_acknowledged_is_there(client, collection):
    """Each answered write is in the next read of anyone, while others write; in the end nothing lacks."""
    name = collection(2, "l2")
    acknowledged = [0] * 3
    stop = threading.Event()

    def write(writer):
        def run():
            for turn in range(25):
                points = [
                    {"id": f"{writer}-{turn:02}-{at}", "vector": [turn, at], "metadata": {"by": writer}}
                    for at in range(8)
                ]
                assert client.post(f"collections/{name}/points", {"points": points}).status == 200
                acknowledged[writer] = turn + 1

        return run

    def read():
        while not stop.is_set():
            for writer in range(3):
                known = acknowledged[writer]
                answer = client.post(f"collections/{name}/count", {"filter": {"by": writer}})
                assert answer.json["count"] >= known * 8
                if known:
                    wanted = [f"{writer}-{known - 1:02}-{at}" for at in range(8)]
                    fetched = client.post(f"collections/{name}/fetch", {"ids": wanted}).json
                    assert fetched["missing"] == []
                    body = {"vector": [known - 1, 0], "top_k": 1000, "filter": {"by": writer}}
                    found = client.post(f"collections/{name}/query", body).json["matches"]
                    assert set(wanted) <= {match["id"] for match in found}

    def writers():
        try:
            together(*[write(writer) for writer in range(3)])
        finally:
            stop.set()

    together(writers, read, read)
    assert client.post(f"collections/{name}/count", {}).json["count"] == 3 * 25 * 8


def test_no_update_is_lost(client, collection):
    """Writers of different fields of one point, by ids, by filter and each their own."""
    name = collection(2, "l2")
    client.post(
        f"collections/{name}/points", {"points": [{"id": "a", "vector": [1, 1], "metadata": {"k": 1}}]}
    )

    def write(writer, select):
        def run():
            for turn in range(20):
                answer = client.post(f"collections/{name}/update", select({f"w{writer}": turn}))
                assert answer.json["updated"] == 1, answer

        return run

    together(
        write(0, lambda change: {"ids": ["a"], "metadata": change}),
        write(1, lambda change: {"filter": {"k": 1}, "metadata": change}),
        write(2, lambda change: {"points": [{"id": "a", "metadata": change}]}),
        write(3, lambda change: {"ids": ["a"], "metadata": change, "vector": [change["w3"], 1]}),
    )
    [point] = client.post(f"collections/{name}/fetch", {"ids": ["a"]}).json["points"]
    assert point["metadata"] == {"k": 1, "w0": 19, "w1": 19, "w2": 19, "w3": 19}
    assert point["vector"] == [19, 1]


def test_a_scroll_among_writers_gives_what_stays_once(client, collection):
    """Points that are there all along come exactly once, in order, whatever comes and goes around them."""
    name = collection(1, "l2")
    stays = [f"{at:03}s" for at in range(0, 200, 2)]
    points = [{"id": point_id, "vector": [1]} for point_id in stays]
    client.post(f"collections/{name}/points", {"points": points})
    stop = threading.Event()

    def disturb(seed):
        def run():
            drawn = random.Random(seed)
            while not stop.is_set():
                ids = [f"{drawn.randrange(200):03}{letter}" for letter in "at"]
                points = [{"id": point_id, "vector": [2]} for point_id in ids]
                client.post(f"collections/{name}/points", {"points": points})
                client.post(f"collections/{name}/delete", {"ids": ids[: drawn.randrange(3)]})
                # Written anew, in another place of the table, and never gone.
                again = drawn.sample(stays, 3)
                points = [{"id": point_id, "vector": [3]} for point_id in again]
                client.post(f"collections/{name}/points", {"points": points})

        return run

    def read():
        try:
            for turn in range(12):
                seen, cursor = [], None
                while True:
                    page = client.post(f"collections/{name}/scroll", {"limit": 7 + turn, "cursor": cursor})
                    seen += [point["id"] for point in page.json["points"]]
                    cursor = page.json["next_cursor"]
                    if cursor is None:
                        break
                assert seen == sorted(set(seen))
                assert [point_id for point_id in seen if point_id.endswith("s")] == stays
        finally:
            stop.set()

    together(disturb(1), disturb(2), read)


def test_an_index_built_among_writers_misses_nothing(client, collection, runner):
    """Writes before, during and after a build are all in exact and in indexed answers."""
    name = collection(2, "l2", auto_index=False)
    written: list[str] = []
    stop = threading.Event()

    def put(count, tag):
        points = [{"id": f"{tag}{at}", "vector": [at, len(tag)]} for at in range(count)]
        assert client.post(f"collections/{name}/points", {"points": points}).status == 200
        written.extend(point["id"] for point in points)

    def write():
        turn = 0
        while not stop.is_set():
            turn += 1
            put(5, f"during-{turn}-")

    def build():
        try:
            runner()
        finally:
            stop.set()

    put(300, "before-")
    assert client.post(f"collections/{name}/index", {}).status == 202
    together(write, build)
    assert client.get(f"collections/{name}/index").json["state"] == "ready"
    put(5, "after-")
    for exact in (False, True):
        body = {"vector": [0, 0], "top_k": len(written), "exact": exact}
        found = client.post(f"collections/{name}/query", body).json
        assert {match["id"] for match in found["matches"]} == set(written), found["plan"]


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
