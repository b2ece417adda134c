"""Everything out of one target and into another: bench/transfer --data DIR

DIR holds points.ndjson.gz, embeddings.f16.npy, queries.f16.npy and truth_top100.i32.npy; without it documents
are generated. Two targets, each a database and a `manage.py api` of its own: the documents are loaded into
one, exported as NDJSON and as Parquet, uploaded to the other and imported there. The table has the rates, and
whether counts, checksums and the ten nearest of each query are equal. Exit status 0 only if they all are.

Uses the server of DATABASE_URL, where it may create databases, or else one that it starts and removes.
"""

import argparse
import base64
import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jwt  # noqa: E402
import psycopg  # noqa: E402
from psycopg.conninfo import make_conninfo  # noqa: E402

from controlplane import embedded  # noqa: E402
from controlplane.supervisor.preflight import free_port  # noqa: E402
from deployments.first_light import documents as texts  # noqa: E402

KEY = "bench-" * 12
TOKEN = jwt.encode({"sub": "bench", "role": "admin", "exp": time.time() + 7200}, KEY, algorithm="HS256")
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
BATCH = 1000
PART_BYTES = 32 * 2**20
TOP_K = 10
COLLECTION = "docs"
WAIT_SECONDS = 600


class Target:
    """A database and a vector API that serves it."""

    def __init__(self, server: str, name: str, folder: Path):
        self.server, self.name = server, f"bench_{name}_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(server, autocommit=True) as db:
            db.execute(f"CREATE DATABASE {self.name}")
        environment = os.environ | {
            "AINDUS_ROLE": "api",
            "AINDUS_DATA_DIR": str(folder / "none"),
            "DATABASE_URL": make_conninfo(server, dbname=self.name),
            "JWT_SECRET_KEY": KEY,
            "AINDUS_ACCESS_LOG": "false",
            "DJANGO_SETTINGS_MODULE": "controlplane.settings",
        }
        manage = [sys.executable, str(ROOT / "manage.py")]
        subprocess.run([*manage, "migrate", "vectors", "-v0"], env=environment, check=True)
        self.port = free_port()
        with (folder / f"{self.name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*manage, "api", "--port", str(self.port)], env=environment, stdout=log, stderr=log
            )
        self.until(lambda: self.ready() or self.process.poll() is not None)

    def until(self, check):
        """check()'s first true value."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (value := check()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} took longer than {WAIT_SECONDS} s")
            time.sleep(0.02)
        return value

    def ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self.request("GET", "/ready", None, HEADERS)[0] == 200
        return False

    def request(self, method: str, path: str, body, headers, sink=None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        with contextlib.closing(connection):
            path = path if path.startswith("/") else f"/api/v1/vectors/{path}"
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            if sink is None or response.status != 200:
                return response.status, response.read()
            while part := response.read(2**20):
                sink.write(part)
            return response.status, b""

    def call(self, method: str, path: str, body=None):
        status, answer = self.request(method, path, None if body is None else json.dumps(body), HEADERS)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {answer[:500]!r}")
        return json.loads(answer) if answer else None

    def export(self, format: str, path: Path) -> None:
        with path.open("wb") as file:
            status, answer = self.request(
                "GET", f"collections/{COLLECTION}/export?format={format}", None, HEADERS, file
            )
        if status != 200:
            raise RuntimeError(f"export: {status} {answer[:500]!r}")

    def upload(self, path: Path) -> str:
        made = self.call("POST", f"collections/{COLLECTION}/uploads", {"size_bytes": path.stat().st_size})
        raw = HEADERS | {"Content-Type": "application/octet-stream"}
        offset = 0
        with path.open("rb") as file:
            while part := file.read(PART_BYTES):
                status, answer = self.request("PUT", f"uploads/{made['id']}?offset={offset}", part, raw)
                if status != 200:
                    raise RuntimeError(f"upload: {status} {answer[:500]!r}")
                offset += len(part)
        return made["id"]

    def done(self, job: dict) -> dict:
        """The job when it has ended; RuntimeError when it did not succeed."""

        def ended():
            now = self.call("GET", f"jobs/{job['id']}")
            return now["finished_at"] and now

        found = self.until(ended)
        if found["state"] != "succeeded":
            raise RuntimeError(f"{found['kind']}: {found['state']} {found['error']}")
        return found

    def answers(self, queries) -> list:
        """Ids and scores of the nearest of each query, exactly."""
        found = []
        for query in queries:
            body = {
                "vector": query.tolist(),
                "top_k": TOP_K,
                "exact": True,
                "include": ["content", "metadata"],
            }
            found.append(self.call("POST", f"collections/{COLLECTION}/query", body)["matches"])
        return found

    def make(self, dimension: int) -> None:
        self.call("POST", "collections", {"name": COLLECTION, "dimension": dimension, "auto_index": False})

    def load(self, found: texts.Documents) -> None:
        self.make(found.dimension)
        for begin in range(0, len(found.ids), BATCH):
            end = begin + BATCH
            body = {
                "ids": found.ids[begin:end],
                "vectors_b64": base64.b64encode(found.vectors[begin:end].astype("<f4").tobytes()).decode(),
                "contents": found.contents[begin:end],
                "metadata": found.metadata[begin:end],
            }
            self.call("POST", f"collections/{COLLECTION}/points", body)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        with psycopg.connect(self.server, autocommit=True) as db:
            db.execute(f"DROP DATABASE {self.name} WITH (FORCE)")


@contextlib.contextmanager
def server(folder: Path):
    """The connection string of a server: the one of DATABASE_URL, or one that is started for this run."""
    if given := os.environ.get("DATABASE_URL"):
        yield given
        return
    folder.chmod(0o711)
    layout = embedded.Layout(folder)
    embedded.prepare(layout)
    command, arguments = embedded.postgres_command(layout)
    with (layout.logs / "postgres.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, **arguments)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                embedded.ensure_database(layout)
                break
            except psycopg.Error:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield make_conninfo(layout.database_url, dbname="postgres")
    finally:
        process.terminate()
        process.wait()


def timed(work) -> tuple[float, object]:
    began = time.perf_counter()
    value = work()
    return time.perf_counter() - began, value


def moved(
    source: Target, target: Target, format: str, found: texts.Documents, queries: int, folder: Path
) -> tuple[str, bool]:
    """A row of the table, and whether everything is equal."""
    count, path = len(found.ids), folder / f"docs.{format}"
    export_seconds, _ = timed(lambda: source.export(format, path))
    size = path.stat().st_size / 2**20
    target.make(found.dimension)
    try:
        upload_seconds, upload = timed(lambda: target.upload(path))
        body = {"upload": upload, "format": format}
        import_seconds, job = timed(
            lambda: target.done(target.call("POST", f"collections/{COLLECTION}/import", body))
        )
        sums = [one.call("GET", f"collections/{COLLECTION}/checksum") for one in (source, target)]
        asked = found.queries[:queries]
        answers = [one.answers(asked) for one in (source, target)]
    finally:
        target.call("DELETE", f"collections/{COLLECTION}")
    equal = [
        sums[0]["points"] == sums[1]["points"] == count == job["result"]["rows"],
        sums[0]["checksum"] == sums[1]["checksum"],
        job["result"]["verified"] == 1,
    ]
    same = sum(one == other for one, other in zip(*answers, strict=True))
    words = ["equal" if found else "DIFFERENT" for found in equal]
    row = (
        f"{format:8}{size:9.1f}{count / export_seconds:12,.0f}{size / upload_seconds:11.0f}"
        f"{count / import_seconds:12,.0f}{count / (export_seconds + upload_seconds + import_seconds):12,.0f}"
        f"{words[0]:>11}{words[1]:>11}{words[2]:>11}{same:>8}/{len(asked)}"
    )
    return row, all(equal) and same == len(asked)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the folder of documents")
    parser.add_argument("--generated", type=int, default=20_000, help="how many to generate without --data")
    parser.add_argument("--queries", type=int, default=200, help="how many queries are compared")
    options = parser.parse_args()
    if options.data:
        found = texts.read(options.data)
    else:
        found = texts.generated(options.generated, options.queries, 384)
    good = True
    with tempfile.TemporaryDirectory(prefix="aindus-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        url = stack.enter_context(server(folder))
        targets = []
        for name in ("from", "to"):
            targets.append(Target(url, name, folder))
            stack.callback(targets[-1].stop)
        source, target = targets
        seconds, _ = timed(lambda: source.load(found))
        print(f"{len(found.ids):,} documents of {found.dimension} dimensions, loaded in {seconds:.1f} s")
        took = source.call("GET", f"collections/{COLLECTION}/checksum")
        print(f"checksum {took['checksum']} of {took['points']:,} points in {took['took_ms']:,.0f} ms")
        print(
            f"\n{'format':8}{'MiB':>9}{'export r/s':>12}{'upld MiB/s':>11}{'import r/s':>12}"
            f"{'in all r/s':>12}{'count':>11}{'checksum':>11}{'manifest':>11}{'answers':>12}"
        )
        for format in ("ndjson", "parquet"):
            row, equal = moved(source, target, format, found, options.queries, folder)
            print(row, flush=True)
            good = good and equal
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
