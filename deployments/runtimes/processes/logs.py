"""Reads and bounds a replica's log, however long it is.

The log is `log` and, once it was too long, `log.<from>-<to>` with what was moved out of it; the numbers are
positions in all that was ever written, so a cursor stays right when the log is moved. Nothing is read as a
whole: a time is found by bisection, the newest records by reading blocks backwards.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from deployments.runtimes.base import LogLine
from deployments.runtimes.processes.folder import ReplicaFolder
from deployments.runtimes.records import HEADER, LONGEST_TEXT_BYTES, Wanted, header_time, parsed

BLOCK_BYTES = 256 * 1024
# Processes of one replica write to one log, so times go back by this much at most.
DISORDER = timedelta(seconds=1)
MOVED = re.compile(r"\Alog\.(\d+)-(\d+)\Z")


def _moved(folder: ReplicaFolder) -> list[tuple[int, int, Path]]:
    """(from, to, path) of what was moved out of the log, oldest first."""
    found = []
    with suppress(FileNotFoundError):
        for path in folder.path.iterdir():
            if match := MOVED.match(path.name):
                found.append((int(match[1]), int(match[2]), path))
    return sorted(found)


def rotate(folder: ReplicaFolder, most_bytes: int) -> None:
    """Keep log and what was moved out of it within `most_bytes` together.

    The replica appends to the open file, so the file is copied and emptied, never renamed.
    """
    try:
        size = folder.log.stat().st_size
    except FileNotFoundError:
        return
    if size <= most_bytes // 2:
        return
    older = _moved(folder)
    start = older[-1][1] if older else 0
    temporary = folder.path / "log.new"
    with folder.log.open("r+b") as log, temporary.open("wb") as copy:
        while block := log.read(1 << 20):
            copy.write(block)
        copy.flush()
        length = copy.tell()
        temporary.rename(folder.path / f"log.{start}-{start + length}")
        log.truncate(0)
    for _, _, path in older:
        path.unlink(missing_ok=True)


class Tape:
    """All that is kept of a log, as one run of bytes from `start` to `end`."""

    def __init__(self, folder: ReplicaFolder):
        self._parts: list[tuple[int, int, int]] = []
        for start, end, path in _moved(folder):
            self._open(path, start, end)
        start = self._parts[-1][1] if self._parts else 0
        self._open(folder.log, start, None)
        self.start = self._parts[0][0] if self._parts else 0
        self.end = self._parts[-1][1] if self._parts else 0

    def _open(self, path: Path, start: int, end: int | None) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        end = start + os.fstat(descriptor).st_size if end is None else end
        self._parts.append((start, end, descriptor))

    def __enter__(self) -> "Tape":
        return self

    def __exit__(self, *_) -> None:
        for _, _, descriptor in self._parts:
            os.close(descriptor)

    def read(self, start: int, end: int) -> bytes:
        """The bytes of a range; fewer when the log was emptied meanwhile."""
        pieces = []
        for part_start, part_end, descriptor in self._parts:
            low, high = max(start, part_start), min(end, part_end)
            if low < high:
                pieces.append(os.pread(descriptor, high - low, low - part_start))
        return b"".join(pieces)

    def next_record(self, position: int, end: int) -> tuple[int, datetime] | None:
        """The first record that begins at or after a position: where, and its time."""
        # One byte earlier, so that a line that begins right at the position is seen to begin there.
        low = max(self.start, position - 1)
        while low < end:
            high = min(end, low + BLOCK_BYTES)
            block = self.read(low, min(end, high + 64))
            for match in HEADER.finditer(block):
                if (match.start() > 0 or low == self.start) and low + match.start() >= position:
                    return low + match.start(), header_time(match[1])
            low = high
        return None

    def seek(self, at: datetime) -> int:
        """The position of the first record that is not before `at`."""
        low, high = self.start, self.end
        while high - low > BLOCK_BYTES:
            middle = (low + high) // 2
            found = self.next_record(middle, high)
            if found is None or found[1] >= at:
                high = middle
            else:
                low = found[0]
        while found := self.next_record(low, self.end):
            if found[1] >= at:
                return found[0]
            low = found[0] + 1
        return self.end

    def records(self, start: int, end: int) -> Iterator[tuple[int, datetime | None, str, bytes]]:
        """(end, time, level, text) of the records in a range; lines without a header make one as well."""
        low, rest = start, b""
        while low < end or rest:
            block = rest + self.read(low, min(end, low + BLOCK_BYTES))
            low = min(end, low + BLOCK_BYTES)
            base = low - len(block)
            starts = [match.start() for match in HEADER.finditer(block)]
            if not starts or starts[0] > 0:
                starts.insert(0, 0)
            complete = low >= end
            if not complete and len(starts) == 1 and len(block) < 4 * BLOCK_BYTES:
                rest = block
                continue
            ends = [*starts[1:], len(block)]
            rest = b""
            for number, (first, last) in enumerate(zip(starts, ends, strict=True)):
                if number == len(starts) - 1 and not complete and len(starts) > 1:
                    rest = block[first:]
                    break
                yield base + last, *parsed(block[first:last])
            if complete:
                return


def read(
    folder: ReplicaFolder,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    search: str = "",
    level: str = "",
    cursor: str = "",
    limit: int = 500,
) -> Iterator[LogLine]:
    """The newest `limit` matching records, oldest first; with a cursor the next ones after it."""
    wanted = Wanted(since=since, until=until, search=search, level=level)
    secrets = folder.secrets()

    def line(record) -> LogLine | None:
        end, at, found_level, raw = record
        if not raw:
            return None
        text = raw[:LONGEST_TEXT_BYTES].decode(errors="replace")
        if not wanted.matches(at, found_level, text):
            return None
        for secret in secrets:
            text = text.replace(secret, "***")
        return LogLine(folder.replica_id, at, found_level, text, str(end))

    with Tape(folder) as tape:
        start = tape.seek(since - DISORDER) if since else tape.start
        end = tape.seek(until + DISORDER) if until else tape.end
        if cursor:
            start = max(start, int(cursor)) if cursor.isdigit() else start
            # A line that is still being written is left for the next call.
            end = min(end, _last_line_end(tape, start, end))
            found = (shown for record in tape.records(start, end) if (shown := line(record)))
            for _, shown in zip(range(limit), found, strict=False):
                yield shown
            return
        end = _last_line_end(tape, start, end)
        yield from _newest(tape, start, end, wanted, line, limit)


def _last_line_end(tape: Tape, start: int, end: int) -> int:
    low = end
    while low > start:
        low = max(start, low - BLOCK_BYTES)
        newline = tape.read(low, min(end, low + BLOCK_BYTES)).rfind(b"\n")
        if newline >= 0:
            return low + newline + 1
    return start


def _newest(tape: Tape, start: int, end: int, wanted: Wanted, line, limit: int) -> list[LogLine]:
    found: list[LogLine] = []
    size = BLOCK_BYTES
    while end > start and len(found) < limit:
        low = max(start, end - size)
        if low > start:
            first = tape.next_record(low, end)
            if first is None and end - low < 16 * BLOCK_BYTES:
                size *= 2
                continue
            low = first[0] if first else low
        if wanted.may_be_in(tape.read(low, end)):
            shown = [made for record in tape.records(low, end) if (made := line(record))]
            found = [*shown[-(limit - len(found)) :], *found]
        end, size = low, BLOCK_BYTES
    return found
