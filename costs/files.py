"""Files on their way into an import, kept in the database in parts.

In the database, because the worker that imports may run on another machine than the web server that received
the file, and may be replaced by a third one in the middle.
"""

import io
from collections.abc import Callable

from django.db import connection, transaction

from controlplane.errors import InvalidError, TooLargeError
from costs.models import CostFile, CostFilePart, CostImport, FileFormat

PART_BYTES = 4 * 2**20
PARTS = CostFilePart._meta.db_table
GZIP_MAGIC, PARQUET_MAGIC = b"\x1f\x8b", b"PAR1"


def format_of(name: str, head: bytes) -> str:
    """A file's format by its first bytes; its name only tells what to call it."""
    if head.startswith(PARQUET_MAGIC):
        return FileFormat.PARQUET
    if head.startswith(GZIP_MAGIC):
        return FileFormat.GZIP
    if b"\0" in head:
        raise InvalidError(
            f"{name or 'The file'} is neither CSV nor gzip nor Parquet.", field="file", code="unknown_format"
        )
    return FileFormat.CSV


def file_receive(
    *,
    cost_import: CostImport,
    name: str,
    read: Callable[[int], bytes],
    most_bytes: int = 0,
) -> CostFile:
    """Store what `read(size)` gives until it gives nothing; InvalidError when it is empty or of no format.

    Each part is committed as it comes, so that a file of any size takes the memory of one part.
    """
    name = name[-1000:] or "file"
    number = size = 0
    made = None
    while part := _read_part(read):
        size += len(part)
        if most_bytes and size > most_bytes:
            raise TooLargeError(f"A file may have up to {most_bytes} bytes (AINDUS_COST_UPLOAD_BYTES).")
        with transaction.atomic():
            commit_lazily()
            if made is None:
                # What an earlier try left behind is not trusted.
                CostFile.objects.filter(cost_import=cost_import, name=name).delete()
                made = CostFile.objects.create(
                    cost_import=cost_import, name=name, format=format_of(name, part[:4096])
                )
            with (
                connection.cursor() as cursor,
                cursor.copy(f"COPY {PARTS} (file_id, number, data) FROM STDIN (FORMAT binary)") as copy,
            ):
                copy.set_types(["int8", "int4", "bytea"])
                copy.write_row((made.pk, number, part))
            made.bytes, made.complete = size, len(part) < PART_BYTES
            made.save(update_fields=["bytes", "complete"])
        number += 1
        if made.complete:
            return made
    if made is None:
        raise InvalidError("The file is empty.", field="file", code="empty_file")
    made.complete = True
    made.save(update_fields=["complete"])
    return made


def commit_lazily() -> None:
    """Let the caller's transaction commit without waiting for the disk.

    For what is repeated when it is lost: a later commit, which waits, makes it as lasting as itself.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")


def _read_part(read: Callable[[int], bytes]) -> bytes:
    pieces, missing = [], PART_BYTES
    while missing:
        piece = read(missing)
        if not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


class StoredFile(io.RawIOBase):
    """A received file as a stream that can seek; holds one part in memory."""

    def __init__(self, file: CostFile):
        self._file, self._size, self._at = file, file.bytes, 0
        self._number, self._part = -1, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer) -> int:
        if self._at >= self._size:
            return 0
        number, place = divmod(self._at, PART_BYTES)
        if number != self._number:
            row = CostFilePart.objects.values_list("data", flat=True).get(file=self._file, number=number)
            self._number, self._part = number, bytes(row)
        count = min(len(buffer), len(self._part) - place)
        buffer[:count] = self._part[place : place + count]
        self._at += count
        return count
