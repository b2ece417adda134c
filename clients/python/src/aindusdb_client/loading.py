"""Points of any number into a collection: in batches, several at once if asked, or as one stream of lines."""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from aindusdb_client import endpoints
from aindusdb_client.encoding import Batch, PointLike, line_of
from aindusdb_client.errors import ApiError, LoadIncompleteError, NoAnswerError, api_error
from aindusdb_client.models import PointResult, StreamResult, UpsertResult, build
from aindusdb_client.progress import Meter
from aindusdb_client.transport import Answer, Deadline, Transport, decoded, encoded

ERRORS_KEPT = 1000
# Lines are sent in pieces of this size.
PIECE_BYTES = 64 * 1024
# What an iterator gave is kept up to this size, so that it can be sent again when it is refused early.
REPLAYED_BYTES = 8 * 2**20


def length_of(points: Iterable[Any]) -> int | None:
    """How many there are, if that can be told without reading them."""
    return len(points) if isinstance(points, Sized) else None


def upsert_batches(
    transport: Transport, collection: str, found: Iterator[Batch], meter: Meter, parallel: int
) -> UpsertResult:
    """Write batches, up to `parallel` at once; of the first error no further batch is begun.

    The error raised tells in `rows_done` how many rows were written before.
    """
    done = 0

    def write(batch: Batch) -> tuple[Batch, UpsertResult]:
        body = batch.body()
        answer = transport.call(endpoints.UPSERT, {"collection": collection}, body)
        return batch, build(UpsertResult, answer)

    def note(batch: Batch, result: UpsertResult) -> None:
        nonlocal done
        done += result.upserted
        meter.add(rows=len(batch), bytes=batch.size)

    try:
        if parallel == 1:
            for batch in found:
                note(*write(batch))
        else:
            for outcome in in_order(write, found, parallel):
                note(*outcome)
    except ApiError as error:
        error.rows_done = done
        error.add_note(f"{done} rows were written before.")
        raise
    finally:
        meter.end()
    return UpsertResult(done, [])


def in_order(
    work: Callable[[Batch], tuple[Batch, UpsertResult]], found: Iterator[Batch], parallel: int
) -> Iterator[tuple[Batch, UpsertResult]]:
    """The results of work on each, up to `parallel` at once, in the order given."""
    with ThreadPoolExecutor(parallel, thread_name_prefix="aindusdb-upsert") as pool:
        running: collections.deque[Future[tuple[Batch, UpsertResult]]] = collections.deque()
        try:
            for batch in found:
                if len(running) >= parallel:
                    yield running.popleft().result()
                running.append(pool.submit(work, batch))
            while running:
                yield running.popleft().result()
        finally:
            for one in running:
                one.cancel()


class Lines:
    """Points as lines, in pieces, given anew while that is possible.

    What can be iterated twice (a list, a reader of one's own) is; of an iterator the first REPLAYED_BYTES
    are kept.
    """

    def __init__(self, points: Iterable[PointLike], meter: Meter) -> None:
        self.points = points
        self.meter = meter
        self.twice = iter(points) is not points
        self.rest = self._pieces()
        self.kept: list[tuple[int, bytes]] = []
        self.kept_bytes = 0

    def again(self) -> bool:
        """Whether all can be given once more."""
        return self.twice or self.kept_bytes <= REPLAYED_BYTES

    def __iter__(self) -> Iterator[bytes]:
        self.meter.rows = self.meter.bytes = 0
        pieces = self._pieces() if self.twice else itertools.chain(list(self.kept), self._keeping())
        for rows, piece in pieces:
            yield piece
            self.meter.add(rows=rows, bytes=len(piece))

    def _keeping(self) -> Iterator[tuple[int, bytes]]:
        for rows, piece in self.rest:
            self.kept_bytes += len(piece)
            if self.again():
                self.kept.append((rows, piece))
            else:
                self.kept.clear()
            yield rows, piece

    def _pieces(self) -> Iterator[tuple[int, bytes]]:
        held, size = [], 0
        for point in self.points:
            line = encoded(line_of(point)) + b"\n"
            held.append(line)
            size += len(line)
            if size >= PIECE_BYTES:
                yield len(held), b"".join(held)
                held, size = [], 0
        if held:
            yield len(held), b"".join(held)


def upsert_lines(
    transport: Transport,
    collection: str,
    points: Iterable[PointLike],
    *,
    query: dict[str, Any],
    on_result: Callable[[PointResult], None] | None,
    meter: Meter,
) -> StreamResult:
    """Send points as one stream of lines, and read what became of each."""
    lines = Lines(points, meter)
    # A stream takes as long as it takes; that nothing moves for idle_timeout is what ends it.
    deadline = Deadline(None)

    def once() -> StreamResult:
        answer = transport.send(
            endpoints.UPSERT,
            {"collection": collection},
            query,
            lines,
            {"Content-Type": "application/x-ndjson"},
            deadline,
        )
        if answer.status >= 400:
            raise api_error(answer.status, answer.headers, b"".join(answer.parts()))
        return results_of(answer, on_result)

    try:
        result: StreamResult = transport.tried(once, True, deadline, resend=lines.again)
        return result
    finally:
        meter.end()


def results_of(answer: Answer, on_result: Callable[[PointResult], None] | None) -> StreamResult:
    """The end of a stream; each line's result is given to `on_result`."""
    errors: list[PointResult] = []
    found = answer.lines()
    try:
        for raw in found:
            line = decoded(raw)
            if "summary" in line:
                # To its end, so that the connection can be used again.
                for _ in found:
                    pass
                return _summed(line["summary"], errors)
            if "line" not in line:
                continue
            result = build(PointResult, line)
            if result.error is not None and len(errors) < ERRORS_KEPT:
                errors.append(result)
            if on_result is not None:
                on_result(result)
    except NoAnswerError as error:
        raise LoadIncompleteError(str(error)) from error
    raise LoadIncompleteError("The answer ended without its summary.")


def _summed(summary: dict[str, Any], errors: list[PointResult]) -> StreamResult:
    problem = summary.get("error")
    if problem:
        raise LoadIncompleteError(
            str(problem.get("detail", "")),
            upserted=int(summary["upserted"]),
            code=str(problem.get("code", "")),
            retry_after=problem.get("retry_after"),
        )
    return StreamResult(
        lines=summary["lines"],
        upserted=summary["upserted"],
        failed=summary["failed"],
        took_ms=summary["took_ms"],
        errors=errors,
    )
