"""Upserts of any size: NDJSON in, a result for every line out, in bounded memory.

Lines are written batch by batch, each whole or not at all. Results are kept aside (on disk when there are
many) until the input ends, because a client that sends everything before it reads would otherwise wait for
a server that waits for it; a line of progress now and then keeps proxies from giving up.
"""

import tempfile
import threading
import time

import orjson
from django.conf import settings

from controlplane.errors import InvalidError, ProblemError, TooManyRequestsError
from vectors import batches, bodies, collections, database, upserts

READ_BYTES = 64 * 1024
LINE_BYTES_MOST = 4 * 2**20
BATCH_LINES = 500
BATCH_BYTES_MOST = 8 * 2**20
RESULTS_IN_MEMORY_BYTES = 2**20
PROGRESS_SECONDS = 10.0

_places: threading.BoundedSemaphore | None = None


class Line(bodies.Point):
    """A line of the input: a point, with the namespace it goes to."""

    namespace: bodies.Namespace | None = None


def place() -> threading.BoundedSemaphore:
    """The streams this process serves at once: a thread stays free for everything else."""
    global _places
    if _places is None:
        _places = threading.BoundedSemaphore(max(1, settings.VECTORS["threads"] - 1))
    return _places


def place_take() -> None:
    """Take the place of one stream, until place().release(); TooManyRequestsError when there is none."""
    if not place().acquire(blocking=False):
        raise TooManyRequestsError(
            "As many streams as this replica takes are under way; try again.", retry_after_seconds=5
        )


def points_stream(name: str, read, *, namespace: str, batch_lines: int, errors_only: bool):
    """The Stream of NDJSON answers to the lines that read(size) gives; what concerns all lines is raised."""
    collections.collection_get(name)
    place_take()
    return Stream(name, read, namespace=namespace, batch_lines=batch_lines, errors_only=errors_only)


class Stream:
    """One stream being loaded: iterate over its answer, then close it."""

    def __init__(self, name: str, read, *, namespace: str, batch_lines: int, errors_only: bool):
        self.name = name
        self.read = read
        self.namespace = namespace
        self.batch_lines = batch_lines
        self.errors_only = errors_only
        self.results = tempfile.SpooledTemporaryFile(RESULTS_IN_MEMORY_BYTES)  # noqa: SIM115
        self.lines = self.upserted = self.failed = 0
        # Of the batch in the making: (line, point), its bytes, and the errors among its lines.
        self.pending: list[tuple[int, Line]] = []
        self.pending_bytes = 0
        self.outcomes: dict[int, dict] = {}
        self.closed = False
        self.parts = self.run()

    def __iter__(self):
        return self.parts

    def close(self) -> None:
        """Give the stream's place free; whoever serves it calls this at its end, however it ends."""
        if not self.closed:
            self.closed = True
            self.parts.close()
            self.results.close()
            place().release()

    def run(self):
        started = told = time.monotonic()
        error = None
        try:
            for number, (raw, _) in enumerate(lines_of(self.read), 1):
                self.lines = number
                self.take(number, raw)
                held = max(len(self.pending), len(self.outcomes))
                if held >= self.batch_lines or self.pending_bytes >= BATCH_BYTES_MOST:
                    self.flush()
                if time.monotonic() - told > PROGRESS_SECONDS:
                    told = time.monotonic()
                    yield encoded({"progress": {"lines": self.lines, "upserted": self.upserted}})
            self.flush()
        except ProblemError as problem:
            error = problem.as_dict("")
        except OSError:
            error = bodies.BadJsonError("The body ended before its end.").as_dict("")
        self.results.seek(0)
        while part := self.results.read(READ_BYTES):
            yield part
        summary = {"lines": self.lines, "upserted": self.upserted, "failed": self.failed}
        if error is not None:
            summary["error"] = error
        yield encoded({"summary": summary | {"took_ms": round((time.monotonic() - started) * 1000, 3)}})

    def take(self, number: int, raw: bytes | None) -> None:
        """Put a line into the batch, or note what is wrong with it; None is a line that is too long."""
        try:
            if raw is None:
                raise bodies.too_large(LINE_BYTES_MOST)
            if raw.strip():
                point = bodies.decode(Line, raw)
                if "\0" in (point.namespace or ""):
                    raise InvalidError("Texts must not hold the character NUL.", field="namespace")
                self.pending.append((number, point))
                self.pending_bytes += len(raw)
        except ProblemError as problem:
            self.outcomes[number] = error_of(problem)

    def flush(self) -> None:
        """Write the batch, of each namespace whole or not at all, and note the results of its lines."""
        by_namespace: dict[str, list[tuple[int, Line]]] = {}
        for number, point in self.pending:
            space = self.namespace if point.namespace is None else point.namespace
            by_namespace.setdefault(space, []).append((number, point))
        self.pending, self.pending_bytes = [], 0
        for space, items in by_namespace.items():
            self.write(space, items)
        for number in sorted(self.outcomes):
            outcome = self.outcomes[number]
            failed = "error" in outcome
            self.failed += failed
            self.upserted += not failed
            if failed or not self.errors_only:
                self.results.write(encoded({"line": number, **outcome}))
        self.outcomes = {}

    def write(self, namespace: str, items: list[tuple[int, Line]]) -> None:
        """Upsert a batch; what is wrong with single points is left out of it and told."""

        def work(collection):
            last = {point.id: number for number, point in items}
            # Of equal ids the last is written; the others are judged by themselves.
            good = [
                (number, point)
                for number, point in items
                if last[point.id] == number or self.sound(collection, number, point)
            ]
            try:
                upsert(collection, good)
            except InvalidError as refused:
                asked = len(good)
                good = [item for item in good if self.sound(collection, *item)]
                if len(good) == asked:
                    for number, point in good:
                        self.outcomes[number] = {"id": point.id, **error_of(refused)}
                    return
                upsert(collection, good)
            for number, point in good:
                self.outcomes[number] = {"id": point.id, "status": "upserted"}

        def upsert(collection, chosen):
            batch = batches.batch_from_points(
                [point for _, point in chosen], collection.dimension, collection.form
            )
            database.pool().call(
                lambda connection: upserts.points_upsert(
                    connection, collection, namespace=namespace, batch=batch
                )
            )

        collections.working_on(self.name, work)

    def sound(self, collection, number: int, point: Line) -> bool:
        """Whether a point can be written; if not, its error is noted."""
        try:
            batch = batches.batch_from_points([point], collection.dimension, collection.form)
            batches.check(batch)
            problem = batches.fault(batch, [0], collection.metric)
        except InvalidError as error:
            problem = error
        if problem is not None:
            self.outcomes[number] = {"id": point.id, **error_of(problem)}
        return problem is None


def lines_of(read):
    """(line, end) of each line of an input: without its end, None for one that is too long, of which nothing
    is kept; and how many bytes of the input there are up to the next line."""
    rest, skipping, end = b"", False, 0
    while part := read(READ_BYTES):
        if skipping:
            skipped, found, part = part.partition(b"\n")
            end += len(skipped) + len(found)
            if not found:
                continue
            skipping = False
            yield None, end
        lines = (rest + part).split(b"\n")
        rest = lines.pop()
        for line in lines:
            end += len(line) + 1
            yield (line if len(line) <= LINE_BYTES_MOST else None), end
        if len(rest) > LINE_BYTES_MOST:
            end += len(rest)
            rest, skipping = b"", True
    if skipping:
        yield None, end
    elif rest:
        yield rest, end + len(rest)


def error_of(problem: ProblemError) -> dict:
    """A line's result when it was refused."""
    found = problem.as_dict("")
    errors = found["errors"] or [{"field": "", "code": found["code"], "message": found["detail"]}]
    field = errors[0]["field"].removeprefix("points[0].").encode("utf-8", "replace").decode()[:300]
    return {"error": {**errors[0], "field": field}}


def encoded(value: dict) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
