"""Imports and exports by real processes: killed in the middle, cancelled, streamed."""

import http.client
import json
import os
import signal

import orjson
import psycopg
import pytest

from controlplane import ids
from tests.vectors.conftest import b64
from tests.vectors.test_process import Server, until
from vectors import vectors
from vectors.transfer import checksums, ndjson

DIMENSION, COUNT = 128, 20_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("transfer")


@pytest.fixture(scope="module")
def server(vectors_url, folder):
    made = Server(vectors_url, folder, AINDUS_TRANSFER_PATHS=str(folder))
    made.ready()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def whole(folder):
    """(path, checksum) of a file as an export makes it, written by hand."""
    total = 0
    with (folder / "whole.ndjson").open("wb") as file:
        for at in range(COUNT):
            values = [float(at % 101), *range(1, DIMENSION)]
            space, point_id, metadata = f"s{at % 3}", f"{at:06}", b'{"n": %d}' % at
            point = {"id": point_id, "namespace": space, "vector_b64": b64(values)}
            file.write(orjson.dumps(point | {"metadata": orjson.Fragment(metadata)}) + b"\n")
            packed = vectors.pack(values, DIMENSION, "")
            total += checksums.digest(space.encode(), point_id.encode(), packed, None, metadata)
        file.write(ndjson.manifest_line(points=COUNT, checksum=checksums.text_of(total)))
    return folder / "whole.ndjson", checksums.text_of(total)


@pytest.fixture
def named(server):
    """A function that makes a collection; all are deleted at the end."""
    made = []

    def make() -> str:
        name = f"t{len(made)}-{os.urandom(4).hex()}"
        body = {"name": name, "dimension": DIMENSION, "auto_index": False}
        assert server.call("POST", "collections", body)[0] == 201
        made.append(name)
        return name

    yield make
    for name in made:
        server.call("DELETE", f"collections/{name}")


def job_of(server, job) -> dict:
    return server.call("GET", f"jobs/{job['id']}")[1]


def killed_in_the_middle(server, vectors_url, job, times: int) -> dict:
    """The job, after whoever did it was killed so often, each time after some progress, and it has ended."""
    seen = 0
    for _ in range(times):

        def further(least=seen):
            now = job_of(server, job)
            assert now["state"] in ("queued", "running"), now
            return (now["progress"] or {}).get("rows", 0) > least and now

        seen = until(further, seconds=60)["progress"]["rows"]
        with psycopg.connect(vectors_url) as db:
            row = db.execute(
                "SELECT runner FROM vectors_job WHERE id = %s", [ids.decode("job", job["id"])]
            ).fetchone()
        os.kill(int(row[0].rpartition(":")[2]), signal.SIGKILL)
    return until(lambda: (now := job_of(server, job))["finished_at"] and now, seconds=60)


def export_killed(server, vectors_url, name: str, body: dict) -> dict | None:
    """The job of an export whose runner was killed while it ran, at its end; None when it was too fast."""
    job = server.call("POST", f"collections/{name}/export", body)[1]
    with psycopg.connect(vectors_url, autocommit=True) as db:

        def runner():
            return db.execute(
                "SELECT runner, state FROM vectors_job WHERE id = %s AND state <> 'queued'",
                [ids.decode("job", job["id"])],
            ).fetchone()

        where, state = until(runner, seconds=60)
        if state == "running":
            os.kill(int(where.rpartition(":")[2]), signal.SIGKILL)
    done = until(lambda: (now := job_of(server, job))["finished_at"] and now, seconds=60)
    return done if done["attempt"] > 1 else None


def test_a_killed_import_and_a_killed_export_go_on(server, vectors_url, whole, folder, named):
    """Nothing is lost and nothing comes twice: counts and checksums are those of the file."""
    path, expected = whole
    name = named()
    body = {"path": str(path)}
    job = server.call("POST", f"collections/{name}/import", body)[1]
    done = killed_in_the_middle(server, vectors_url, job, 3)
    assert done["state"] == "succeeded", done
    assert (done["result"]["rows"], done["result"]["errors"], done["result"]["verified"]) == (COUNT, 0, 1)
    found = server.call("GET", f"collections/{name}/checksum")[1]
    assert (found["points"], found["checksum"]) == (COUNT, expected)
    for format in ("ndjson", "parquet"):
        target = folder / f"again.{format}"
        body = {"path": str(target), "format": format}
        # An export is soon done: one that ended before it was killed is made again.
        done = until(lambda body=body: export_killed(server, vectors_url, name, body), seconds=60)
        assert done["state"] == "succeeded", done
        assert (done["result"]["points"], done["result"]["checksum"]) == (COUNT, expected)
        assert done["result"]["bytes"] == target.stat().st_size
        assert not list(folder.glob(f".again.{format}*"))
        assert taken(server, f"collections/{name}/export?format={format}") == target.read_bytes()


def taken(server, path: str) -> bytes | None:
    """The body of an answer; None while all places are taken."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("GET", f"/api/v1/vectors/{path}", headers=server.headers)
        response = connection.getresponse()
        assert response.status in (200, 429)
        return response.read() if response.status == 200 else None
    finally:
        connection.close()


def test_a_cancelled_transfer_stops(server, whole, folder, named):
    """An import keeps what it wrote; an export leaves no file."""
    name = named()
    job = server.call("POST", f"collections/{name}/import", {"path": str(whole[0])})[1]
    until(lambda: (job_of(server, job)["progress"] or {}).get("rows"))
    assert server.call("POST", f"jobs/{job['id']}/cancel")[1]["state"] == "cancelled"
    assert 0 < server.call("POST", f"collections/{name}/count", {})[1]["count"] < COUNT
    job = server.call("POST", f"collections/{name}/import", {"path": str(whole[0])})[1]
    until(lambda: job_of(server, job)["state"] == "succeeded", seconds=30)
    before = set(folder.iterdir())
    job = server.call("POST", f"collections/{name}/export", {"path": str(folder / "never")})[1]
    until(lambda: set(folder.iterdir()) - before)
    server.call("POST", f"jobs/{job['id']}/cancel")
    until(lambda: set(folder.iterdir()) == before)
    # A collection that is deleted takes its imports along.
    job = server.call("POST", f"collections/{name}/import", {"path": str(whole[0])})[1]
    until(lambda: job_of(server, job)["state"] == "running")
    assert server.call("DELETE", f"collections/{name}")[0] == 204
    assert "Traceback" not in server.log.read_text()


def test_a_client_that_goes_away_leaves_its_place(server, whole, named):
    name = named()
    job = server.call("POST", f"collections/{name}/import", {"path": str(whole[0])})[1]
    until(lambda: job_of(server, job)["state"] == "succeeded", seconds=30)
    for format in ("ndjson", "parquet"):
        for _ in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            path = f"/api/v1/vectors/collections/{name}/export?format={format}"
            connection.request("GET", path, headers=server.headers)
            # A place is taken until the server notices.
            response = until(lambda c=connection, p=path: served(c, p, server.headers), seconds=20)
            assert len(response.read(1000)) == 1000
            connection.close()
    last = until(lambda: taken(server, f"collections/{name}/export")).splitlines()[-1]
    assert json.loads(last)["export"]["points"] == COUNT


def served(connection, path, headers):
    """The response, or None after asking again because all places were taken."""
    response = connection.getresponse()
    if response.status == 200:
        return response
    assert response.status == 429, response.read()
    connection.close()
    connection.request("GET", path, headers=headers)
    return None
