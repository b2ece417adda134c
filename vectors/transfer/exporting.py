"""Exports: a stream of a collection's points, or a job that writes them to a file or a URL."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator

from psycopg import errors as pg_errors

from controlplane import ids
from controlplane.errors import NotFoundError, ProblemError
from vectors import collections, database, points, replica, streams
from vectors.jobs import records
from vectors.jobs.work import CancelledError, FailedError, Work
from vectors.transfer import ndjson, places
from vectors.transfer.reading import Pages
from vectors.transfer.sinks import open_sink, part_bytes

EXPORT = "points.export"
STOP_SECONDS = 5.0


def export_stream(
    name: str,
    *,
    format: str = "ndjson",
    vectors: str = "b64",
    namespace: str | None = None,
    filter: dict | None = None,
    after: tuple[str, str] | None = None,
) -> "Stream":
    """The stream of a collection's points; what concerns all of it is raised before it begins."""
    collections.collection_get(name)
    points.where(namespace, filter)
    streams.place_take()
    if format == "parquet":
        return Stream(parquet_of_process(name, namespace, filter))
    return Stream(lines(Pages(name, namespace=namespace, filter=filter, after=after), vectors))


class Stream:
    """One export being sent: iterate over it, then close it."""

    def __init__(self, parts: Iterator[bytes]):
        self.parts = parts
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self.parts

    def close(self) -> None:
        """Give the stream's place free; whoever serves it calls this at its end, however it ends."""
        if not self.closed:
            self.closed = True
            try:
                self.parts.close()
            finally:
                streams.place().release()


def lines(pages: Pages, vectors: str) -> Iterator[bytes]:
    """The lines of pages, and the manifest."""
    manifest: dict = {}
    if pages.after is not None:
        manifest["after"] = pages.after
    try:
        for page in pages:
            yield b"".join([ndjson.line_of(row, vectors, pages.form) for row in page])
    except ProblemError as problem:
        manifest["error"] = problem.as_dict("")
    checksum = pages.checksum if vectors != "none" else None
    yield ndjson.manifest_line(points=pages.points, checksum=checksum, **manifest)


def parquet_of_process(name: str, namespace: str | None, filter: dict | None) -> Iterator[bytes]:
    """Parquet as `manage.py vectors_export` writes it: what makes it is too large for a serving process.

    The process ends at the latest when it writes and nobody reads.
    """
    options = json.dumps({"namespace": namespace, "filter": filter})
    process = subprocess.Popen(
        [sys.executable, "-m", "django", "vectors_export", name, "--options", options],
        env=replica.child_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        while part := process.stdout.read1(streams.READ_BYTES):
            yield part
        if process.wait():
            raise RuntimeError(f"the process of an export ended with {process.returncode}; see above")
    finally:
        process.stdout.close()
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        if process.poll() is None:
            process.kill()
            process.wait()


def parquet_write(file, name: str, *, namespace: str | None, filter: dict | None, told=None) -> Pages:
    """Write a collection as Parquet to a file that need not be seekable; told(pages) after each page."""
    from vectors.transfer.parquet import Writer

    pages = Pages(name, namespace=namespace, filter=filter)
    collection = collections.collection_get(name)
    writer = Writer(file, collection.dimension, collection.bits)
    for page in pages:
        writer.write(page)
        if told is not None:
            told(pages)
    writer.close({"points": pages.points, "checksum": pages.checksum})
    return pages


def export_start(
    *,
    name: str,
    path: str | None = None,
    url: str | None = None,
    format: str = "ndjson",
    vectors: str = "b64",
    namespace: str | None = None,
    filter: dict | None = None,
) -> dict:
    """Queue an export to a path or a URL; the job. InvalidError, ForbiddenError."""
    collection = collections.collection_load(name)
    points.where(namespace, filter)
    params: dict = {"format": format, "namespace": namespace, "filter": filter}
    if format == "ndjson":
        params["vectors"] = vectors
    if path is not None:
        places.path_allowed(path)
        params["path"] = path
    else:
        params["url"] = places.url_allowed(url)
    with database.pool().connection() as connection:
        try:
            job_id = records.job_queue(connection.db, collection.id, EXPORT, params)
        except pg_errors.ForeignKeyViolation:
            raise collections.unknown(name) from None
    return records.job_get(ids.encode("job", job_id))


def run(work: Work) -> dict:
    """Write what the job's parameters name; a file of lines goes on after the last part that was stored."""
    sink = open_sink(work.params, work.job_id)
    exporter = Exporter(work, sink)
    try:
        return exporter.run()
    except NotFoundError:
        # The collection.
        sink.abandon(exporter.state)
        raise CancelledError from None
    except (CancelledError, FailedError):
        sink.abandon(exporter.state)
        raise


class Exporter:
    """One run of an export job; the file that Parquet is written to."""

    def __init__(self, work: Work, sink):
        self.work = work
        self.sink = sink
        self.name = ids.encode("col", work.collection_id)
        self.scope = {"namespace": work.params["namespace"], "filter": work.params["filter"]}
        kept = work.progress.get("resume") or {}
        self.state = kept if sink.durable or kept.get("finished") else {}
        self.buffer = bytearray()
        self.began = time.monotonic()
        self.rows_before = 0
        self.bytes = 0

    def run(self) -> dict:
        if not self.state.get("complete"):
            if self.work.params["format"] == "ndjson":
                self.write_lines()
            else:
                self.write_parquet()
            self.put()
            self.state["complete"] = True
            self.report(phase="finishing")
        if not self.state.get("finished"):
            self.sink.finish(self.state)
            self.state["finished"] = True
            self.report(phase="done")
        return {
            "points": self.state["points"],
            "checksum": self.state["checksum"],
            "bytes": self.state["bytes"],
            "seconds": round(time.monotonic() - self.began, 3),
        }

    def write_lines(self) -> None:
        how, after = self.work.params["vectors"], None
        if self.state.get("after") and self.sink.resume(self.state):
            after = tuple(self.state["after"])
        else:
            self.begin()
        pages = Pages(self.name, **self.scope, after=after)
        pages.points, pages.sum = self.state.get("points", 0), self.state.get("sum", 0)
        self.rows_before, self.bytes = pages.points, self.state.get("bytes", 0)
        for page in pages:
            self.buffer += b"".join([ndjson.line_of(row, how, pages.form) for row in page])
            if len(self.buffer) >= part_bytes(len(self.state["parts"])):
                self.put()
                self.note(pages, how != "none")
                self.report()
        checksum = pages.checksum if how != "none" else None
        self.buffer += ndjson.manifest_line(points=pages.points, checksum=checksum)
        self.note(pages, how != "none")

    def write_parquet(self) -> None:
        # Its end speaks of all parts of it: it cannot go on in another process.
        self.begin()
        self.note(parquet_write(self, self.name, **self.scope, told=self.told), True)

    def begin(self) -> None:
        """Begin the file, anew when a runner that died had begun it."""
        if self.state:
            self.sink.abandon(self.state)
        self.state = self.sink.begin()
        self.report(phase="writing", rows_total=self.estimate())

    def estimate(self) -> int | None:
        if any(value is not None for value in self.scope.values()):
            return None
        return collections.collection_get(self.name).rows or None

    def note(self, pages: Pages, checked: bool) -> None:
        """Keep how far the parts that are stored bring it."""
        self.state |= {
            "after": pages.after,
            "points": pages.points,
            "sum": pages.sum,
            "checksum": pages.checksum if checked else None,
            "bytes": self.bytes + len(self.buffer),
        }

    def told(self, pages: Pages) -> None:
        self.work.report(rows=pages.points, bytes=self.bytes)

    def report(self, **more) -> None:
        rows = self.state.get("points", 0)
        seconds = max(time.monotonic() - self.began, 1e-3)
        self.work.report(
            force=True,
            resume=self.state,
            rows=rows,
            bytes=self.state.get("bytes", 0),
            rows_per_second=round((rows - self.rows_before) / seconds, 1),
            **more,
        )

    def put(self) -> None:
        """Store what is in the buffer as a part."""
        if self.buffer:
            part = bytes(self.buffer)
            self.sink.put(self.state, part)
            self.bytes += len(part)
            self.buffer.clear()

    # What pyarrow asks of a file that is written.

    closed = False

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        """Take bytes of a file in the making."""
        self.buffer += data
        if len(self.buffer) >= part_bytes(len(self.state["parts"])):
            self.put()
            # Not to go on from, but to be taken away by whoever begins anew.
            self.work.report(force=True, resume=self.state)
        return len(data)

    def flush(self) -> None:
        """Parts are stored when they are large enough."""

    def close(self) -> None:
        """The file ends when the export says so."""
