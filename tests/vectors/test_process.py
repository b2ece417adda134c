"""`manage.py api` as a real process: start, probes, memory, signals, PostgreSQL away, jobs taken over."""

import contextlib
import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from controlplane import embedded, ids
from tests.vectors.conftest import ROOT, api_environment, b64, migrate, token
from vectors import replica


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_tests():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == pid:
                    found += [int(folder.name), *descendants(int(folder.name))]
    return found


def until(check, seconds: float = 15, every: float = 0.02):
    """check()'s first true value; AssertionError when it does not come."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(every)


class Server:
    """A running `manage.py api`."""

    def __init__(self, url, folder, *arguments, **environment):
        self.port = free_port()
        self.log = folder / f"api-{self.port}.log"
        self.headers = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}
        self.started = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "api", "--port", str(self.port), *arguments],
                cwd=ROOT,
                env=api_environment(url, **environment),
                stdout=log,
                stderr=log,
                preexec_fn=die_with_tests,
            )

    def call(self, method, path, body=None, timeout=20, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = None if body is None else json.dumps(body)
            path = path if path.startswith("/") else f"/api/v1/vectors/{path}"
            connection.request(method, path, data, self.headers | (headers or {}))
            response = connection.getresponse()
            text = response.read()
            return (
                response.status,
                (json.loads(text) if text[:1] in b"{[" and text else text),
                response.headers,
            )
        finally:
            connection.close()

    def status(self, path="/ready"):
        try:
            return self.call("GET", path)[0]
        except OSError:
            return 0

    def ready(self):
        until(lambda: self.status() == 200 or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        return time.monotonic() - self.started

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def serve(vectors_url, tmp_path):
    made = []

    def start(*arguments, url=vectors_url, **environment):
        made.append(Server(url, tmp_path, *arguments, **environment))
        return made[-1]

    yield start
    for server in made:
        server.stop()


def test_start_query_and_stop(serve, tmp_path):
    folder = tmp_path / "replica"
    server = serve(AINDUS_REPLICA_DIR=str(folder), CLUSTER_REGION="eu-1", CLOUD_PROVIDER="local")
    assert server.ready() < 5
    assert server.call("GET", "/health")[1]["region"] == "eu-1"
    record = json.loads((folder / "replica.json").read_text())
    assert record["pid"] == server.process.pid
    assert record["port"] == server.port
    assert record["started_at"].endswith("Z")
    assert server.call("POST", "collections", {"name": "proc", "dimension": 2, "metric": "l2"})[0] == 201
    try:
        points = [{"id": "å/b", "vector": [1, 2]}, {"id": "b", "vector": [5, 5]}]
        assert server.call("POST", "collections/proc/points", {"points": points})[1]["upserted"] == 2
        status, answer, headers = server.call(
            "POST", "collections/proc/query", {"vector": [1, 2], "top_k": 1}
        )
        assert status == 200
        assert [match["id"] for match in answer["matches"]] == ["å/b"]
        assert headers["X-Request-Id"]
        status, problem, headers = server.call("GET", "/nothing")
        assert status == 404
        assert headers["Content-Type"] == "application/problem+json"
        assert problem["code"] == "unknown_address"
        huge = {"Content-Length": str(2**40)}
        assert server.call("POST", "collections/proc/points", headers=huge)[0] == 413
    finally:
        server.call("DELETE", "collections/proc")
    children = descendants(server.process.pid)
    assert len(children) >= 2
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=10) == 0
    until(lambda: not any(alive(pid) for pid in children))
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "Z INFO vectors.access POST /api/v1/vectors/collections/proc/query 200" in log


def test_role_api_stays_small(serve, tmp_path):
    server = serve("--no-runner")
    server.ready()
    workers = descendants(server.process.pid)
    for _ in range(50):
        server.call("GET", "collections")
    text = server.call("GET", "/metrics")[1].decode()
    memory = next(
        line for line in text.splitlines() if line.startswith("aindusdb_api_resident_memory_bytes ")
    )
    assert len(workers) == 1
    assert float(memory.split()[1]) < 150 * 2**20
    code = (
        "import sys; import vectors.wsgi, vectors.runner, vectors.management.commands.api, granian;"
        "vectors.wsgi.Application().django;"
        "unwanted = ('celery', 'boto3', 'rest_framework', 'azure', 'google', 'numpy', 'kubernetes',"
        " 'django.contrib.auth', 'cryptography', 'worker', 'deployments', 'costs');"
        "print([name for name in unwanted if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=api_environment("postgresql:///x"),
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_long_stream_in_little_memory(serve):
    """Chunked NDJSON through granian: more than a body may hold, results for every line, calls beside it."""
    server = serve(AINDUS_MAX_BODY_BYTES=str(2**20))
    server.ready()
    name = f"streamed-{server.port}"
    assert server.call("POST", "collections", {"name": name, "dimension": 64})[0] == 201
    count, vector = 40_000, ",".join(["0.12345678"] * 64)
    beside = []

    def chunks():
        for start in range(0, count, 1000):
            if start == count // 2:
                beside.append(server.call("POST", f"collections/{name}/count", {})[1]["count"])
            yield "".join(
                f'{{"id":"{at}","vector":[{vector}]}}\n' for at in range(start, start + 1000)
            ).encode()

    def resident():
        parts = [Path(f"/proc/{pid}/smaps_rollup") for pid in descendants(server.process.pid)]
        return max(int(part.read_text().split("Pss:")[1].split()[0]) for part in parts if part.exists())

    try:
        before = resident()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        headers = server.headers | {"Content-Type": "application/x-ndjson"}
        connection.request(
            "POST", f"/api/v1/vectors/collections/{name}/points", chunks(), headers, encode_chunked=True
        )
        response = connection.getresponse()
        assert response.status == 200
        found = [json.loads(line) for line in response.read().splitlines()]
        connection.close()
        summary = found.pop()["summary"]
        assert (summary["upserted"], summary["failed"]) == (count, 0)
        assert [result["line"] for result in found if "line" in result] == list(range(1, count + 1))
        # What was sent before has been written while the rest was still to come.
        assert 0 < beside[0] <= count // 2
        assert resident() - before < 30_000, "KiB more than before a stream of 28 MB"
        assert server.call("POST", f"collections/{name}/count", {})[1] == {"count": count}
        # A client that goes away in the middle leaves the place to the next.
        with socket.create_connection(("127.0.0.1", server.port)) as broken:
            broken.sendall(
                f"POST /api/v1/vectors/collections/{name}/points HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: {server.headers['Authorization']}\r\n"
                "Content-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n{".encode()
            )
            time.sleep(0.3)
        good = {"Content-Type": "application/x-ndjson"}
        until(lambda: server.call("POST", f"collections/{name}/points", headers=good)[0] == 200)
    finally:
        server.call("DELETE", f"collections/{name}")


def test_held_folder_and_taken_port(serve, tmp_path):
    folder = tmp_path / "replica"
    first = serve("--no-runner", AINDUS_REPLICA_DIR=str(folder))
    first.ready()
    second = serve("--no-runner", AINDUS_REPLICA_DIR=str(folder))
    assert second.process.wait(timeout=10) == 75
    assert "is held" in second.log.read_text()
    third = serve("--no-runner", "--port", str(first.port))
    assert third.process.wait(timeout=10) == 76
    assert "cannot be listened on" in third.log.read_text()
    first.process.kill()
    first.process.wait()
    again = serve("--no-runner", AINDUS_REPLICA_DIR=str(folder))
    again.ready()


def test_kill_leaves_no_child(serve):
    server = serve("--workers", "2")
    server.ready()
    children = until(lambda: len(found := descendants(server.process.pid)) >= 3 and found)
    server.process.kill()
    server.process.wait()
    until(lambda: not any(alive(pid) for pid in children), seconds=5)
    until(lambda: server.status() == 0, seconds=5)


def test_a_dead_worker_is_replaced_and_counters_go_on(serve):
    server = serve("--workers", "2", "--no-runner")
    server.ready()

    def counted():
        text = server.call("GET", "/metrics")[1].decode()
        lines = [
            line
            for line in text.splitlines()
            if line.startswith('aindusdb_api_requests_total{route="health"')
        ]
        return float(lines[0].split()[1]) if lines else 0.0

    for _ in range(40):
        assert server.call("GET", "/health")[0] == 200
    before = counted()
    assert before >= 40
    victim = descendants(server.process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(now := descendants(server.process.pid)) == 2 and victim not in now, seconds=20)
    until(lambda: server.status("/health") == 200)
    assert counted() >= before


def test_sigterm_finishes_what_runs(serve, vectors_url):
    server = serve("--no-runner", "--threads", "4")
    server.ready()
    found = server.call("POST", "collections", {"name": "slow", "dimension": 2, "metric": "l2"})[1]
    results = []

    def upsert(at):
        body = {"points": [{"id": str(at), "vector": [at, 1]}]}
        results.append(server.call("POST", "collections/slow/points", body)[0])

    threads = [threading.Thread(target=upsert, args=[at]) for at in range(4)]
    with psycopg.connect(vectors_url) as db, psycopg.connect(vectors_url, autocommit=True) as other:
        table = f"vectors_data.p_{ids.decode('col', found['id']).hex}"
        db.execute(f"LOCK TABLE {table} IN SHARE MODE")
        for thread in threads:
            thread.start()
        waiting = (
            "SELECT count(*) = 4 FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        until(lambda: other.execute(waiting).fetchone()[0])
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None
        db.commit()
        for thread in threads:
            thread.join(timeout=5)
        assert results == [200] * 4, server.log.read_text()
        assert server.process.wait(timeout=10) == 0
        other.execute("DELETE FROM vectors_collection WHERE name = 'slow'")
        other.execute(f"DROP TABLE {table}")


class Postgres:
    """A PostgreSQL of one test's own, to stop and start."""

    def __init__(self, folder):
        folder.chmod(0o711)
        self.layout = embedded.Layout(folder)
        embedded.prepare(self.layout)
        self.process = None

    def start(self):
        command, arguments = embedded.postgres_command(self.layout)
        command += ["-c", "fsync=off", "-c", "shared_buffers=64MB"]
        with (self.layout.logs / "postgres.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, preexec_fn=die_with_tests, **arguments
            )

        def up():
            with contextlib.suppress(psycopg.Error):
                embedded.ensure_database(self.layout)
                return True

        until(up)

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=20)
            self.process = None


@pytest.fixture
def postgres(tmp_path_factory):
    made = Postgres(tmp_path_factory.mktemp("pg"))
    made.start()
    yield made
    made.stop()


def test_postgres_away_and_back(serve, postgres):
    url = postgres.layout.database_url
    server = serve("--threads", "4", url=url)
    until(lambda: server.status("/health") == 200)
    status, problem, headers = server.call("GET", "/ready")
    assert status == 503
    assert "migrate" in problem["checks"]["schema"]
    migrate(url)
    server.ready()
    server.call("POST", "collections", {"name": "p", "dimension": 2})
    points = {"points": [{"id": "a", "vector": [1, 2]}]}
    query = {"vector": [1, 2]}
    assert server.call("POST", "collections/p/points", points)[0] == 200
    assert server.call("POST", "collections/p/query", query)[0] == 200
    postgres.stop()
    for method, path, body in (
        ("POST", "collections/p/query", query),
        ("POST", "collections/p/points", points),
        ("GET", "collections", None),
        ("GET", "/ready", None),
    ):
        status, problem, headers = server.call(method, path, body)
        assert status == 503, (path, problem)
        assert int(headers["Retry-After"]) >= 1
        assert headers["Content-Type"] == "application/problem+json"
    assert "database" in problem["checks"]
    assert server.status("/health") == 200
    assert server.call("GET", "/metrics")[0] == 200
    postgres.start()
    until(lambda: server.status() == 200)
    for path, body in (("query", query), ("points", points), ("query", query)) * 4:
        assert server.call("POST", f"collections/p/{path}", body)[0] == 200
    # A restart between two requests is not seen at all.
    postgres.stop()
    postgres.start()
    for path, body in (("query", query), ("points", points), ("query", query)) * 4:
        assert server.call("POST", f"collections/p/{path}", body)[0] == 200
    assert "Traceback" not in server.log.read_text()


def test_a_dead_runners_job_is_taken_over(serve, vectors_url):
    first = serve()
    first.ready()
    first.call("POST", "collections", {"name": "built", "dimension": 128, "metric": "l2"})
    try:
        for start in range(0, 12_000, 4000):
            values = [float((n * 7919 + start) % 1009) for n in range(128 * 4000)]
            body = {"ids": [str(start + n) for n in range(4000)], "vectors_b64": b64(values)}
            assert first.call("POST", "collections/built/points", body)[0] == 200
        status, job, _ = first.call("POST", "collections/built/index", {"ef_construction": 200})
        assert status == 202

        def building():
            return first.call("GET", f"jobs/{job['id']}")[1]["state"] == "running"

        until(building)
        second = serve()
        first.process.kill()
        second.ready()
        seen = []

        def done():
            state = second.call("GET", "collections/built/index")[1]
            seen.append(state["percent"])
            return state["state"] == "ready" and state

        state = until(done, seconds=60, every=0.1)
        assert state["job"]["attempt"] == 2
        with psycopg.connect(vectors_url) as db:
            invalid = db.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchone()[0]
        assert invalid == 0
    finally:
        until(lambda: second.status() == 200)
        second.call("DELETE", "collections/built", timeout=60)


def test_a_port_is_claimed_before_anything_listens_on_it():
    port, claim = replica.claim_port("127.0.0.1", 0)
    with pytest.raises(replica.ReplicaError) as refused:
        replica.claim_port("127.0.0.1", port)
    assert refused.value.status == 76
    claim.close()
    again, claim = replica.claim_port("127.0.0.1", port)
    claim.close()
    assert again == port
