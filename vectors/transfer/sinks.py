"""Where exports go. A sink takes a file in parts that are safe once taken, so that another runner goes on.

What a sink must know to go on is its state, kept by the job as JSON: {parts: [...], ...}.
"""

import contextlib
import os
import uuid
from pathlib import Path

from vectors.jobs.work import FailedError
from vectors.transfer import places, stores

PART_BYTES = 8 * 2**20
PARTS_OF_A_SIZE = 1000


def part_bytes(number: int) -> int:
    """The size of part `number` (from 0): growing, because stores take at most 10,000 parts of a file."""
    return PART_BYTES * (1 + number // PARTS_OF_A_SIZE)


class Sink:
    """A file in the making somewhere."""

    # Whether parts outlive the process that put them.
    durable = True

    def begin(self) -> dict:
        """The state of a new file."""
        return {"parts": []}

    def resume(self, state: dict) -> bool:
        """Whether the file can go on after the parts of a state."""
        raise NotImplementedError

    def put(self, state: dict, part: bytes) -> None:
        """Store the next part and note it in the state; only the last may be smaller than part_bytes()."""
        raise NotImplementedError

    def finish(self, state: dict) -> None:
        """Make the file of its parts appear, whole and at once; doing it twice is fine."""
        raise NotImplementedError

    def abandon(self, state: dict) -> None:
        """Leave nothing behind; never fails."""


class LocalFile(Sink):
    """A file of the server: written beside its place under another name, then renamed."""

    def __init__(self, path: Path, job_id: uuid.UUID):
        self.path = path
        self.making = path.with_name(f".{path.name[:100]}.{job_id.hex}")

    def begin(self) -> dict:
        with self.opened(os.O_CREAT | os.O_TRUNC):
            return {"parts": []}

    @contextlib.contextmanager
    def opened(self, more: int):
        try:
            descriptor = os.open(self.making, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | more, 0o640)
        except OSError as error:
            raise FailedError(f"{self.path} cannot be written: {error.strerror}.") from None
        try:
            yield descriptor
        except OSError as error:
            raise FailedError(f"{self.path} cannot be written: {error.strerror}.") from None
        finally:
            os.close(descriptor)

    def resume(self, state: dict) -> bool:
        # A runner of another machine has another disk.
        return self.making.exists() and self.making.stat().st_size >= sum(state["parts"])

    def put(self, state: dict, part: bytes) -> None:
        place = sum(state["parts"])
        with self.opened(0) as descriptor:
            os.ftruncate(descriptor, place)
            rest = memoryview(part)
            while rest:
                written = os.pwrite(descriptor, rest, place)
                place, rest = place + written, rest[written:]
            os.fsync(descriptor)
        state["parts"].append(len(part))

    def finish(self, state: dict) -> None:
        size = sum(state["parts"])
        if not self.making.exists() and self.path.exists() and self.path.stat().st_size == size:
            return
        with self.opened(0) as descriptor:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        try:
            self.making.replace(self.path)
        except OSError as error:
            raise FailedError(f"{self.path} cannot be written: {error.strerror}.") from None

    def abandon(self, state: dict) -> None:
        with contextlib.suppress(OSError):
            self.making.unlink()


def open_sink(params: dict, job_id: uuid.UUID) -> Sink:
    """The sink that an export's parameters name; FailedError, ProblemError."""
    if "path" in params:
        return LocalFile(places.path_allowed(params["path"]), job_id)
    return stores.sink(places.url_allowed(params["url"]), job_id)
