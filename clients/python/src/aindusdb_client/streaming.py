"""Bytes that come and go in streams: the parts of uploads, the lines of exports."""

import base64
import contextlib
import json
import os
import struct
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from aindusdb_client import endpoints
from aindusdb_client.errors import (
    ApiError,
    ConflictError,
    NoAnswerError,
    UnexpectedAnswerError,
    api_error,
    problem_error,
)
from aindusdb_client.models import Exported, Point, Upload, build
from aindusdb_client.progress import Meter
from aindusdb_client.retrying import may_repeat
from aindusdb_client.transport import Deadline, Transport, decoded

MODULUS = 2**64


class Readable(Protocol):
    """What bytes can be read of."""

    def read(self, size: int, /) -> bytes: ...


Source = str | os.PathLike[str] | bytes | Readable


def size_of(source: Source) -> int | None:
    """The bytes of a source, where that can be told without reading it."""
    if isinstance(source, bytes):
        return len(source)
    if isinstance(source, str | os.PathLike):
        return Path(source).stat().st_size
    return None


@contextlib.contextmanager
def opened(source: Source) -> Iterator[Readable]:
    """What the source's bytes are read of."""
    if isinstance(source, bytes):
        yield BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            yield file
    else:
        yield source


@contextlib.contextmanager
def opened_to_write(destination: str | os.PathLike[str] | BinaryIO) -> Iterator[BinaryIO]:
    """What bytes are written to."""
    if isinstance(destination, str | os.PathLike):
        with Path(destination).open("wb") as file:
            yield file
    else:
        yield destination


def read_part(file: Readable, size: int) -> bytes:
    """The next `size` bytes, less at the end."""
    pieces: list[bytes] = []
    while size and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def send_parts(transport: Transport, upload: Upload, source: Source, part_bytes: int, meter: Meter) -> Upload:
    """Send what an upload has not received yet; the upload as it is then."""
    offset = upload.received_bytes
    try:
        with opened(source) as file:
            passed = 0
            while passed < offset and (skipped := read_part(file, min(offset - passed, part_bytes))):
                passed += len(skipped)
            if passed < offset:
                raise ValueError(f"The upload has {offset} bytes already, this source only {passed}.")
            meter.add(bytes=offset)
            while part := read_part(file, part_bytes):
                while part:
                    received = send_part(transport, upload.id, offset, part)
                    meter.add(bytes=received - offset)
                    part, offset = part[received - offset :], received
        return build(Upload, transport.call(endpoints.UPLOADS_GET, {"upload": upload.id}))
    finally:
        meter.end()


def send_part(transport: Transport, upload: str, offset: int, part: bytes) -> int:
    """Send bytes, which may arrive in part; how many bytes the upload has then."""
    try:
        answer = transport.call(endpoints.UPLOADS_WRITE, {"upload": upload}, part, query={"offset": offset})
        return build(Upload, answer).received_bytes
    except ConflictError as error:
        received = error.body.get("received_bytes")
        # A try that was lost has left some of them there.
        if (
            error.code == "wrong_offset"
            and isinstance(received, int)
            and offset < received <= offset + len(part)
        ):
            return received
        raise


def export_lines(
    transport: Transport, collection: str, query: dict[str, Any], after: tuple[str, str] | None
) -> Iterator[bytes | Exported]:
    """The lines of points of an export, and at the end of each of its parts what it was.

    When a part breaks off the next one begins behind the last line; that part's summary does not come, and
    the count and checksum of the next are of its own lines.
    """
    policy, tries = transport.options.retry, 0
    while True:
        line: bytes | None = None
        try:
            for line, summary in _part(transport, collection, query, after):
                if summary is not None:
                    yield summary
                    return
                tries = 0
                yield line
            raise NoAnswerError("The export ended without its last line.")
        except (ApiError, NoAnswerError) as error:
            tries += 1
            if tries >= policy.tries or not may_repeat(error, sent=True, repeatable=True):
                raise
            if line is not None:
                point = decoded(line)
                after = (point["namespace"], point["id"])
            time.sleep(policy.wait_seconds(tries, error))


def _part(
    transport: Transport, collection: str, query: dict[str, Any], after: tuple[str, str] | None
) -> Iterator[tuple[bytes, Exported | None]]:
    more = {} if after is None else {"after_namespace": after[0], "after_id": after[1]}
    answer = transport.send(
        endpoints.EXPORT, {"collection": collection}, query | more, None, {}, Deadline(None)
    )
    if answer.status >= 400:
        raise api_error(answer.status, answer.headers, b"".join(answer.parts()))
    for line in answer.lines():
        if not line.startswith(b'{"export":'):
            yield line, None
            continue
        told = decoded(line)["export"]
        if told.get("error"):
            raise problem_error(told["error"])
        yield line, Exported(told["points"], told["checksum"])


def point_of_line(line: bytes, *, bits: bool) -> Point:
    """A point of an export, its vector as a list, of bits as bytes."""
    try:
        found = json.loads(line)
        packed = found.get("vector_b64")
        vector = found.get("vector")
        if packed is not None:
            data = base64.b64decode(packed)
            vector = data if bits else [number for (number,) in struct.iter_unpack("<f", data)]
        return Point(found["id"], vector, found.get("content"), found.get("metadata"), found["namespace"])
    except (ValueError, KeyError, struct.error) as error:
        raise UnexpectedAnswerError(f"This is no line of an export: {line[:100]!r}") from error


def copy_lines(
    transport: Transport,
    collection: str,
    query: dict[str, Any],
    after: tuple[str, str] | None,
    file: BinaryIO,
    meter: Meter,
) -> Exported:
    """Write an export's lines to a file, the summary of the whole as its last one."""
    rows = 0
    try:
        for line in export_lines(transport, collection, query, after):
            if isinstance(line, Exported):
                last = {"points": line.points, "checksum": line.checksum}
                resumed = rows != line.points
                if resumed or after is not None:
                    # It speaks of a part: a file that says so would be held against it.
                    return Exported(rows, None if resumed else line.checksum)
                file.write(json.dumps({"export": last}, separators=(",", ":")).encode() + b"\n")
                return Exported(rows, line.checksum)
            file.write(line + b"\n")
            rows += 1
            meter.add(rows=1, bytes=len(line) + 1)
        raise AssertionError("an export ends with its summary")
    finally:
        meter.end()


def copy(
    transport: Transport, collection: str, query: dict[str, Any], file: BinaryIO, meter: Meter
) -> Exported:
    """Write an export that has no lines to a file, as it comes."""

    def begun() -> Any:
        answer = transport.send(endpoints.EXPORT, {"collection": collection}, query, None, {}, Deadline(None))
        if answer.status >= 400:
            raise api_error(answer.status, answer.headers, b"".join(answer.parts()))
        return answer

    try:
        for part in transport.tried(begun, True, Deadline(None)).parts():
            file.write(part)
            meter.add(bytes=len(part))
    finally:
        meter.end()
    return Exported(meter.rows, None)
