"""The vector API's hot path beside raw psycopg, in alternation: bench/vectors_hot_path --data DIR

Loads real documents (embeddings.f16.npy, points.ndjson.gz, queries.f16.npy, truth_top100.i32.npy) over HTTP,
builds the index, and runs the same queries through the API (role api, JWT, JSON bodies) and through psycopg
(prepared, binary, one process per connection). Needs DATABASE_URL of a server it may create a database in.
"""

import argparse
import base64
import gzip
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jwt  # noqa: E402
import numpy as np  # noqa: E402
import psycopg  # noqa: E402
from psycopg.conninfo import make_conninfo  # noqa: E402

KEY = "bench-" * 12
TOKEN = jwt.encode({"sub": "bench", "role": "admin", "exp": time.time() + 7200}, KEY, algorithm="HS256")


class Http:
    """One kept connection that sends ready-made requests."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> bytes:
        self.socket.sendall(request)
        data = self.socket.recv(1 << 20)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self.socket.recv(1 << 20)
        head = data[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        while len(data) < end + 4 + length:
            data += self.socket.recv(1 << 20)
        if not head.startswith((b"http/1.1 20", b"http/1.0 20")):
            raise RuntimeError(data[:500])
        return data[end + 4 :]


def request(method, path, body=None) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    return (
        f"{method} /api/v1/vectors/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    ).encode() + data


def http_worker(port, requests, seconds, start, results):
    client = Http(port)
    client.send(requests[0])
    start.wait()
    end, times, at = time.perf_counter() + seconds, [], os.getpid()
    while (now := time.perf_counter()) < end:
        client.send(requests[at % len(requests)])
        times.append(time.perf_counter() - now)
        at += 1
    results.put(times)


def raw_worker(url, statement, vectors, seconds, start, results):
    db = psycopg.connect(url, autocommit=True)
    db.execute("SET jit = off; SET enable_sort = off; SET hnsw.ef_search = 100")
    db.execute("SET hnsw.iterative_scan = relaxed_order")
    cursor = psycopg.RawCursor(db)

    class Vector(bytes):
        pass

    class Dumper(psycopg.adapt.Dumper):
        format = psycopg.pq.Format.BINARY

        def dump(self, obj):
            return bytes(obj)

    db.adapters.register_dumper(Vector, Dumper)
    head = len(vectors[0]).to_bytes(2, "big") + b"\0\0"
    packed = [Vector(head + np.asarray(v, dtype=">f4").tobytes()) for v in vectors]
    cursor = psycopg.RawCursor(db)
    for _ in range(6):
        cursor.execute(statement, [packed[0], ""], prepare=True, binary=True).fetchall()
    start.wait()
    end, times, at = time.perf_counter() + seconds, [], os.getpid()
    while (now := time.perf_counter()) < end:
        cursor.execute(statement, [packed[at % len(packed)], ""], prepare=True, binary=True).fetchall()
        times.append(time.perf_counter() - now)
        at += 1
    results.put(times)


def measure(target, connections, seconds, *arguments):
    """(requests/s, p50 ms, p99 ms) of so many processes."""
    start, results = multiprocessing.Barrier(connections), multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=target, args=(*arguments, seconds, start, results))
        for _ in range(connections)
    ]
    for process in processes:
        process.start()
    times = sorted(t for _ in processes for t in results.get())
    for process in processes:
        process.join()
    return len(times) / seconds, times[len(times) // 2] * 1000, times[int(len(times) * 0.99)] * 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--workers", default="2")
    parser.add_argument("--threads", default="2")
    arguments = parser.parse_args()
    server = os.environ["DATABASE_URL"]
    name = f"bench_{os.getpid()}"
    with psycopg.connect(make_conninfo(server, dbname="postgres"), autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")
    url = make_conninfo(server, dbname=name)
    environment = os.environ | {"AINDUS_ROLE": "api", "DATABASE_URL": url, "JWT_SECRET_KEY": KEY}
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "vectors", "-v0"], cwd=ROOT, env=environment, check=True
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api = subprocess.Popen(
        [
            sys.executable,
            "manage.py",
            "api",
            "--port",
            str(port),
            "--workers",
            arguments.workers,
            "--threads",
            arguments.threads,
        ],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        run(arguments, url, port)
    finally:
        api.terminate()
        api.wait()
        with psycopg.connect(make_conninfo(server, dbname="postgres"), autocommit=True) as db:
            db.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(arguments, url, port):
    folder = arguments.data
    vectors = np.load(folder / "embeddings.f16.npy").astype("<f4")
    queries = np.load(folder / "queries.f16.npy").astype("<f4")
    truth = np.load(folder / "truth_top100.i32.npy")
    with gzip.open(folder / "points.ndjson.gz", "rt") as file:
        documents = [json.loads(line) for line in file]
    client = None
    while client is None:
        try:
            client = Http(port)
        except OSError:
            time.sleep(0.05)
    client.send(
        request("POST", "collections", {"name": "c", "dimension": vectors.shape[1], "auto_index": False})
    )
    for form in ("json", "base64"):
        requests = []
        for start in range(0, len(vectors), 500):
            part, block = documents[start : start + 500], vectors[start : start + 500]
            if form == "json":
                body = {
                    "points": [
                        {"id": d["id"], "vector": v, "content": d["content"], "metadata": d["metadata"]}
                        for d, v in zip(part, block.tolist(), strict=True)
                    ]
                }
            else:
                client.send(request("POST", "collections/c/delete", {"all": True})) if start == 0 else None
                body = {
                    "ids": [d["id"] for d in part],
                    "vectors_b64": base64.b64encode(block.tobytes()).decode(),
                    "contents": [d["content"] for d in part],
                    "metadata": [d["metadata"] for d in part],
                }
            requests.append(request("POST", "collections/c/points", body))
        started = time.perf_counter()
        for one in requests:
            client.send(one)
        rate = len(vectors) / (time.perf_counter() - started)
        print(f"load, {form:6}  {rate:8.0f} points/s (500 a batch, 1 client)")
    client.send(request("POST", "collections/c/index", {}))
    while json.loads(client.send(request("GET", "collections/c/index")))["state"] != "ready":
        time.sleep(0.2)
    print("index  ", json.loads(client.send(request("GET", "collections/c/index")))["job"]["result"])
    hits = 0
    for query, best in zip(queries, truth, strict=True):
        body = {"vector": query.tolist(), "top_k": 10, "include": []}
        answer = json.loads(client.send(request("POST", "collections/c/query", body)))
        hits += len({match["id"] for match in answer["matches"]} & {documents[at]["id"] for at in best[:10]})
    print(f"recall@10  {hits / len(queries) / 10:.4f}  plan {answer['plan']}")
    requests = [
        request(
            "POST", "collections/c/query", {"vector": query.tolist(), "top_k": 10, "include": ["metadata"]}
        )
        for query in queries
    ]
    with psycopg.connect(url) as db:
        table = db.execute(
            "SELECT 'vectors_data.p_' || replace(id::text, '-', '') FROM vectors_collection"
        ).fetchone()
    statement = (
        f"SELECT id, embedding <=> $1, metadata::text FROM {table[0]} WHERE namespace = $2"
        " ORDER BY embedding <=> $1 LIMIT 10"
    )
    print(
        f"{'connections':12}{'raw/s':>9}{'api/s':>9}{'ratio':>7}{'raw p50/p99 ms':>20}{'api p50/p99 ms':>20}"
    )
    for connections in arguments.connections:
        raw, api = [], []
        for _ in range(arguments.rounds):
            raw.append(measure(raw_worker_at(url, statement, queries), connections, arguments.seconds))
            api.append(measure(http_worker_at(port, requests), connections, arguments.seconds))
        ratio = statistics.median(a[0] / r[0] for a, r in zip(api, raw, strict=True))
        r, a = sorted(raw)[len(raw) // 2], sorted(api)[len(api) // 2]
        print(
            f"{connections:<12}{r[0]:9.0f}{a[0]:9.0f}{ratio:7.2f}"
            f"{f'{r[1]:.2f} / {r[2]:.2f}':>20}{f'{a[1]:.2f} / {a[2]:.2f}':>20}"
        )


def raw_worker_at(*fixed):
    return lambda seconds, start, results: raw_worker(*fixed, seconds, start, results)


def http_worker_at(*fixed):
    return lambda seconds, start, results: http_worker(*fixed, seconds, start, results)


if __name__ == "__main__":
    main()
