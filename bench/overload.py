"""The vector API under more than it can do: bench/overload

Queries arrive at random moments (Poisson) at a quarter of what one replica can do, at all of it, at twice and
four times as much, whether or not the former ones were answered. The table has for each setting of the queue
what was answered and how fast, what was refused (429) and how fast, errors, and how fast probes on new
connections were answered meanwhile. Needs DATABASE_URL of a server it may create a database in.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import random
import socket
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
DIMENSION = 384
CONNECTIONS_MOST = 2000
# A request that was not answered by then counts as an error.
PATIENCE_SECONDS = 10.0
QUEUES = {
    "unbounded": {"AINDUS_QUEUE_REQUESTS": "1000", "AINDUS_QUEUE_MS": "600000"},
    "default": {},
    "short (4)": {"AINDUS_QUEUE_REQUESTS": "4"},
}
LOADS = (0.25, 1, 2, 4)


def request(method: str, path: str, body=None) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    path = path if path.startswith("/") else f"/api/v1/vectors/{path}"
    return (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    ).encode() + data


class Connections:
    """Kept connections, as many as there are requests under way."""

    def __init__(self, port: int):
        self.port = port
        self.idle: list = []
        self.made = 0

    async def send(self, data: bytes) -> tuple[int, bytes]:
        """(status, body); OSError when there is no answer."""
        reader, writer = self.idle.pop() if self.idle else await self.connect()
        try:
            writer.write(data)
            head = await reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            at = lower.find(b"content-length:")
            length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            body = await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in lower:
            writer.close()
        else:
            self.idle.append((reader, writer))
        return int(head[9:12]), body

    async def connect(self):
        self.made += 1
        return await asyncio.open_connection("127.0.0.1", self.port)

    def close(self) -> None:
        while self.idle:
            self.idle.pop()[1].close()


class Round:
    """What came of the requests of one load."""

    def __init__(self):
        self.good: list[float] = []
        self.refused: list[float] = []
        self.errors = 0
        self.probes: dict[str, list[float]] = {"/health": [], "/ready": []}

    async def one(self, connections: Connections, data: bytes, due: float) -> None:
        """A request; its time counts from when it was due, however late this program was."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                status, _ = await connections.send(data)
        except (OSError, EOFError, TimeoutError):
            self.errors += 1
            return
        if status == 200:
            self.good.append(time.perf_counter() - due)
        elif status == 429:
            self.refused.append(time.perf_counter() - due)
        else:
            self.errors += 1

    async def probe(self, port: int) -> None:
        """Both probes four times a second, each on a connection of its own, as orchestrators do."""
        while True:
            for path, times in self.probes.items():
                connections, started = Connections(port), time.perf_counter()
                try:
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        status, _ = await connections.send(request("GET", path))
                    if status != 200:
                        self.errors += 1
                except (OSError, EOFError, TimeoutError):
                    self.errors += 1
                times.append(time.perf_counter() - started)
                connections.close()
            await asyncio.sleep(0.25)


async def offered(port: int, requests: list[bytes], rate: float, seconds: float) -> Round:
    """The round of so many requests a second, at random moments."""
    found, connections, tasks = Round(), Connections(port), set()
    prober = asyncio.create_task(found.probe(port))
    chosen = random.Random(5)
    started = due = time.perf_counter()
    while due < started + seconds:
        due += chosen.expovariate(rate)
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        if len(tasks) >= CONNECTIONS_MOST:
            found.errors += 1
            continue
        task = asyncio.create_task(found.one(connections, chosen.choice(requests), due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks)
    prober.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await prober
    connections.close()
    return found


async def capacity(port: int, requests: list[bytes], seconds: float, clients: int = 8) -> float:
    """Requests a second that clients get answered who ask again at once."""
    end, count = time.perf_counter() + seconds, 0

    async def client(at: int):
        nonlocal count
        connections = Connections(port)
        while time.perf_counter() < end:
            status, body = await connections.send(requests[at % len(requests)])
            if status != 200:
                raise RuntimeError(body)
            count += 1
            at += 1
        connections.close()

    await asyncio.gather(*(client(at * 7) for at in range(clients)))
    return count / seconds


class Server:
    """A replica on a free port, ended at the end."""

    def __init__(self, root: Path, url: str, arguments: list[str], queue: dict[str, str]):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("AINDUS_", "DATABASE_"))}
        self.environment = (
            environment
            | queue
            | {
                **{"AINDUS_ROLE": "api", "DATABASE_URL": url, "JWT_SECRET_KEY": KEY},
                **{"AINDUS_ACCESS_LOG": "false", "AINDUS_SLOW_REQUEST_MS": "3600000"},
            }
        )
        self.command = [sys.executable, "manage.py", "api", "--port", str(self.port), "--no-runner"]
        self.command += arguments
        self.root = root

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, cwd=self.root, env=self.environment, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError, EOFError):
                if asyncio.run(Connections(self.port).send(request("GET", "/ready")))[0] == 200:
                    return self.port
            if time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError("The server did not become ready.")
            time.sleep(0.05)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


async def load(port: int, points: int) -> list[bytes]:
    """Fill a collection without an index, whose queries take some milliseconds of the database's work."""
    source = np.random.default_rng(5)
    connections = Connections(port)
    body = {"name": "c", "dimension": DIMENSION, "auto_index": False}
    await connections.send(request("POST", "collections", body))
    for first in range(0, points, 1000):
        block = source.normal(size=(1000, DIMENSION)).astype("<f4")
        body = {
            "ids": [str(at) for at in range(first, first + 1000)],
            "vectors_b64": base64.b64encode(block.tobytes()).decode(),
        }
        status, answer = await connections.send(request("POST", "collections/c/points", body))
        if status != 200:
            raise RuntimeError(answer)
    connections.close()
    queries = source.normal(size=(100, DIMENSION)).round(5).tolist()
    return [request("POST", "collections/c/query", {"vector": query, "top_k": 10}) for query in queries]


def at(times: list[float], share: float) -> str:
    """A percentile in ms."""
    if not times:
        return "-"
    return f"{sorted(times)[min(int(len(times) * share), len(times) - 1)] * 1000:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=5000, help="in the collection that is searched")
    parser.add_argument("--seconds", type=float, default=8, help="of each load")
    parser.add_argument("--workers", default="2")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout whose server is measured")
    parser.add_argument("--queues", nargs="+", choices=QUEUES, default=list(QUEUES))
    arguments = parser.parse_args()
    server = make_conninfo(os.environ["DATABASE_URL"], dbname="postgres")
    name = f"bench_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")
    try:
        run(arguments, make_conninfo(os.environ["DATABASE_URL"], dbname=name))
    finally:
        with psycopg.connect(server, autocommit=True) as db:
            db.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(arguments, url: str) -> None:
    options = ["--workers", arguments.workers, "--threads", arguments.threads]
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "vectors", "-v0"],
        cwd=arguments.root,
        env=os.environ | {"AINDUS_ROLE": "api", "DATABASE_URL": url},
        check=True,
    )
    with Server(arguments.root, url, options, {}) as port:
        requests = asyncio.run(load(port, arguments.points))
        most = asyncio.run(capacity(port, requests, arguments.seconds))
    print(
        f"{arguments.points} points of {DIMENSION} dimensions searched exactly, {arguments.workers} workers"
        f" of {arguments.threads} threads: {most:.0f} queries/s at most (8 connections)"
    )
    heads = ("queue", "load", "sent/s", "answered/s", "refused/s", "errors", "answered p50 / p99 ms")
    heads += ("refused p50 / p99 ms", "/health p99 ms", "/ready p99 ms")
    widths = [10, 5, 7, 11, 10, 7, 22, 21, 15, 14]
    print("  ".join(head.rjust(width) for head, width in zip(heads, widths, strict=True)), flush=True)
    for queue in arguments.queues:
        with Server(arguments.root, url, options, QUEUES[queue]) as port:
            asyncio.run(capacity(port, requests, 1))
            for factor in LOADS:
                started = time.perf_counter()
                found = asyncio.run(offered(port, requests, most * factor, arguments.seconds))
                seconds = time.perf_counter() - started
                sent = len(found.good) + len(found.refused) + found.errors
                cells = (
                    *(queue, f"{factor:g}x", f"{sent / seconds:.0f}", f"{len(found.good) / seconds:.0f}"),
                    *(f"{len(found.refused) / seconds:.0f}", str(found.errors)),
                    f"{at(found.good, 0.5)} / {at(found.good, 0.99)}",
                    f"{at(found.refused, 0.5)} / {at(found.refused, 0.99)}",
                    *(at(found.probes[path], 0.99) for path in ("/health", "/ready")),
                )
                print(
                    "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)),
                    flush=True,
                )


if __name__ == "__main__":
    main()
