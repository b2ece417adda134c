"""A file of any format, read in batches of rows from where an earlier reader stopped."""

import gzip
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from costs.focus import csv_rows
from costs.focus.problems import Problem, UnreadableFileError

PARQUET, GZIP = "parquet", "csv.gz"
BATCH_ROWS = 50_000


@dataclass
class Batch:
    """Rows as they stand in the file; the next ones begin at `place`, `share` (0 to 1) is how far that is."""

    table: pa.Table
    line_of: Callable[[int], int]
    problems: list[Problem]
    place: dict
    share: float


def batches(stream: io.RawIOBase, format: str, size: int, place: dict) -> Iterator[Batch]:
    """The batches of a file of `size` bytes from a place on ({} is its start); UnreadableFileError."""
    try:
        if format == PARQUET:
            yield from _parquet(stream, place)
        else:
            yield from _csv(stream, format, size, place)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, gzip.BadGzipFile, EOFError, OSError) as error:
        raise UnreadableFileError(f"The file cannot be read: {error}") from error


def _csv(stream, format: str, size: int, place: dict) -> Iterator[Batch]:
    raw = io.BufferedReader(stream, 2**20)
    data = gzip.GzipFile(fileobj=raw) if format == GZIP else raw
    if not place:
        names, byte, line = csv_rows.header_of(data)
    else:
        names, byte, line = place["names"], place["byte"], place["line"]
    data.seek(byte)
    for block in csv_rows.blocks(data, names, byte, line):
        yield Batch(
            block.table,
            block.lines.__getitem__,
            block.problems,
            {"names": names, "byte": block.next_byte, "line": block.next_line},
            min(1.0, stream.tell() / size),
        )


def _parquet(stream, place: dict) -> Iterator[Batch]:
    file = pq.ParquetFile(pa.PythonFile(stream, mode="r"))
    total = file.metadata.num_rows or 1
    first = sum(file.metadata.row_group(group).num_rows for group in range(place.get("group", 0)))
    done_before = place.get("row", 0)
    for group in range(place.get("group", 0), file.num_row_groups):
        at = 0
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group]):
            begin, at = at, at + batch.num_rows
            if at <= done_before:
                continue
            last = at >= file.metadata.row_group(group).num_rows
            yield Batch(
                pa.Table.from_batches([batch]),
                lambda row, base=first + begin + 1: base + row,
                [],
                {"group": group + 1, "row": 0} if last else {"group": group, "row": at},
                min(1.0, (first + at) / total),
            )
        first, done_before = first + at, 0
