"""What a user would run instead, each in an environment of its own: bench/rivals has their requirements."""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.speed import machine
from bench.speed.client import Http, request
from bench.speed.documents import Documents
from tests.sdk.environments import python_of

FOLDER = machine.ROOT / "bench" / "rivals"
CHROMA = "/api/v2/tenants/default_tenant/databases/default_database/collections"


class Rival(NamedTuple):
    """A running server."""

    port: int
    pid: int

    def pids(self) -> list[int]:
        return [self.pid, *machine.children(self.pid)]


@contextlib.contextmanager
def fastapi(url: str, workers: int, table: str, ef: int):
    """FastAPI with asyncpg, written as people write it, on a table of the database."""
    port = machine.free_port()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    with machine.child(
        [
            *(python_of("fastapi", FOLDER), "-m", "uvicorn", "fastapi_asyncpg:app"),
            *("--port", str(port), "--workers", str(workers), "--log-level", "warning"),
        ],
        cwd=FOLDER,
        env=environment | {"BENCH_URL": _asyncpg_url(url), "BENCH_TABLE": table, "BENCH_EF": str(ef)},
    ) as process:
        machine.until(lambda: _answers(port, "/health"), 30, "FastAPI")
        yield Rival(port, process.pid)


def _asyncpg_url(url: str) -> str:
    """The libpq connection string as asyncpg takes it."""
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(url)
    host = f"&host={parts['host']}" if parts.get("host") else ""
    password = f":{parts['password']}" if parts.get("password") else ""
    place = f":{parts['port']}" if parts.get("port") else ""
    return f"postgresql://{parts['user']}{password}@{place}/{parts['dbname']}?{host.lstrip('&')}"


def _answers(port: int, path: str) -> bool:
    if not machine.listening(port):
        return False
    with contextlib.suppress(OSError, ConnectionError):
        client = Http(port)
        try:
            return client.answer(request("GET", path))[0] == 200
        finally:
            client.close()
    return False


class Chroma(Http):
    """chromadb's own server over HTTP."""

    name = "chromadb"

    def __init__(self, port: int, collection: str = ""):
        super().__init__(port)
        self.collection = collection

    def create(self, name: str, ef: int = 100) -> None:
        """Make a collection with the index parameters of the others, and work on it from now on."""
        body = {
            "name": name,
            "configuration": {
                "hnsw": {"space": "cosine", "max_neighbors": 16, "ef_construction": 64, "ef_search": ef}
            },
        }
        self.collection = json.loads(self.send(request("POST", CHROMA, body)))["id"]

    def addition(self, documents: Documents, start: int, end: int) -> bytes:
        """The request that adds some of the documents."""
        body = {
            "ids": documents.ids[start:end],
            "embeddings": documents.vectors[start:end].tolist(),
            "documents": documents.contents[start:end],
            "metadatas": documents.metadata[start:end],
        }
        return request("POST", f"{CHROMA}/{self.collection}/add", body)

    def question(self, vector: np.ndarray, k: int = 10) -> bytes:
        """The request for the nearest of a vector."""
        body = {
            "query_embeddings": [vector.tolist()],
            "n_results": k,
            "include": ["metadatas", "distances"],
        }
        return request("POST", f"{CHROMA}/{self.collection}/query", body)

    def found(self, answer: bytes) -> list[str]:
        return json.loads(answer)["ids"][0]


@contextlib.contextmanager
def chroma():
    """A chromadb server on a folder of its own."""
    python = python_of("chroma", FOLDER)
    with tempfile.TemporaryDirectory(prefix="aindus-bench-chroma-") as folder:
        port = machine.free_port()
        with (
            Path(os.devnull).open("ab") as out,
            machine.child(
                [python.parent / "chroma", "run", "--path", folder, "--port", str(port)],
                cwd=folder,
                env=os.environ | {"ANONYMIZED_TELEMETRY": "FALSE"},
                stdout=out,
                stderr=out,
            ) as process,
        ):
            machine.until(lambda: _answers(port, "/api/v2/heartbeat"), 60, "chromadb")
            yield Rival(port, process.pid)
