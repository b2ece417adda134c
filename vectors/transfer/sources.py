"""Where files of imports come from. A source has a size and is read from any byte on."""

import contextlib
import io
import os
import stat
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg

from vectors.jobs.work import FailedError
from vectors.transfer import places, stores

BLOCK_BYTES = 2**20
# What is asked of a store at once, where each request takes a while.
FAR_BLOCK_BYTES = 8 * 2**20
TRIES = 5
PAUSE_SECONDS = 0.5


class Unreachable(Exception):
    """The place does not answer now; another try makes sense. The message says what went wrong."""


def patiently(ask: Callable, what: str):
    """ask(), tried again while the place does not answer; FailedError after the last try."""
    for attempt in range(1, TRIES + 1):
        try:
            return ask()
        except Unreachable as error:
            if attempt == TRIES:
                raise FailedError(f"{what} did not answer {TRIES} times: {error}.") from error
            time.sleep(PAUSE_SECONDS * 2**attempt)
    return None


class Source:
    """A file somewhere. `identity` tells one content from another, so that no import mixes two."""

    size: int
    identity: str
    block_bytes = BLOCK_BYTES

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on, fewer only at the end."""
        raise NotImplementedError

    def reader(self, offset: int) -> Callable[[int], bytes]:
        """read(size) of all bytes from `offset` on, in order."""
        place, block, used = offset, b"", 0

        def read(size: int) -> bytes:
            nonlocal place, block, used
            if used == len(block):
                block, used = self.read_at(place, self.block_bytes), 0
                place += len(block)
            part = block[used : used + size]
            used += len(part)
            return part

        return read

    def close(self) -> None:
        """Let go of what is open."""


class File(io.RawIOBase):
    """A source as a file that can be read anywhere, as Parquet is."""

    def __init__(self, source: Source):
        self.source = source
        self.place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.source.size}[whence]
        return self.place

    def readinto(self, buffer) -> int:
        size = min(len(buffer), self.source.size - self.place)
        part = self.source.read_at(self.place, size) if size > 0 else b""
        buffer[: len(part)] = part
        self.place += len(part)
        return len(part)


class LocalFile(Source):
    """A file of the server in a folder that may be used."""

    def __init__(self, path: Path):
        try:
            # Not a link put there after it was looked at, and never a device or a pipe that would hang.
            self.descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise FailedError(f"{path} cannot be read: {error.strerror}.") from None
        found = os.fstat(self.descriptor)
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise FailedError(f"{path} is no file.")
        self.size = found.st_size
        self.identity = f"{found.st_size} bytes of {found.st_mtime_ns}"

    def read_at(self, offset: int, size: int) -> bytes:
        return os.pread(self.descriptor, size, offset)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Uploaded(Source):
    """An upload in the database of the target."""

    def __init__(self, db: psycopg.Connection, upload_id: uuid.UUID):
        self.db = db
        self.upload_id = upload_id
        row = db.execute("SELECT received_bytes FROM vectors_upload WHERE id = %s", [upload_id]).fetchone()
        if row is None:
            raise FailedError("The upload has gone; it may have expired. Send it again.")
        self.size = row[0]
        self.identity = f"{row[0]} bytes"

    def read_at(self, offset: int, size: int) -> bytes:
        end = min(offset + size, self.size)
        if offset >= end:
            return b""
        rows = self.db.execute(
            "SELECT at, data FROM vectors_upload_part WHERE upload_id = %s AND at < %s AND at >="
            " (SELECT max(at) FROM vectors_upload_part WHERE upload_id = %s AND at <= %s) ORDER BY at",
            [self.upload_id, end, self.upload_id, offset],
            binary=True,
        ).fetchall()
        if not rows:
            raise FailedError("The upload has gone while it was read.")
        begin = rows[0][0]
        return b"".join(data for _, data in rows)[offset - begin : end - begin]


def open_source(params: dict, db: psycopg.Connection):
    """The source that an import's parameters name, to be closed; FailedError, ProblemError."""
    return contextlib.closing(_source(params, db))


def _source(params: dict, db: psycopg.Connection) -> Source:
    if "upload_id" in params:
        return Uploaded(db, uuid.UUID(params["upload_id"]))
    if "path" in params:
        return LocalFile(places.path_allowed(params["path"]))
    return stores.source(places.url_allowed(params["url"]))
