"""Where a backup lies: a file of this machine, or an object of a store; its manifest lies beside it."""

import contextlib
import json
import uuid
from pathlib import Path

from vectors.jobs.work import FailedError
from vectors.transfer import sinks, sources, stores

SUFFIX = ".json"
MANIFEST_BYTES_MOST = 64 * 2**20


def sink(place: str, job_id: uuid.UUID) -> sinks.Sink:
    """What takes a backup's bytes; FailedError when the place cannot be used."""
    if not place.startswith("/"):
        return stores.sink(place, job_id)
    path = Path(place)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise FailedError(f"{path.parent} cannot be made: {error.strerror}.") from None
    return sinks.LocalFile(path, job_id)


def source(place: str) -> sources.Source:
    """What gives a backup's bytes; FailedError when there is none."""
    return sources.LocalFile(Path(place)) if place.startswith("/") else stores.source(place)


def put(place: str, job_id: uuid.UUID, content: bytes) -> None:
    """Write a small file as a whole."""
    target = sink(place, job_id)
    state = target.begin()
    target.put(state, content)
    target.finish(state)


def manifest(place: str) -> dict:
    """What was written beside the backup at this place; FailedError when it is not there or damaged."""
    with contextlib.closing(source(place + SUFFIX)) as found:
        if found.size > MANIFEST_BYTES_MOST:
            raise FailedError(f"{place}{SUFFIX} is no manifest of a backup.")
        content = b""
        while len(content) < found.size and (part := found.read_at(len(content), found.size - len(content))):
            content += part
    try:
        return json.loads(content)
    except ValueError:
        raise FailedError(f"{place}{SUFFIX} is damaged: it is no JSON.") from None


def delete(place: str, job_id: uuid.UUID) -> None:
    """Remove a backup, its manifest, and what a try that died left of them; absence is fine."""
    for one in (place + SUFFIX, place):
        if not one.startswith("/"):
            stores.remove(one)
            continue
        file = sinks.LocalFile(Path(one), job_id)
        for path in (file.path, file.making):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise FailedError(f"{path} cannot be removed: {error.strerror}.") from None
