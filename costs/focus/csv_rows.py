"""CSV in blocks of whole rows: any size of file, the memory of one block, and exact lines.

A block ends where a row ends: at a line feed before which quotes are even in number. Where a block begins
(byte and line) is enough to go on from it.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as arrow_csv

from costs.focus.problems import Problem, UnreadableFileError

BLOCK_BYTES = 8 * 2**20
NULLS = ["NULL", "null", ""]


@dataclass
class Block:
    """Rows of a file as text columns, null where the file says so.

    `lines` is the line of each row; `problems` are of rows that are not in `table`.
    """

    table: pa.Table
    lines: "Lines"
    problems: list[Problem]
    next_byte: int
    next_line: int


class Lines:
    """The line of a row of a block; counted only when somebody asks."""

    def __init__(self, data: bytes, first: int, skipped: list[int], one_a_row: bool):
        self._data, self._first, self._skipped, self._one_a_row = data, first, skipped, one_a_row
        self._known: list[int] | None = None

    def __getitem__(self, row: int) -> int:
        if self._known is None:
            self._known = self._count()
        return self._known[row]

    def _count(self) -> list[int]:
        if self._one_a_row and not self._skipped:
            count = self._data.count(b"\n") + 1
            return list(range(self._first, self._first + count))
        reader = csv.reader(io.StringIO(self._data.decode("utf-8", "replace"), newline=""))
        starts, before, number = [], 0, 0
        for row in reader:
            if row:
                number += 1
                if number not in self._skipped:
                    starts.append(self._first + before)
            before = reader.line_num
        return starts


def header_of(stream) -> tuple[list[str], int, int]:
    """(column names, byte after the header, line after it) of a CSV stream at its start."""
    head = stream.read(2**16)
    end = row_end(head) if b"\n" in head else len(head)
    if not head[:end].strip():
        raise UnreadableFileError("The file has no header: its first line names the columns.")
    try:
        text = head[:end].decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableFileError("The header is not UTF-8.") from None
    names = [name.strip() for name in next(csv.reader(io.StringIO(text, newline="")), [])]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UnreadableFileError(f"The header names {', '.join(sorted(twice))} more than once.")
    return names, end, 1 + head[:end].count(b"\n")


def row_end(data: bytes) -> int:
    """The byte after the first row of some bytes that begin with a row."""
    end = -1
    while (end := data.find(b"\n", end + 1)) >= 0:
        if data.count(b'"', 0, end) % 2 == 0:
            return end + 1
    return len(data)


def last_row_end(data: bytes) -> int:
    """The byte after the last whole row; 0 when no row ends in the data."""
    end = data.rfind(b"\n")
    quotes = data.count(b'"', 0, max(end, 0))
    while end >= 0:
        if quotes % 2 == 0:
            return end + 1
        before = data.rfind(b"\n", 0, end)
        quotes -= data.count(b'"', max(before, 0), end)
        end = before
    return 0


def blocks(stream, names: list[str], byte: int, line: int) -> Iterator[Block]:
    """The rows of a stream that stands at `byte`, whose line is `line`."""
    rest = b""
    while True:
        data = stream.read(BLOCK_BYTES)
        at_end = not data
        data = rest + data
        cut = len(data) if at_end else last_row_end(data)
        if len(data) - cut > 8 * BLOCK_BYTES:
            raise UnreadableFileError(f"The row at line {line} never ends: a quote is not closed.")
        rest = data[cut:]
        if data[:cut].strip():
            block = _block(data[:cut], names, line)
            byte, line = byte + cut, line + data[:cut].count(b"\n")
            block.next_byte, block.next_line = byte, line
            yield block
        else:
            byte, line = byte + cut, line + data[:cut].count(b"\n")
        if at_end:
            return


def _block(data: bytes, names: list[str], line: int) -> Block:
    problems, broken_lines = [], []
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        data, broken_lines = _mended(data, line)
    skipped: list[tuple[int, int]] = []

    def wrong_count(row):
        skipped.append((row.number, row.actual_columns))
        return "skip"

    try:
        table = arrow_csv.read_csv(
            io.BytesIO(data),
            read_options=arrow_csv.ReadOptions(
                column_names=names, use_threads=False, block_size=len(data) + 1
            ),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=wrong_count),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), null_values=NULLS, strings_can_be_null=True
            ),
        ).combine_chunks()
    except pa.ArrowInvalid as error:
        raise UnreadableFileError(f"Near line {line} the file is not CSV: {error}") from None
    one_a_row = data.count(b"\n") + (not data.endswith(b"\n")) == table.num_rows + len(skipped)
    lines = Lines(data, line, [number for number, _ in skipped], one_a_row)
    if skipped:
        all_lines = Lines(data, line, [], one_a_row)
        for number, count in skipped:
            reason = f"has {count} fields, the header has {len(names)}"
            problems.append(Problem(all_lines[number - 1], "", reason))
    if broken_lines:
        keep = [row for row in range(table.num_rows) if lines[row] not in broken_lines]
        problems += [Problem(one, "", "is not UTF-8") for one in sorted(broken_lines)]
        kept_lines = [lines[row] for row in keep]
        table = table.take(pa.array(keep, pa.int64()))
        lines._known = kept_lines
    return Block(table, lines, problems, 0, 0)


def _mended(data: bytes, first: int) -> tuple[bytes, set[int]]:
    """The bytes as UTF-8, and the lines that were not."""
    wrong, parts = set(), data.split(b"\n")
    for number, part in enumerate(parts):
        try:
            part.decode("utf-8")
        except UnicodeDecodeError:
            wrong.add(first + number)
            parts[number] = part.decode("utf-8", "replace").encode()
    return b"\n".join(parts), wrong
