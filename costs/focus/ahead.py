"""The next batch is judged while the one before it is written: one core reads, the other is PostgreSQL's."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from costs.files import StoredFile
from costs.focus.judging import Judged, Mapping, judge
from costs.focus.reading import Batch, batches
from costs.focus.summing import summed

# A file up to this size is read into memory at once; of a larger one only what is at hand is.
WHOLE_BYTES = 64 * 2**20


@contextmanager
def judged_ahead(file, place: dict, dimensions: tuple[str, ...]):
    """An iterator of (batch, judged rows, their sums) of a stored file from a place on.

    The thread that works ahead never touches the database: parts of a large file are read by the caller's.
    """
    stored = StoredFile(file)
    whole = file.bytes <= WHOLE_BYTES
    stream = io.BytesIO(stored.read()) if whole else stored
    source = batches(stream, file.format, file.bytes, place)

    def work(batch: Batch | None):
        if batch is None and (batch := next(source, None)) is None:
            return None
        judged = judge(batch.table, Mapping(batch.table.column_names), batch.line_of)
        return batch, judged, summed(judged.table, dimensions)

    def begin(pool: ThreadPoolExecutor):
        if whole:
            return pool.submit(work, None)
        batch = next(source, None)
        return batch and pool.submit(work, batch)

    def found(pool: ThreadPoolExecutor) -> Iterator[tuple[Batch, Judged, object]]:
        coming = begin(pool)
        while coming is not None and (ready := coming.result()) is not None:
            coming = begin(pool)
            yield ready

    with ThreadPoolExecutor(1, thread_name_prefix="costs") as pool:
        yield found(pool)
