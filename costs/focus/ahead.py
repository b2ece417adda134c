"""The next batch is judged while the one before it is written: one core reads, the other is PostgreSQL's."""

import io
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from costs.files import StoredFile
from costs.focus.judging import Mapping, judge
from costs.focus.problems import UnreadableFileError
from costs.focus.reading import Batch, batches
from costs.focus.summing import summed

# Files up to this size are read into memory at once; of a larger one only what is at hand is.
WHOLE_BYTES = 64 * 2**20


@contextmanager
def judged_ahead(files: Sequence, first: int, place: dict, dimensions: tuple[str, ...]):
    """An iterator of (number of the file, batch, judged rows, their sums) from a place in file `first` on.

    The thread that works ahead never touches the database: what it reads was fetched by the caller's. An
    UnreadableFileError is raised where the file is reached; its `number` is the file's.
    """
    work = _Whole(files, first, place) if all(one.bytes <= WHOLE_BYTES for one in files) else None
    work = work or _Large(files, first, place)

    def done(number: int, batch: Batch):
        try:
            mapping = Mapping(batch.table.column_names)
        except UnreadableFileError as error:
            error.number = number
            raise
        judged = judge(batch.table, mapping, batch.line_of)
        return number, batch, judged, summed(judged.table, dimensions)

    with ThreadPoolExecutor(1, thread_name_prefix="costs") as pool:
        yield work.results(pool, done)


def _each(files: Sequence, first: int, place: dict, opened) -> Iterator[tuple[int, Batch]]:
    for number in range(first, len(files)):
        file = files[number]
        try:
            for batch in batches(opened(number), file.format, file.bytes, place if number == first else {}):
                yield number, batch
        except UnreadableFileError as error:
            error.number = number
            raise


class _Whole:
    """Small files: the thread reads and judges; the caller fetches the next file meanwhile."""

    def __init__(self, files: Sequence, first: int, place: dict):
        self._files, self._next = files, first
        self._fetched: deque[bytes] = deque()
        self._source = _each(files, first, place, lambda number: io.BytesIO(self._fetched.popleft()))

    def _fetch(self, wanted: int) -> None:
        while len(self._fetched) < wanted and self._next < len(self._files):
            self._fetched.append(StoredFile(self._files[self._next]).read())
            self._next += 1

    def results(self, pool: ThreadPoolExecutor, done):
        def work():
            found = next(self._source, None)
            return found and done(*found)

        # A file gives a batch at least, or an error: two are enough for a step of the thread.
        self._fetch(2)
        coming = pool.submit(work)
        while (ready := coming.result()) is not None:
            self._fetch(2)
            coming = pool.submit(work)
            yield ready


class _Large:
    """Large files are read part by part by the caller, and judged by the thread."""

    def __init__(self, files: Sequence, first: int, place: dict):
        self._source = _each(files, first, place, lambda number: StoredFile(files[number]))

    def results(self, pool: ThreadPoolExecutor, done):
        found = next(self._source, None)
        coming = found and pool.submit(done, *found)
        while coming is not None:
            ready = coming.result()
            found = next(self._source, None)
            coming = found and pool.submit(done, *found)
            yield ready
