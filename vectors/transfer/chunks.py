"""What formats give and imports take: rows of points, a chunk at a time, with the place to go on from."""

from dataclasses import dataclass, field
from typing import NamedTuple

from controlplane.errors import InvalidError, ProblemError
from vectors import batches
from vectors.batches import Batch
from vectors.collections import Collection

# One chunk is one transaction: what a runner that dies does again, and how long a row is locked.
CHUNK_ROWS = 1000
CHUNK_BYTES = 4 * 2**20
PLACES = {"vector": "vector", "metadata": "metadata", "content": "content", "id": "id"}


class Row(NamedTuple):
    """A point of an input; `line` is its line or row, from 1, the vector in PostgreSQL's binary form."""

    line: int
    namespace: str
    id: str
    packed: bytes
    content: str | None
    metadata: bytes


@dataclass
class Chunk:
    """Rows, what is wrong with others, and where the input goes on after them.

    `manifest` is what the input itself says of the rows up to here, when it does: {points, checksum}.
    """

    at: dict
    done_bytes: int
    rows: list[Row] = field(default_factory=list)
    wrong: list[dict] = field(default_factory=list)
    manifest: dict | None = None


def problem_of(line: int, point_id: str | None, error: ProblemError) -> dict:
    """How a row that is wrong is told: {line, id, field, code, message}, in bounded size."""
    found = error.as_dict("")
    first = (found["errors"] or [{"field": "", "code": found["code"], "message": found["detail"]}])[0]
    told = {"line": line, "id": point_id, **first}
    told["field"] = told["field"].removeprefix("points[0].")
    return {key: clean(value)[:300] if isinstance(value, str) else value for key, value in told.items()}


def clean(text: str) -> str:
    """A text that PostgreSQL can keep as JSON."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def batch_of(rows: list[Row]) -> Batch:
    return Batch(
        ids=[row.id for row in rows],
        vectors=[row.packed for row in rows],
        contents=[row.content for row in rows],
        metadata=[row.metadata for row in rows],
        places=lambda _: PLACES,
    )


def fault(collection: Collection, row: Row) -> InvalidError | None:
    """What the database would refuse of a row, as far as it can be told without it."""
    batch = batch_of([row])
    try:
        batches.check(batch)
        return batches.fault(batch, [0], collection.metric, collection.half)
    except InvalidError as error:
        return error
